/*
 * What programs do, family by family, with the result of every step: what is denied is told, and nothing hangs for it.
 *
 * families [ACTION[:ERRNO] CALL[,CALL...] [all]]: a filter of system calls that is installed once the program has had a
 * thread, for these numbers, or for all but these if the list begins with `-`. ACTION: errno, kill, trap. `all`: for the
 * threads that are there already too (SECCOMP_FILTER_FLAG_TSYNC).
 */
#include "../guest.h"
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>

extern char **environ;

/* A result as text: what a step answered, or why it failed. */
static long tell(const char *what, long result)
{
	int error = errno;
	if (result == -1)
		printf("%s: %s\n", what, error ? strerrorname_np(error) : "-1");
	else
		printf("%s: %ld\n", what, result);
	fflush(stdout);
	errno = error;
	return result;
}

/* As tell, for numbers that are the system's choice. */
static long able(const char *what, long result)
{
	return tell(what, result >= 0 ? 0 : -1) == 0 ? result : -1;
}

#define TELL(call) (errno = 0, tell(#call, (long)(call)))
#define ABLE(call) (errno = 0, able(#call, (long)(call)))

/* Lets this time pass, for the other threads too, where sleeping is denied as well. */
static void spend(long microseconds)
{
	struct timespec start, now;
	clock_gettime(CLOCK_MONOTONIC, &start);
	if (usleep((useconds_t)microseconds) == 0 || errno == EINTR)
		return;
	do {
		sched_yield();
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((now.tv_sec - start.tv_sec) * 1000000 + (now.tv_nsec - start.tv_nsec) / 1000 < microseconds);
}

/* A thread, or the error number as errno. */
static bool thread(pthread_t *made, void *(*body)(void *), void *argument)
{
	int error = pthread_create(made, NULL, body, argument);
	if (error)
		printf("pthread_create: %s\n", strerrorname_np(error));
	return !error;
}

static void *joined(pthread_t thread)
{
	void *value = NULL;
	int error = pthread_join(thread, &value);
	if (error)
		printf("pthread_join: %s\n", strerrorname_np(error));
	return value;
}

/* Threads, locks. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int turns;

static void *take_turns(void *own)
{
	pthread_mutex_lock(&mutex);
	for (int i = 0; i < 50; i++) {
		while (turns % 2 != (own != NULL))
			pthread_cond_wait(&changed, &mutex);
		turns++;
		pthread_cond_broadcast(&changed);
	}
	pthread_mutex_unlock(&mutex);
	return own;
}

static void *name_of_thread(void *into)
{
	TELL(pthread_setname_np(pthread_self(), "other"));
	prctl(PR_GET_NAME, into);
	return into;
}

static void *gone(void *unused)
{
	pthread_exit(unused);
}

static void threads(void)
{
	pthread_t a, b;
	turns = 0;
	if (!thread(&a, take_turns, NULL))
		return;
	if (!thread(&b, take_turns, &b)) {
		pthread_mutex_lock(&mutex);
		exit(3);
	}
	joined(a);
	joined(b);
	printf("turns: %d\n", turns);
	char name[17] = "";
	if (thread(&a, name_of_thread, name))
		joined(a);
	printf("name: %s\n", name);
	if (thread(&a, gone, name))
		printf("pthread_exit: %d\n", joined(a) == name);
	struct timespec soon = in_ms(CLOCK_REALTIME, 3);
	pthread_mutex_lock(&mutex);
	printf("cond_timedwait: %s\n", strerrorname_np(pthread_cond_timedwait(&changed, &mutex, &soon)));
	pthread_mutex_unlock(&mutex);
	sem_t semaphore;
	sem_init(&semaphore, 0, 0);
	soon = in_ms(CLOCK_REALTIME, 3);
	TELL(sem_timedwait(&semaphore, &soon));
	printf("ids: %d\n", gettid() == getpid());
}

/* Pipes, sockets. */
static void *read_one(void *ends)
{
	char byte = 0;
	long count = read(*(int *)ends, &byte, 1);
	return (void *)(count == 1 ? byte : count < 0 ? -errno : 0L);
}

static void hand_over(const char *what, int from, int to)
{
	pthread_t reader;
	int ends[1] = { from };
	if (!thread(&reader, read_one, ends))
		return;
	spend(2000);
	tell(what, write(to, "x", 1));
	printf("%s: read %ld\n", what, (long)joined(reader));
}

static void *write_much(void *end)
{
	static char much[300000];
	long all = 0, count;
	while (all < (long)sizeof much && (count = write(*(int *)end, much, sizeof much - (size_t)all)) > 0)
		all += count;
	close(*(int *)end);
	return (void *)all;
}

static void pipes(void)
{
	int ends[2];
	if (ABLE(pipe(ends)) < 0)
		return;
	hand_over("pipe", ends[0], ends[1]);
	pthread_t writer;
	if (thread(&writer, write_much, &ends[1])) {
		static char into[4096];
		long all = 0, count;
		while ((count = read(ends[0], into, sizeof into)) > 0)
			all += count;
		printf("pipe: %ld of %ld\n", all, (long)joined(writer));
	}
	close(ends[0]);
	if (ABLE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends)) < 0)
		return;
	hand_over("socketpair", ends[0], ends[1]);
	struct timeval patience = { .tv_usec = 3000 };
	char byte;
	if (TELL(setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience)) == 0)
		TELL(recv(ends[0], &byte, 1, 0));
	TELL(recv(ends[0], &byte, 1, MSG_DONTWAIT));
	TELL(send(ends[1], "abc", 3, 0));
	struct iovec part = { &byte, 1 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
	if (errno == 0) {
		TELL(recvmsg(ends[0], &message, 0));
		TELL(readv(ends[0], &part, 1));
		TELL(read(ends[0], &byte, 1));
	}
	TELL(shutdown(ends[1], SHUT_WR));
	TELL(read(ends[0], &byte, 1));
	close(ends[0]);
	close(ends[1]);
}

