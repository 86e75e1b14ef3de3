// Which calls a handler ends with EINTR and which go on, with and without SA_RESTART: the table of signal(7).
// guest: limit=120 compile=-lrt
#include "net.h"
#include <fcntl.h>
#include <linux/futex.h>
#include <mqueue.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

static int ends[2], pair[2], timed[2], listener, poller, queue_id, semaphores, notifier, locked, client;
static mqd_t messages, full_messages;
static char bytes[1 << 16], path[64], fifo[80];
static sem_t semaphore;
static uint32_t word, lock, held;
static pid_t child;
static sigset_t other;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static atomic_int handled;

static void handler(int number)
{
	(void)number;
	atomic_fetch_add(&handled, 1);
}

static void fill(int fd)
{
	int flags = fcntl(fd, F_GETFL);
	fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	while (write(fd, bytes, 4096) > 0)
		;
	while (write(fd, bytes, 1) > 0)
		;
	fcntl(fd, F_SETFL, flags);
}

static void empty(int fd)
{
	int flags = fcntl(fd, F_GETFL);
	fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	while (read(fd, bytes, sizeof bytes) > 0)
		;
	fcntl(fd, F_SETFL, flags);
}

static long c_read(void) { return read(ends[0], bytes, 1); }
static long c_readv(void) { return readv(ends[0], &(struct iovec){ bytes, 1 }, 1); }
static void r_pipe(void) { IS(write(ends[1], "x", 1), 1); }
static long c_write(void) { fill(ends[1]); return write(ends[1], bytes, 1); }
static long c_writev(void) { fill(ends[1]); return writev(ends[1], &(struct iovec){ bytes, 1 }, 1); }
static void r_drain(void) { empty(ends[0]); }
static void u_drain(void) { empty(ends[0]); }
static long c_recv(void) { return recv(pair[0], bytes, 1, 0); }
static long c_recvfrom(void) { return recvfrom(pair[0], bytes, 1, 0, NULL, NULL); }
static long c_recvmsg(void)
{
	struct msghdr message = { .msg_iov = &(struct iovec){ bytes, 1 }, .msg_iovlen = 1 };
	return recvmsg(pair[0], &message, 0);
}
static void r_pair(void) { IS(write(pair[1], "x", 1), 1); }
static void u_pair(void) { empty(pair[0]); }
static long c_send(void) { fill(pair[0]); return send(pair[0], bytes, 1, 0); }
static long c_sendmsg(void)
{
	struct msghdr message = { .msg_iov = &(struct iovec){ bytes, 1 }, .msg_iovlen = 1 };
	fill(pair[0]);
	return sendmsg(pair[0], &message, 0);
}
static void r_drain_pair(void) { empty(pair[1]); }
static long c_recv_timed(void) { return recv(timed[0], bytes, 1, 0); }
static void r_timed(void) { IS(write(timed[1], "x", 1), 1); }
static void u_timed(void) { empty(timed[0]); }
static long c_accept(void)
{
	int fd = accept(listener, NULL, NULL);
	if (fd >= 0)
		close(fd);
	return fd < 0 ? -1 : 0;
}
static void r_connect(void)
{
	struct sockaddr_in address;
	socklen_t length = sizeof address;
	IS(getsockname(listener, (struct sockaddr *)&address, &length), 0);
	client = socket(AF_INET, SOCK_STREAM, 0);
	IS(connect(client, (struct sockaddr *)&address, sizeof address), 0);
}
static void u_connect(void)
{
	int flags = fcntl(listener, F_GETFL), fd;
	fcntl(listener, F_SETFL, flags | O_NONBLOCK);
	while ((fd = accept(listener, NULL, NULL)) >= 0)
		close(fd);
	fcntl(listener, F_SETFL, flags);
	close(client);
}
static long c_open(void)
{
	int fd = open(fifo, O_RDONLY);
	if (fd >= 0)
		close(fd);
	return fd < 0 ? -1 : 0;
}
static void r_open(void)
{
	/* Nobody may be there any more. */
	int fd;
	for (int i = 0; i < 20 && (fd = open(fifo, O_WRONLY | O_NONBLOCK)) < 0; i++)
		sleep_ms(1);
	if (fd >= 0)
		close(fd);
}
static void r_child(void) { kill(child, SIGKILL); }
static void make_child(void)
{
	child = fork();
	if (child == 0)
		for (;;)
			pause();
}
static long c_wait4(void) { return wait4(child, NULL, 0, NULL) > 0 ? 0 : -1; }
static long c_waitpid_any(void) { return waitpid(-1, NULL, 0) > 0 ? 0 : -1; }
static long c_waitid(void) { siginfo_t info; return waitid(P_PID, (id_t)child, &info, WEXITED); }
static void u_child(void)
{
	while (waitpid(child, NULL, 0) == -1 && errno == EINTR)
		;
}
static long c_flock(void)
{
	int fd = open(path, O_RDWR);
	long result = flock(fd, LOCK_EX);
	int error = errno;
	close(fd);
	errno = error;
	return result;
}
static void p_flock(void) { IS(flock(locked, LOCK_EX), 0); }
static void r_flock(void) { IS(flock(locked, LOCK_UN), 0); }
static long c_ofd(void)
{
	int fd = open(path, O_RDWR);
	struct flock lock = { .l_type = F_WRLCK };
	long result = fcntl(fd, F_OFD_SETLKW, &lock);
	int error = errno;
	close(fd);
	errno = error;
	return result;
}
static void p_ofd(void) { struct flock lock = { .l_type = F_WRLCK }; IS(fcntl(locked, F_OFD_SETLKW, &lock), 0); }
static void r_ofd(void) { struct flock lock = { .l_type = F_UNLCK }; IS(fcntl(locked, F_OFD_SETLKW, &lock), 0); }
static long c_mq_receive(void) { return mq_receive(messages, bytes, 16, NULL); }
static long c_mq_timedreceive(void)
{
	struct timespec late = in_ms(CLOCK_REALTIME, 100000);
	return mq_timedreceive(messages, bytes, 16, NULL, &late);
}
static void r_mq(void) { IS(mq_send(messages, "x", 1, 0), 0); }
static void u_mq(void)
{
	struct timespec past = { 0, 0 };
	while (mq_timedreceive(messages, bytes, 16, NULL, &past) >= 0)
		;
}
static long c_mq_send(void) { return mq_send(full_messages, "x", 1, 0); }
static void p_full(void)
{
	struct timespec past = { 0, 0 };
	mq_timedsend(full_messages, "x", 1, 0, &past);
}
static void r_full(void) { mq_receive(full_messages, bytes, 16, NULL); }
static long c_msgrcv(void) { return msgrcv(queue_id, bytes, 1, 7, 0) >= 0 ? 0 : -1; }
static void r_msg(void) { IS(msgsnd(queue_id, &(struct { long type; char text[8]; }){ 7, "x" }, 1, 0), 0); }
static void u_msg(void) { msgrcv(queue_id, bytes, 1, 7, IPC_NOWAIT); }
static long c_semop(void) { return semop(semaphores, &(struct sembuf){ 0, -1, 0 }, 1); }
static long c_semtimedop(void) { return semtimedop(semaphores, &(struct sembuf){ 0, -1, 0 }, 1, &(struct timespec){ 100, 0 }); }
static void r_semop(void) { IS(semop(semaphores, &(struct sembuf){ 0, 1, 0 }, 1), 0); }
static void u_semop(void) { semop(semaphores, &(struct sembuf){ 0, -1, IPC_NOWAIT }, 1); }
static long c_sem_wait(void) { return sem_wait(&semaphore); }
static long c_sem_timedwait(void) { struct timespec late = in_ms(CLOCK_REALTIME, 100000); return sem_timedwait(&semaphore, &late); }
static void r_sem(void) { IS(sem_post(&semaphore), 0); }
static void u_sem(void) { sem_trywait(&semaphore); }
static long c_futex(void) { return syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0); }
static long c_futex_timed(void) { return syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &(struct timespec){ 100, 0 }, NULL, 0); }
static long c_futex_waitv(void)
{
	struct futex_waitv waiter = { .uaddr = (uintptr_t)&word, .flags = FUTEX_32 | FUTEX_PRIVATE_FLAG };
	return syscall(SYS_futex_waitv, &waiter, 1, 0, NULL, CLOCK_MONOTONIC);
}
static long c_futex_waitv_until(void)
{
	struct futex_waitv waiter = { .uaddr = (uintptr_t)&word, .flags = FUTEX_32 | FUTEX_PRIVATE_FLAG };
	struct timespec late = in_ms(CLOCK_MONOTONIC, 100000);
	return syscall(SYS_futex_waitv, &waiter, 1, 0, &late, CLOCK_MONOTONIC);
}
static long c_futex_wait_until(void)
{
	struct timespec late = in_ms(CLOCK_MONOTONIC, 100000);
	return syscall(455, &word, 0L, 0xffffffffL, FUTEX_32 | FUTEX_PRIVATE_FLAG, &late, CLOCK_MONOTONIC);
}
static long c_futex_requeue_until(void)
{
	struct timespec soon = in_ms(CLOCK_MONOTONIC, 60);
	return syscall(SYS_futex, &word, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 0, &soon, &lock, 0);
}
static void p_lock(void) { held = (uint32_t)gettid(); }
static long c_lock_until(void)
{
	struct timespec soon = in_ms(CLOCK_REALTIME, 60);
	return syscall(SYS_futex, &held, FUTEX_LOCK_PI_PRIVATE, 0, &soon, NULL, 0);
}
static void r_futex(void) { syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1); }
static long c_mutex(void) { int error = pthread_mutex_lock(&mutex); if (!error) pthread_mutex_unlock(&mutex); errno = error; return error ? -1 : 0; }
static void p_mutex(void) { OK(pthread_mutex_lock(&mutex)); }
static void r_mutex(void) { OK(pthread_mutex_unlock(&mutex)); }
static long c_cond(void)
{
	pthread_mutex_lock(&mutex);
	struct timespec soon = in_ms(CLOCK_REALTIME, 60);
	int error = pthread_cond_timedwait(&condition, &mutex, &soon);
	pthread_mutex_unlock(&mutex);
	errno = error;
	return error == 0 || error == ETIMEDOUT ? 0 : -1;
}
static long c_pause(void) { return pause(); }
static long c_sigsuspend(void) { return sigsuspend(&other); }
static long c_sigtimedwait(void) { return sigtimedwait(&other, NULL, &(struct timespec){ 100, 0 }); }
static long c_sigwaitinfo(void) { return sigwaitinfo(&other, NULL); }
static long c_poll(void) { return poll(&(struct pollfd){ .fd = ends[0], .events = POLLIN }, 1, -1); }
static long c_poll_timed(void) { return poll(&(struct pollfd){ .fd = ends[0], .events = POLLIN }, 1, 100000); }
static long c_ppoll(void) { return ppoll(&(struct pollfd){ .fd = ends[0], .events = POLLIN }, 1, NULL, NULL); }
static long c_select(void) { fd_set set; FD_ZERO(&set); FD_SET(ends[0], &set); return select(ends[0] + 1, &set, NULL, NULL, NULL); }
static long c_pselect(void) { fd_set set; FD_ZERO(&set); FD_SET(ends[0], &set); return pselect(ends[0] + 1, &set, NULL, NULL, NULL, NULL); }
static long c_epoll_wait(void) { return epoll_wait(poller, &(struct epoll_event){ 0 }, 1, -1); }
static long c_epoll_pwait(void) { return epoll_pwait(poller, &(struct epoll_event){ 0 }, 1, -1, NULL); }
static long c_nanosleep(void) { return nanosleep(&(struct timespec){ 0, 60000000 }, NULL); }
static long c_clock_nanosleep(void) { int error = clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){ 0, 60000000 }, NULL); errno = error; return error ? -1 : 0; }
static long c_clock_absolute(void) { struct timespec at = in_ms(CLOCK_MONOTONIC, 60); int error = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL); errno = error; return error ? -1 : 0; }
static long c_usleep(void) { return usleep(60000); }
static long c_inotify(void) { return read(notifier, bytes, sizeof bytes) > 0 ? 0 : -1; }
static void r_inotify(void) { int fd = open(path, O_RDWR); IS(pwrite(fd, "x", 1, 0), 1); close(fd); }
static void u_inotify(void) { empty(notifier); }
static void nothing(void) {}

