// Every cancellation point of POSIX, with the request pending before the call and made while it waits.
// guest: limit=120 compile=-lrt
#include "net.h"
#include <aio.h>
#include <fcntl.h>
#include <mqueue.h>
#include <poll.h>
#include <pty.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <termios.h>

static int empty[2], full[2], pair[2], listener, datagram, locked, message_queue, file;
static mqd_t empty_mq, full_mq;
static char bytes[1 << 16];
static char path[] = "/tmp/cancel_every_point.XXXXXX", fifo[64];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t never = PTHREAD_COND_INITIALIZER;
static sem_t semaphore, gone;
static sigset_t usr2;
static pid_t child;

static void in_accept(void) { accept(listener, NULL, NULL); }
static void in_accept4(void) { accept4(listener, NULL, NULL, 0); }
static void in_aio_suspend(void)
{
	struct aiocb block = { .aio_fildes = empty[0], .aio_buf = bytes, .aio_nbytes = 1 };
	(void)block;
	const struct aiocb *list[] = { NULL };
	aio_suspend(list, 1, &(struct timespec){ 0, 1 });
}
static void in_clock_nanosleep(void) { clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){ 1000, 0 }, NULL); }
static void in_nanosleep(void) { nanosleep(&(struct timespec){ 1000, 0 }, NULL); }
static void in_sleep(void) { sleep(1000); }
static void in_usleep(void) { usleep(1000000000); }
static void in_close(void) { close(-1); }
static void in_connect(void)
{
	struct sockaddr_in nobody = { .sin_family = AF_INET, .sin_port = htons(1), .sin_addr = { htonl(INADDR_LOOPBACK) } };
	int socket_fd = socket(AF_INET, SOCK_STREAM, 0);
	connect(socket_fd, (struct sockaddr *)&nobody, sizeof nobody);
}
static void in_creat(void) { creat("/nonexistent/file", 0600); }
static void in_open(void) { open("/nonexistent/file", O_RDONLY); }
static void in_openat(void) { openat(AT_FDCWD, "/nonexistent/file", O_RDONLY); }
static void in_open_fifo(void) { open(fifo, O_RDONLY); }
static void in_fcntl(void)
{
	struct flock lock = { .l_type = F_WRLCK };
	fcntl(locked, F_SETLKW, &lock);
}
static void in_lockf(void) { lockf(locked, F_LOCK, 0); }
static void in_fdatasync(void) { fdatasync(-1); }
static void in_fsync(void) { fsync(-1); }
static void in_msync(void) { msync(bytes, 0, MS_SYNC); }
static void in_mq_receive(void) { mq_receive(empty_mq, bytes, sizeof bytes, NULL); }
static void in_mq_send(void) { mq_send(full_mq, bytes, 1, 0); }
static void in_mq_timedreceive(void)
{
	struct timespec late = in_ms(CLOCK_REALTIME, 1000000);
	mq_timedreceive(empty_mq, bytes, sizeof bytes, NULL, &late);
}
static void in_mq_timedsend(void)
{
	struct timespec late = in_ms(CLOCK_REALTIME, 1000000);
	mq_timedsend(full_mq, bytes, 1, 0, &late);
}
static void in_msgrcv(void) { msgrcv(message_queue, bytes, 1, 7, 0); }
static void in_msgsnd(void) { msgsnd(-1, &(struct { long type; char text[1]; }){ 1, { 0 } }, 1, 0); }
static void in_pause(void) { pause(); }
static void in_poll(void) { poll(NULL, 0, -1); }
static void in_ppoll(void) { ppoll(NULL, 0, NULL, NULL); }
static void in_pread(void) { pread(file, bytes, 1, 0); }
static void in_preadv(void) { preadv(file, &(struct iovec){ bytes, 1 }, 1, 0); }
static void in_pselect(void) { pselect(0, NULL, NULL, NULL, NULL, NULL); }
static void in_select(void) { select(0, NULL, NULL, NULL, NULL); }
static void in_pwrite(void) { pwrite(file, bytes, 1, 0); }
static void in_pwritev(void) { pwritev(file, &(struct iovec){ bytes, 1 }, 1, 0); }
static void in_read(void) { read(empty[0], bytes, 1); }
static void in_readv(void) { readv(empty[0], &(struct iovec){ bytes, 1 }, 1); }
static void in_recv(void) { recv(pair[0], bytes, 1, 0); }
static void in_recvfrom(void) { recvfrom(datagram, bytes, 1, 0, NULL, NULL); }
static void in_recvmsg(void)
{
	struct msghdr message = { .msg_iov = &(struct iovec){ bytes, 1 }, .msg_iovlen = 1 };
	recvmsg(pair[0], &message, 0);
}
static void in_recvmmsg(void)
{
	struct mmsghdr message = { .msg_hdr = { .msg_iov = &(struct iovec){ bytes, 1 }, .msg_iovlen = 1 } };
	recvmmsg(pair[0], &message, 1, 0, NULL);
}
static void in_send(void) { send(pair[0], bytes, sizeof bytes, 0); }
static void in_sendto(void) { sendto(pair[0], bytes, sizeof bytes, 0, NULL, 0); }
static void in_sendmsg(void)
{
	struct msghdr message = { .msg_iov = &(struct iovec){ bytes, sizeof bytes }, .msg_iovlen = 1 };
	sendmsg(pair[0], &message, 0);
}
static void in_write(void) { write(full[1], bytes, 1); }
static void in_writev(void) { writev(full[1], &(struct iovec){ bytes, 1 }, 1); }
static void unlock(void *unused)
{
	(void)unused;
	OK(pthread_mutex_unlock(&mutex)); /* ours again while the handler runs */
}
static void in_cond_wait(void)
{
	OK(pthread_mutex_lock(&mutex));
	pthread_cleanup_push(unlock, NULL);
	for (;;)
		OK(pthread_cond_wait(&never, &mutex));
	pthread_cleanup_pop(0);
}
static void in_cond_timedwait(void)
{
	struct timespec late = in_ms(CLOCK_REALTIME, 1000000);
	OK(pthread_mutex_lock(&mutex));
	pthread_cleanup_push(unlock, NULL);
	for (;;)
		OK(pthread_cond_timedwait(&never, &mutex, &late));
	pthread_cleanup_pop(0);
}
static void in_cond_clockwait(void)
{
	struct timespec late = in_ms(CLOCK_MONOTONIC, 1000000);
	OK(pthread_mutex_lock(&mutex));
	pthread_cleanup_push(unlock, NULL);
	for (;;)
		OK(pthread_cond_clockwait(&never, &mutex, CLOCK_MONOTONIC, &late));
	pthread_cleanup_pop(0);
}
static void *sleeps(void *unused)
{
	sem_wait(&semaphore);
	sem_post(&gone);
	return unused;
}
static void in_join(void) { pthread_join(start(sleeps, NULL), NULL); }
static void in_clockjoin(void)
{
	struct timespec late = in_ms(CLOCK_MONOTONIC, 1000000);
	pthread_clockjoin_np(start(sleeps, NULL), NULL, CLOCK_MONOTONIC, &late);
}
static void in_testcancel(void)
{
	for (;;) {
		pthread_testcancel();
		sched_yield();
	}
}
static void in_sem_wait(void) { sem_wait(&semaphore); }
static void in_sem_timedwait(void)
{
	struct timespec late = in_ms(CLOCK_REALTIME, 1000000);
	sem_timedwait(&semaphore, &late);
}
static void in_sem_clockwait(void)
{
	struct timespec late = in_ms(CLOCK_MONOTONIC, 1000000);
	sem_clockwait(&semaphore, CLOCK_MONOTONIC, &late);
}
static void in_sigsuspend(void)
{
	sigset_t all;
	sigfillset(&all);
	sigsuspend(&all);
}
static void in_sigwait(void)
{
	int number;
	sigwait(&usr2, &number);
}
static void in_sigwaitinfo(void) { sigwaitinfo(&usr2, NULL); }
static void in_sigtimedwait(void) { sigtimedwait(&usr2, NULL, &(struct timespec){ 1000, 0 }); }
static void in_wait(void) { wait(NULL); }
static void in_waitpid(void) { waitpid(child, NULL, 0); }
static void in_wait4(void) { wait4(child, NULL, 0, NULL); }
static void in_waitid(void) { waitid(P_PID, (id_t)child, &(siginfo_t){ 0 }, WEXITED); }
static void in_tcdrain(void) { tcdrain(-1); }
static void in_system(void) { system("exec sleep 1000"); }
static void in_epoll_wait(void);