static struct sockaddr_in address;

static void *be_client(void *unused)
{
	(void)unused;
	char byte = 0;
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0 || write(fd, "q", 1) != 1 ||
	    read(fd, &byte, 1) != 1)
		byte = 1;
	close(fd);
	return (void *)(long)byte;
}

static void network(void)
{
	int listener = (int)ABLE(socket(AF_INET, SOCK_STREAM, 0));
	socklen_t length = sizeof address;
	address = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	if (listener < 0 || TELL(bind(listener, (struct sockaddr *)&address, sizeof address)) < 0 ||
	    TELL(listen(listener, 5)) < 0 || TELL(getsockname(listener, (struct sockaddr *)&address, &length)) < 0)
		return;
	struct timeval patience = { .tv_usec = 300000 };
	if (TELL(setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience)) < 0)
		return;
	pthread_t client;
	if (thread(&client, be_client, NULL)) {
		int fd = (int)ABLE(accept(listener, NULL, NULL));
		char byte;
		if (fd >= 0) {
			TELL(read(fd, &byte, 1));
			TELL(write(fd, "a", 1));
		}
		close(fd);
		close(listener);
		printf("client: %ld\n", (long)joined(client));
	} else
		close(listener);
	int udp = (int)ABLE(socket(AF_INET, SOCK_DGRAM, 0));
	TELL(setsockopt(udp, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience));
	TELL(bind(udp, (struct sockaddr *)&address, sizeof address));
	TELL(sendto(udp, "abcd", 4, 0, (struct sockaddr *)&address, sizeof address));
	char text[8];
	TELL(recvfrom(udp, text, sizeof text, 0, NULL, NULL));
	close(udp);
}

/* Waiting for several things. */
static void *write_later(void *end)
{
	spend(3000);
	return (void *)write(*(int *)end, "12345678", 8);
}

static void write_later_to(int fd, pthread_t *writer)
{
	static int end;
	end = fd;
	if (!thread(writer, write_later, &end))
		exit(4);
}

