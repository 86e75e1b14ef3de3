// Threads that talk over loopback, use files, sleep, look up names, pass memory on and start children.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define EACH 4
#define TURNS 50
extern char **environ;

static struct sockaddr_in address;
static int listener;
static int echoed, datagrams, files, slept, named, children, lines, passed, handled;
static void *slots[EACH];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;

static void check(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	_exit(1);
}

static void count(int *what) { __atomic_add_fetch(what, 1, __ATOMIC_RELAXED); }

static void *answers(void *own)
{
	int fd = (long)own;
	char bytes[64];
	ssize_t n;
	while ((n = recv(fd, bytes, sizeof bytes, 0)) > 0)
		check(write(fd, bytes, n) == n, "write");
	check(n == 0, "recv");
	close(fd);
	return 0;
}

static void *accepts(void *unused)
{
	pthread_t threads[EACH];
	for (int i = 0; i < EACH; i++) {
		struct sockaddr_in peer;
		socklen_t length = sizeof peer;
		int fd = accept(listener, (void *)&peer, &length);
		check(fd >= 0 && peer.sin_family == AF_INET, "accept");
		check(!pthread_create(&threads[i], 0, answers, (void *)(long)fd), "pthread_create");
	}
	for (int i = 0; i < EACH; i++)
		pthread_join(threads[i], 0);
	return unused;
}

/* A stop, as by a tracer, ends epoll_wait. */
static int waited_for(int set, struct epoll_event *event)
{
	int count;
	do
		count = epoll_wait(set, event, 1, -1);
	while (count < 0 && errno == EINTR);
	return count == 1;
}