#include <sys/epoll.h>
static int poller;
static void in_epoll_wait(void) { epoll_wait(poller, &(struct epoll_event){ 0 }, 1, -1); }
static void in_epoll_pwait(void) { epoll_pwait(poller, &(struct epoll_event){ 0 }, 1, -1, &usr2); }

struct point {
	void (*call)(void);
	const char *name;
	bool waits; /* for ever, so that it can be cancelled there */
};

#define NOW(name) { in_##name, #name, false }
#define WAITS(name) { in_##name, #name, true }

static const struct point points[] = {
	WAITS(accept), WAITS(accept4), NOW(aio_suspend), WAITS(clock_nanosleep), WAITS(nanosleep), WAITS(sleep),
	WAITS(usleep), NOW(close), NOW(connect), NOW(creat), NOW(open), NOW(openat), WAITS(open_fifo),
	WAITS(fcntl), WAITS(lockf), NOW(fdatasync), NOW(fsync), NOW(msync), WAITS(mq_receive), WAITS(mq_send),
	WAITS(mq_timedreceive), WAITS(mq_timedsend), WAITS(msgrcv), NOW(msgsnd), WAITS(pause), WAITS(poll),
	WAITS(ppoll), NOW(pread), NOW(preadv), WAITS(pselect), WAITS(select), NOW(pwrite), NOW(pwritev),
	WAITS(read), WAITS(readv), WAITS(recv), WAITS(recvfrom), WAITS(recvmsg), WAITS(recvmmsg), WAITS(send),
	WAITS(sendto), WAITS(sendmsg), WAITS(write), WAITS(writev), WAITS(cond_wait), WAITS(cond_timedwait),
	WAITS(cond_clockwait), WAITS(join), WAITS(clockjoin), WAITS(testcancel), WAITS(sem_wait),
	WAITS(sem_timedwait), WAITS(sem_clockwait), WAITS(sigsuspend), WAITS(sigwait), WAITS(sigwaitinfo),
	WAITS(sigtimedwait), WAITS(wait), WAITS(waitpid), WAITS(wait4), WAITS(waitid), NOW(tcdrain),
	WAITS(epoll_wait), WAITS(epoll_pwait), NOW(system),
};