static void several(void)
{
	int ends[2];
	char text[8];
	pthread_t writer;
	if (ABLE(pipe(ends)) < 0)
		return;
	struct pollfd one = { .fd = ends[0], .events = POLLIN };
	TELL(poll(&one, 1, 2));
	write_later_to(ends[1], &writer);
	TELL(poll(&one, 1, -1));
	joined(writer);
	TELL(read(ends[0], text, sizeof text));
	struct timespec moment = { .tv_nsec = 2000000 };
	TELL(ppoll(&one, 1, &moment, NULL));
	write_later_to(ends[1], &writer);
	fd_set set;
	FD_ZERO(&set);
	FD_SET(ends[0], &set);
	TELL(select(ends[0] + 1, &set, NULL, NULL, NULL));
	joined(writer);
	TELL(read(ends[0], text, sizeof text));
	struct timeval none = { .tv_usec = 2000 };
	TELL(select(0, NULL, NULL, NULL, &none));
	int epoll = (int)ABLE(epoll_create1(0));
	if (epoll >= 0) {
		struct epoll_event event = { .events = EPOLLIN };
		TELL(epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event));
		TELL(epoll_wait(epoll, &event, 1, 2));
		write_later_to(ends[1], &writer);
		TELL(epoll_wait(epoll, &event, 1, -1));
		joined(writer);
		close(epoll);
	}
	close(ends[0]);
	close(ends[1]);
	int event = (int)ABLE(eventfd(0, 0));
	if (event >= 0) {
		write_later_to(event, &writer);
		TELL(read(event, text, 8));
		joined(writer);
		close(event);
	}
	int timer = (int)ABLE(timerfd_create(CLOCK_MONOTONIC, 0));
	if (timer >= 0) {
		struct itimerspec soon = { .it_value.tv_nsec = 2000000 };
		TELL(timerfd_settime(timer, 0, &soon, NULL));
		if (errno == 0)
			TELL(read(timer, text, 8));
		close(timer);
	}
}

/* Time. */
static void sleeps(void)
{
	struct timespec moment = { .tv_nsec = 2000000 }, until;
	TELL(nanosleep(&moment, NULL));
	TELL(clock_nanosleep(CLOCK_MONOTONIC, 0, &moment, NULL));
	TELL(clock_nanosleep(CLOCK_REALTIME, 0, &moment, NULL));
	clock_gettime(CLOCK_REALTIME, &until);
	TELL(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &until, NULL));
	TELL(sched_yield());
	struct timespec used;
	TELL(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used));
	TELL(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used));
}

/* Files. */
static void *lock_file(void *fd)
{
	return (void *)(long)flock(*(int *)fd, LOCK_EX);
}

static void files(void)
{
	char name[] = "families.txt", other[32], text[64] = "";
	int fd = (int)ABLE(open(name, O_RDWR | O_CREAT | O_EXCL, 0600));
	if (fd < 0)
		return;
	snprintf(other, sizeof other, "%s-2", name);
	struct iovec part = { text, sizeof text };
	TELL(write(fd, "hello, file", 11));
	TELL(pwrite(fd, "H", 1, 0));
	TELL(pread(fd, text, sizeof text, 0));
	TELL(preadv2(fd, &part, 1, 0, 0));
	TELL(pwritev2(fd, &part, 1, 0, 0));
	TELL(lseek(fd, 0, SEEK_SET));
	TELL(read(fd, text, sizeof text));
	TELL(fsync(fd));
	TELL(fdatasync(fd));
	TELL(ftruncate(fd, 3));
	TELL(posix_fallocate(fd, 0, 100));
	struct stat about;
	TELL(fstat(fd, &about));
	TELL(stat(name, &about));
	int again = (int)ABLE(open(name, O_RDWR));
	pthread_t locker;
	TELL(flock(fd, LOCK_EX));
	if (thread(&locker, lock_file, &again)) {
		spend(3000);
		TELL(flock(fd, LOCK_UN));
		printf("flock: %ld\n", (long)joined(locker));
	}
	struct flock range = { .l_type = F_WRLCK, .l_len = 1 };
	TELL(fcntl(fd, F_SETLKW, &range));
	TELL(close(again));
	TELL(close(fd));
	TELL(rename(name, other));
	TELL(unlink(other));
	DIR *directory = opendir("/");
	printf("opendir: %d\n", directory != NULL);
	if (directory)
		printf("readdir: %d\n", readdir(directory) != NULL), closedir(directory);
	FILE *null = fopen("/dev/null", "r+");
	printf("fopen: %d\n", null != NULL);
	if (null) {
		fputs("x", null);
		printf("fclose: %d\n", fclose(null));
	}
	fd = (int)ABLE(open("/dev/zero", O_RDONLY));
	TELL(read(fd, text, 8));
	close(fd);
}