static void *asks(void *own)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	check(fd >= 0 && !connect(fd, (void *)&address, sizeof address), "connect");
	int set = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = {.events = EPOLLIN};
	check(set >= 0 && !epoll_ctl(set, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
	for (int i = 0; i < TURNS; i++) {
		char bytes[16], back[16];
		memset(bytes, i, sizeof bytes);
		check(send(fd, bytes, sizeof bytes, 0) == sizeof bytes, "send");
		if (i % 3 == 0)
			check(poll(&(struct pollfd){fd, POLLIN, 0}, 1, -1) == 1, "poll");
		else if (i % 3 == 1)
			check(waited_for(set, &event), "epoll_wait");
		for (size_t n = 0; n < sizeof back;) {
			ssize_t got = read(fd, back + n, sizeof back - n);
			check(got > 0, "read");
			n += got;
		}
		check(!memcmp(bytes, back, sizeof bytes), "what came back");
		count(&echoed);
	}
	close(set);
	close(fd);
	return own;
}

static void *sends_datagrams(void *own)
{
	int fds[2];
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t length = sizeof at;
	char byte;
	for (int i = 0; i < 2; i++)
		check((fds[i] = socket(AF_INET, SOCK_DGRAM, 0)) >= 0, "socket");
	check(!bind(fds[0], (void *)&at, sizeof at), "bind");
	check(!getsockname(fds[0], (void *)&at, &length), "getsockname");
	for (int i = 0; i < TURNS; i++) {
		check(sendto(fds[1], "x", 1, 0, (void *)&at, sizeof at) == 1, "sendto");
		check(recvfrom(fds[0], &byte, 1, 0, 0, 0) == 1, "recvfrom");
		count(&datagrams);
	}
	close(fds[0]);
	close(fds[1]);
	return own;
}

static void *uses_files(void *own)
{
	for (int i = 0; i < 5; i++) {
		char name[] = "file-XXXXXX", text[32] = "";
		struct stat status;
		int fd = mkstemp(name);
		check(fd >= 0 && write(fd, "hello\n", 6) == 6, "mkstemp");
		check(!fsync(fd) && !fdatasync(fd) && !close(fd), "fsync");
		FILE *file = fopen(name, "r+");
		check(file && fgets(text, sizeof text, file) && !strcmp(text, "hello\n"), "fopen");
		check(!fseek(file, 0, SEEK_END) && fprintf(file, "%d\n", i) == 2 && !fclose(file), "fprintf");
		check(!stat(name, &status) && status.st_size == 8 && !unlink(name), "stat");
		count(&files);
	}
	return own;
}

static void *sleeps(void *own)
{
	struct timespec until;
	check(!usleep(2000) && !nanosleep(&(struct timespec){0, 1000000}, 0), "usleep");
	check(poll(0, 0, 2) == 0, "poll");
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += 10000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	pthread_mutex_lock(&mutex);
	static int never;
	int error = 0;
	while (!never && !error)
		error = pthread_cond_timedwait(&condition, &mutex, &until);
	pthread_mutex_unlock(&mutex);
	check(error == ETIMEDOUT, "pthread_cond_timedwait");
	count(&slept);
	return own;
}

static void *names(void *own)
{
	struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found;
	struct passwd entry, *result;
	char buffer[1024];
	int error = getaddrinfo("localhost", 0, &hints, &found);
	check(!error, error ? gai_strerror(error) : "");
	check(((struct sockaddr_in *)found->ai_addr)->sin_addr.s_addr == htonl(INADDR_LOOPBACK), "address");
	freeaddrinfo(found);
	error = getpwuid_r(getuid(), &entry, buffer, sizeof buffer, &result);
	check(!error && result, "getpwuid_r");
	count(&named);
	return own;
}

static void *starts_children(void *own)
{
	int status;
	char *words[] = {"sh", "-c", "exit 3", 0}, line[32];
	pid_t child = fork();
	if (child == 0) {
		execvp(words[0], words);
		_exit(127);
	}
	check(child > 0 && waitpid(child, &status, 0) == child, "fork");
	children += WEXITSTATUS(status) == 3;
	check(!posix_spawnp(&child, words[0], 0, 0, words, environ), "posix_spawnp");
	check(waitpid(child, &status, 0) == child, "waitpid");
	children += WEXITSTATUS(status) == 3;
	FILE *pipe = popen("echo line", "r");
	check(pipe && fgets(line, sizeof line, pipe) && !strcmp(line, "line\n") && !pclose(pipe), "popen");
	lines++;
	check(system("exit 4") == 4 << 8, "system");
	children++;
	return own;
}

/* What one thread allocates is freed by another. */
static void *passes_memory(void *own)
{
	for (int i = 1; i <= 2000; i++) {
		size_t size = i * 37 % 5000 + 16;
		char *block = i % 7 ? malloc(size) : aligned_alloc(64, size / 64 * 64 + 64);
		check(block != 0, "malloc");
		memset(block, i, size);
		if (i % 5 == 0)
			check((block = realloc(block, size * 2)) != 0, "realloc");
		free(__atomic_exchange_n(&slots[i % EACH], block, __ATOMIC_ACQ_REL));
		count(&passed);
		if (i % 100 == 0)
			sched_yield();
	}
	return own;
}

static void handler(int signal) { (void)signal, count(&handled); }

static void *signals(void *own)
{
	for (int i = 0; i < 10; i++)
		pthread_kill(pthread_self(), SIGUSR1);
	return own;
}

int main(void)
{
	void *(*const bodies[])(void *) = {asks, sends_datagrams, uses_files, sleeps, names, passes_memory, signals};
	enum { KINDS = sizeof bodies / sizeof *bodies };
	pthread_t threads[KINDS * EACH], accepter, starter;
	socklen_t length = sizeof address;
	address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	signal(SIGUSR1, handler);
	check((listener = socket(AF_INET, SOCK_STREAM, 0)) >= 0, "socket");
	check(!bind(listener, (void *)&address, sizeof address) && !listen(listener, EACH), "bind");
	check(!getsockname(listener, (void *)&address, &length), "getsockname");
	check(!pthread_create(&accepter, 0, accepts, 0), "pthread_create");
	check(!pthread_create(&starter, 0, starts_children, 0), "pthread_create");
	for (int i = 0; i < KINDS * EACH; i++)
		check(!pthread_create(&threads[i], 0, bodies[i % KINDS], 0), "pthread_create");
	for (int i = 0; i < KINDS * EACH; i++)
		pthread_join(threads[i], 0);
	pthread_join(starter, 0);
	pthread_join(accepter, 0);
	printf("echoed %d, datagrams %d, files %d, slept %d, names %d\n", echoed, datagrams, files, slept, named);
	printf("children %d, lines %d, passed %d, handled %d\n", children, lines, passed, handled);
	fputs("at the end\n", stderr);
	return 7;
}