static const struct call {
	const char *name;
	void (*prepare)(void);
	long (*call)(void);
	void (*release)(void);
	void (*undo)(void); /* of a release that was not needed */
} calls[] = {
	{ "read", nothing, c_read, r_pipe, u_drain },
	{ "readv", nothing, c_readv, r_pipe, u_drain },
	{ "write", nothing, c_write, r_drain, u_drain },
	{ "writev", nothing, c_writev, r_drain, u_drain },
	{ "recv", nothing, c_recv, r_pair, u_pair },
	{ "recvfrom", nothing, c_recvfrom, r_pair, u_pair },
	{ "recvmsg", nothing, c_recvmsg, r_pair, u_pair },
	{ "send", nothing, c_send, r_drain_pair, r_drain_pair },
	{ "sendmsg", nothing, c_sendmsg, r_drain_pair, r_drain_pair },
	{ "recv with SO_RCVTIMEO", nothing, c_recv_timed, r_timed, u_timed },
	{ "accept", nothing, c_accept, r_connect, u_connect },
	{ "open of a FIFO", nothing, c_open, r_open, nothing },
	{ "wait4", make_child, c_wait4, r_child, u_child },
	{ "waitpid of any", make_child, c_waitpid_any, r_child, u_child },
	{ "waitid", make_child, c_waitid, r_child, u_child },
	{ "flock", p_flock, c_flock, r_flock, nothing },
	{ "F_OFD_SETLKW", p_ofd, c_ofd, r_ofd, nothing },
	{ "mq_receive", nothing, c_mq_receive, r_mq, u_mq },
	{ "mq_timedreceive", nothing, c_mq_timedreceive, r_mq, u_mq },
	{ "mq_send", p_full, c_mq_send, r_full, nothing },
	{ "msgrcv", nothing, c_msgrcv, r_msg, u_msg },
	{ "semop", nothing, c_semop, r_semop, u_semop },
	{ "semtimedop", nothing, c_semtimedop, r_semop, u_semop },
	{ "sem_wait", nothing, c_sem_wait, r_sem, u_sem },
	{ "sem_timedwait", nothing, c_sem_timedwait, r_sem, u_sem },
	{ "futex", nothing, c_futex, r_futex, nothing },
	{ "futex with a time-out", nothing, c_futex_timed, r_futex, nothing },
	{ "futex_waitv", nothing, c_futex_waitv, r_futex, nothing },
	{ "futex_waitv with a time-out", nothing, c_futex_waitv_until, r_futex, nothing },
	{ "futex_wait with a time-out", nothing, c_futex_wait_until, r_futex, nothing },
	{ "FUTEX_LOCK_PI", p_lock, c_lock_until, nothing, nothing },
	{ "FUTEX_WAIT_REQUEUE_PI", nothing, c_futex_requeue_until, nothing, nothing },
	{ "pthread_mutex_lock", p_mutex, c_mutex, r_mutex, nothing },
	{ "pthread_cond_timedwait", nothing, c_cond, nothing, nothing },
	{ "pause", nothing, c_pause, nothing, nothing },
	{ "sigsuspend", nothing, c_sigsuspend, nothing, nothing },
	{ "sigtimedwait", nothing, c_sigtimedwait, nothing, nothing },
	{ "sigwaitinfo", nothing, c_sigwaitinfo, nothing, nothing },
	{ "poll", nothing, c_poll, r_pipe, u_drain },
	{ "poll with a time-out", nothing, c_poll_timed, r_pipe, u_drain },
	{ "ppoll", nothing, c_ppoll, r_pipe, u_drain },
	{ "select", nothing, c_select, r_pipe, u_drain },
	{ "pselect", nothing, c_pselect, r_pipe, u_drain },
	{ "epoll_wait", nothing, c_epoll_wait, r_pipe, u_drain },
	{ "epoll_pwait", nothing, c_epoll_pwait, r_pipe, u_drain },
	{ "nanosleep", nothing, c_nanosleep, nothing, nothing },
	{ "clock_nanosleep", nothing, c_clock_nanosleep, nothing, nothing },
	{ "clock_nanosleep until", nothing, c_clock_absolute, nothing, nothing },
	{ "usleep", nothing, c_usleep, nothing, nothing },
	{ "read of inotify", nothing, c_inotify, r_inotify, u_inotify },
};