/* Processes. */
static void *wait_for(void *child)
{
	int status = -1;
	long pid = waitpid(*(pid_t *)child, &status, 0);
	return (void *)(pid < 0 ? -(long)errno : status);
}

static void *nothing(void *unused)
{
	return unused;
}

static void processes(void)
{
	fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		pthread_t own;
		bool made = thread(&own, nothing, NULL);
		if (made)
			pthread_join(own, NULL);
		_exit(made ? 7 : 8);
	}
	if (able("fork", child) > 0) {
		pthread_t waiter;
		if (thread(&waiter, wait_for, &child))
			printf("waitpid: %lx\n", (unsigned long)joined(waiter));
	}
	int status = -1;
	char *words[] = { "/bin/sh", "-c", "exit 5", NULL };
	int error = posix_spawn(&child, words[0], NULL, NULL, words, environ);
	printf("posix_spawn: %s\n", error ? strerrorname_np(error) : "0");
	if (!error) {
		siginfo_t about = { 0 };
		TELL(waitid(P_PID, (id_t)child, &about, WEXITED | WNOWAIT));
		TELL(waitpid(child, &status, 0) == child);
		printf("status: %x\n", (unsigned)status);
	}
	FILE *said = popen("echo said", "r");
	char text[16] = "";
	printf("popen: %d\n", said != NULL);
	if (said) {
		printf("fgets: %s", fgets(text, sizeof text, said) ? text : "nothing\n");
		printf("pclose: %x\n", (unsigned)pclose(said));
	}
}

/* Signals. */
static atomic_int handled;

static void handle(int signal)
{
	atomic_fetch_add(&handled, signal);
}

static atomic_bool paused;

static void *pause_once(void *unused)
{
	(void)unused;
	long error = pause() == -1 && errno == EINTR ? 0 : errno;
	paused = true;
	return (void *)error;
}

static void *wait_signal(void *unused)
{
	(void)unused;
	sigset_t set;
	int signal = 0;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	int error = sigwait(&set, &signal);
	return (void *)(long)(error ? -error : signal);
}

static void signals(void)
{
	pid_t self = getpid();
	/* -1 would be everybody. */
	if (TELL(self > 1) != 1)
		return;
	struct sigaction action = { .sa_handler = handle };
	TELL(sigaction(SIGUSR1, &action, NULL));
	TELL(sigaction(SIGALRM, &action, NULL));
	handled = 0;
	paused = false;
	TELL(raise(SIGUSR1));
	printf("handled: %d\n", handled);
	pthread_t other;
	if (thread(&other, pause_once, NULL)) {
		spend(3000);
		/* Where it cannot pause it has ended; where no signal can be sent it would pause for ever. */
		for (int i = 0; !paused; i++) {
			int error = pthread_kill(other, SIGUSR1);
			if (error)
				printf("pthread_kill: %s\n", strerrorname_np(error)), exit(5);
			if (i > 1000)
				exit(6);
			spend(1000);
		}
		printf("pause: %ld\n", (long)joined(other));
	}
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	TELL(pthread_sigmask(SIG_BLOCK, &set, NULL));
	if (thread(&other, wait_signal, NULL)) {
		spend(3000);
		TELL(pthread_kill(other, SIGUSR2));
		printf("sigwait: %ld\n", (long)joined(other));
	}
	while (sigtimedwait(&set, NULL, &(struct timespec){ 0 }) > 0)
		;
	TELL(kill(self, SIGUSR2));
	TELL(sigtimedwait(&set, NULL, &(struct timespec){ .tv_sec = 1 }));
	union sigval value = { .sival_int = 5 };
	TELL(pthread_sigqueue(pthread_self(), SIGUSR2, value));
	siginfo_t about = { 0 };
	TELL(sigtimedwait(&set, &about, &(struct timespec){ .tv_nsec = 1000000 }));
	int fd = (int)ABLE(signalfd(-1, &set, 0));
	if (fd >= 0) {
		struct signalfd_siginfo read_about;
		if (TELL(kill(self, SIGUSR2)) == 0)
			TELL(read(fd, &read_about, sizeof read_about));
		close(fd);
	}
	TELL(pthread_sigmask(SIG_UNBLOCK, &set, NULL));
	handled = 0;
	struct itimerval soon = { .it_value.tv_usec = 2000 };
	if (TELL(setitimer(ITIMER_REAL, &soon, NULL)) == 0)
		for (int i = 0; !handled && i < 1000; i++)
			spend(500);
	timer_t timer;
	handled = 0;
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	if (TELL(timer_create(CLOCK_MONOTONIC, &event, &timer)) == 0) {
		struct itimerspec span = { .it_value.tv_nsec = 2000000 };
		if (TELL(timer_settime(timer, 0, &span, NULL)) == 0)
			for (int i = 0; !handled && i < 1000; i++)
				spend(500);
		TELL(timer_delete(timer));
	}
}