static atomic_int cleaned, began;
static sem_t cancelled;

static void count(void *unused)
{
	(void)unused;
	sleep_ms(1); /* a cleanup handler may block */
	atomic_fetch_add(&cleaned, 1);
}

static void *called_late(void *raw)
{
	const struct point *point = raw;
	pthread_cleanup_push(count, NULL);
	OK(pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL));
	atomic_store(&began, 1);
	while (sem_wait(&cancelled) != 0)
		;
	OK(pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL));
	point->call();
	pthread_cleanup_pop(0);
	return NULL;
}

static void *called_now(void *raw)
{
	const struct point *point = raw;
	pthread_cleanup_push(count, NULL);
	atomic_store(&began, 1);
	point->call();
	pthread_cleanup_pop(0);
	return NULL;
}

static void try(const struct point *point, void *(*body)(void *), const char *when)
{
	atomic_store(&cleaned, 0);
	atomic_store(&began, 0);
	pthread_t thread = start(body, (void *)point);
	while (!atomic_load(&began))
		sched_yield();
	if (body == called_now)
		sleep_ms(5); /* it waits by now, most likely; either way it must end */
	OK(pthread_cancel(thread));
	if (body == called_late)
		IS(sem_post(&cancelled), 0);
	struct timespec late = in_ms(CLOCK_REALTIME, 10000);
	void *value = NULL;
	int error = pthread_timedjoin_np(thread, &value, &late);
	printf("%s, %s: %s\n", point->name, when,
	       error ? "goes on" : value != PTHREAD_CANCELED ? "returned" :
	       atomic_load(&cleaned) == 1 ? "cancelled" : "without its handler");
	if (error)
		exit(97);
	/* The thread it waited for, and whose join was cancelled, goes, and leaves the next
	   one's nothing to go on with. */
	if (strstr(point->name, "join")) {
		IS(sem_post(&semaphore), 0);
		IS(sem_wait(&gone), 0);
	}
}