static long result;
static int result_errno;
static atomic_bool returned;

static void *makes(void *raw)
{
	const struct call *call = raw;
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	OK(pthread_sigmask(SIG_UNBLOCK, &set, NULL));
	errno = 0;
	result = call->call();
	result_errno = errno;
	atomic_store(&returned, true);
	return NULL;
}

/* EINTR, or what it came to. Without EINTR it is tried again: the signal may have come before the call. */
static int try(const struct call *call)
{
	int error = 0;
	for (int attempt = 0; attempt < 4 && error != EINTR; attempt++) {
		int before = atomic_load(&handled);
		call->prepare();
		atomic_store(&returned, false);
		pthread_t thread = start(makes, (void *)call);
		sleep_ms(15);
		OK(pthread_kill(thread, SIGUSR1));
		/* Or the signal came too late for a wait with an end. */
		while (atomic_load(&handled) == before && !atomic_load(&returned))
			sleep_ms(1);
		call->release();
		/* A handler that came before the call, or a wait nobody ends. */
		struct timespec late = in_ms(CLOCK_REALTIME, 400);
		while (pthread_timedjoin_np(thread, NULL, &late) != 0) {
			pthread_kill(thread, SIGUSR1);
			call->release();
			late = in_ms(CLOCK_REALTIME, 100);
		}
		error = result < 0 ? result_errno : 0;
		call->undo();
	}
	return error;
}