/* Memory, and what else the system is asked for. */
struct shared {
	pthread_mutex_t mutex;
	sem_t semaphore;
};

static void memory(void)
{
	char *at = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	TELL(at != MAP_FAILED);
	if (at != MAP_FAILED) {
		at[5] = 1;
		TELL(madvise(at, 1 << 20, MADV_DONTNEED));
		TELL(mprotect(at, 4096, PROT_READ));
		TELL(mlock(at, 4096));
		TELL(munmap(at, 1 << 20));
	}
	char random[8];
	TELL(getrandom(random, sizeof random, 0));
	cpu_set_t set;
	TELL(sched_getaffinity(0, sizeof set, &set));
	TELL(pthread_getaffinity_np(pthread_self(), sizeof set, &set));
	errno = 0;
	TELL(getpriority(PRIO_PROCESS, 0));
	TELL(sched_getscheduler(0));
	struct rlimit limit;
	TELL(getrlimit(RLIMIT_NOFILE, &limit));
	TELL(prctl(PR_GET_DUMPABLE));
	int fd = (int)ABLE(memfd_create("families", 0));
	close(fd);
	TELL(close_range(900, 950, 0));
	ABLE(syscall(SYS_membarrier, 0, 0, 0));
	fd = (int)ABLE(syscall(SYS_pidfd_open, getpid(), 0));
	close(fd);
	struct shared *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return;
	sem_init(&shared->semaphore, 1, 0);
	fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		spend(2000);
		_exit(sem_post(&shared->semaphore));
	}
	if (child > 0) {
		TELL(sem_wait(&shared->semaphore));
		int status;
		TELL(waitpid(child, &status, 0) == child && status == 0);
	}
	munmap(shared, 4096);
}

/* The filter. */
static void trapped(int signal, siginfo_t *about, void *unused)
{
	(void)signal;
	(void)unused;
	char text[64];
	int length = snprintf(text, sizeof text, "trapped: %d\n", about->si_syscall);
	if (write(1, text, (size_t)length) < 0)
		_exit(97);
}

static void filter(char **words)
{
	char *error = strchr(words[0], ':');
	uint32_t denied = !strncmp(words[0], "errno", 5) ? SECCOMP_RET_ERRNO | (uint32_t)atoi(error + 1) :
			  !strcmp(words[0], "trap")      ? SECCOMP_RET_TRAP :
							   SECCOMP_RET_KILL_PROCESS;
	bool others = words[1][0] == '-';
	struct sock_filter code[600];
	unsigned length = 0;
	code[length++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (char *at = strtok(words[1] + others, ","); at; at = strtok(NULL, ",")) {
		code[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)atoi(at), 0, 1);
		code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, others ? SECCOMP_RET_ALLOW : denied);
	}
	code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, others ? denied : SECCOMP_RET_ALLOW);
	struct sock_fprog program = { (unsigned short)length, code };
	struct sigaction action = { .sa_sigaction = trapped, .sa_flags = SA_SIGINFO };
	sigaction(SIGSYS, &action, NULL);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (words[2])
		TELL(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program));
	else
		TELL(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
}

int main(int count, char **words)
{
	if (count > 2) {
		threads();
		pipes();
		filter(words + 1);
	}
	threads();
	pipes();
	network();
	several();
	sleeps();
	files();
	signals();
	memory();
	processes();
	puts("end");
}