static void fill(int fd)
{
	OK(fcntl(fd, F_SETFL, O_NONBLOCK));
	while (write(fd, bytes, 4096) > 0)
		;
	while (write(fd, bytes, 1) > 0)
		;
	OK(fcntl(fd, F_SETFL, 0));
}

static mqd_t make_queue(const char *name)
{
	char text[64];
	snprintf(text, sizeof text, "/%s.%d", name, (int)getpid());
	struct mq_attr attributes = { .mq_maxmsg = 1, .mq_msgsize = 16 };
	mqd_t queue = mq_open(text, O_CREAT | O_RDWR | O_EXCL, 0600, &attributes);
	CHECK(queue != (mqd_t)-1);
	mq_unlink(text);
	return queue;
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, SIG_IGN);
	IS(pipe(empty), 0);
	IS(pipe(full), 0);
	fill(full[1]);
	IS(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	fill(pair[0]);
	listener = socket(AF_INET, SOCK_STREAM, 0);
	IS(listen(listener, 5), 0);
	datagram = socket(AF_INET, SOCK_DGRAM, 0);
	IS(bind(datagram, (struct sockaddr *)&(struct sockaddr_in){ .sin_family = AF_INET }, sizeof(struct sockaddr_in)), 0);
	file = mkstemp(path);
	locked = open(path, O_RDWR);
	snprintf(fifo, sizeof fifo, "%s.fifo", path);
	IS(mkfifo(fifo, 0600), 0);
	poller = epoll_create1(0);
	IS(sem_init(&semaphore, 0, 0), 0);
	IS(sem_init(&gone, 0, 0), 0);
	IS(sem_init(&cancelled, 0, 0), 0);
	sigemptyset(&usr2);
	sigaddset(&usr2, SIGUSR2);
	OK(pthread_sigmask(SIG_BLOCK, &usr2, NULL));
	empty_mq = make_queue("cancel_empty");
	full_mq = make_queue("cancel_full");
	IS(mq_send(full_mq, bytes, 1, 0), 0);
	message_queue = msgget(IPC_PRIVATE, 0600);
	int ready[2];
	char byte;
	IS(pipe(ready), 0);
	child = fork();
	if (child == 0) {
		struct flock lock = { .l_type = F_WRLCK };
		IS(fcntl(locked, F_SETLKW, &lock), 0);
		IS(write(ready[1], "r", 1), 1);
		for (;;)
			pause();
	}
	IS(read(ready[0], &byte, 1), 1);
	const char *only = getenv("ONLY");
	for (size_t i = 0; i < COUNT(points); i++) {
		if (only && strcmp(only, points[i].name))
			continue;
		try(&points[i], called_late, "before");
		if (points[i].waits)
			try(&points[i], called_now, "waiting");
	}
	kill(child, SIGKILL);
	IS(waitpid(child, NULL, 0), child);
	unlink(path);
	unlink(fifo);
	msgctl(message_queue, IPC_RMID, NULL);
	return 0;
}