int main(void)
{
	sigset_t block;
	sigemptyset(&other);
	sigaddset(&other, SIGUSR2);
	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	sigaddset(&block, SIGUSR2);
	OK(pthread_sigmask(SIG_BLOCK, &block, NULL));
	signal(SIGCHLD, SIG_DFL);
	IS(pipe(ends), 0);
	IS(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	IS(socketpair(AF_UNIX, SOCK_STREAM, 0, timed), 0);
	struct timeval long_time = { 100, 0 };
	IS(setsockopt(timed[0], SOL_SOCKET, SO_RCVTIMEO, &long_time, sizeof long_time), 0);
	listener = socket(AF_INET, SOCK_STREAM, 0);
	IS(listen(listener, 5), 0);
	poller = epoll_create1(0);
	struct epoll_event event = { .events = EPOLLIN };
	IS(epoll_ctl(poller, EPOLL_CTL_ADD, ends[0], &event), 0);
	snprintf(path, sizeof path, "/tmp/restart_table.%d", (int)getpid());
	snprintf(fifo, sizeof fifo, "%s.fifo", path);
	locked = open(path, O_CREAT | O_RDWR, 0600);
	CHECK(locked >= 0);
	IS(mkfifo(fifo, 0600), 0);
	notifier = inotify_init1(0);
	CHECK(inotify_add_watch(notifier, path, IN_MODIFY) >= 0);
	IS(sem_init(&semaphore, 0, 0), 0);
	queue_id = msgget(IPC_PRIVATE, 0600);
	semaphores = semget(IPC_PRIVATE, 1, 0600);
	IS(semctl(semaphores, 0, SETVAL, 0), 0);
	struct mq_attr attributes = { .mq_maxmsg = 1, .mq_msgsize = 16 };
	char name[64];
	snprintf(name, sizeof name, "/restart_table.%d", (int)getpid());
	messages = mq_open(name, O_CREAT | O_RDWR, 0600, &attributes);
	CHECK(messages != (mqd_t)-1);
	mq_unlink(name);
	full_messages = mq_open(name, O_CREAT | O_RDWR, 0600, &attributes);
	CHECK(full_messages != (mqd_t)-1);
	mq_unlink(name);
	const char *only = getenv("ONLY");
	for (int restart = 0; restart < 2; restart++) {
		struct sigaction action = { .sa_handler = handler, .sa_flags = restart ? SA_RESTART : 0 };
		IS(sigaction(SIGUSR1, &action, NULL), 0);
		for (size_t i = 0; i < COUNT(calls); i++) {
			if (only && strcmp(only, calls[i].name))
				continue;
			int error = try(&calls[i]);
			printf("%s%s: %s\n", calls[i].name, restart ? ", SA_RESTART" : "",
			       error == EINTR ? "EINTR" : error ? strerrorname_np(error) : "goes on");
		}
	}
	unlink(path);
	unlink(fifo);
	msgctl(queue_id, IPC_RMID, NULL);
	semctl(semaphores, 0, IPC_RMID);
	return 0;
}
