// daemon(3), a double fork, and a pre-fork server, from programs with threads.
#include "net.h"
#include <signal.h>
#include <sys/wait.h>

static int report[2];

static void *ticks(void *unused)
{
	for (;;)
		sleep_ms(1);
	return unused;
}

static void *says(void *text)
{
	IS(write(report[1], text, 1), 1);
	return NULL;
}

static char heard(void)
{
	char byte;
	IS(read(report[0], &byte, 1), 1);
	return byte;
}

static void daemonised(void)
{
	fflush(stdout);
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		start(ticks, NULL);
		sleep_ms(5);
		IS(daemon(1, 1), 0);
		CHECK(getsid(0) == getpid());
		join(start(says, "d"));
		_exit(0);
	}
	int status;
	IS(waitpid(pid, &status, 0), pid);
	IS(status, 0);
	IS(heard(), 'd');
	puts("daemon");
}

static void *double_fork(void *unused)
{
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		CHECK(setsid() == getpid());
		pid = fork();
		CHECK(pid >= 0);
		if (pid > 0)
			_exit(0);
		start(ticks, NULL);
		join(start(says, "f"));
		_exit(0);
	}
	int status;
	IS(waitpid(pid, &status, 0), pid);
	IS(status, 0);
	IS(heard(), 'f');
	return unused;
}

enum { WORKERS = 3, CLIENTS = 30 };

static void *answers(void *raw)
{
	int fd = (int)(intptr_t)raw;
	char byte;
	IS(read(fd, &byte, 1), 1);
	byte++;
	IS(write(fd, &byte, 1), 1);
	close(fd);
	return NULL;
}

static void serve(int listener)
{
	start(ticks, NULL);
	for (;;) {
		int fd = accept(listener, NULL, NULL);
		CHECK(fd >= 0);
		OK(pthread_detach(start(answers, (void *)(intptr_t)fd)));
	}
}

static void *asks(void *raw)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	IS(connect(fd, raw, sizeof(struct sockaddr_in)), 0);
	char byte = 'a';
	IS(write(fd, &byte, 1), 1);
	IS(read(fd, &byte, 1), 1);
	IS(byte, 'b');
	close(fd);
	return NULL;
}

static void prefork(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t length = sizeof address;
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	IS(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
	IS(listen(listener, 64), 0);
	IS(getsockname(listener, (struct sockaddr *)&address, &length), 0);
	pid_t workers[WORKERS];
	for (int i = 0; i < WORKERS; i++) {
		workers[i] = fork();
		CHECK(workers[i] >= 0);
		if (workers[i] == 0)
			serve(listener);
	}
	pthread_t clients[CLIENTS];
	for (int i = 0; i < CLIENTS; i++)
		clients[i] = start(asks, &address);
	for (int i = 0; i < CLIENTS; i++)
		join(clients[i]);
	for (int i = 0; i < WORKERS; i++) {
		int status;
		IS(kill(workers[i], SIGTERM), 0);
		IS(waitpid(workers[i], &status, 0), workers[i]);
		CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
	}
	puts("a pre-fork server");
}

int main(void)
{
	IS(pipe(report), 0);
	daemonised();
	start(ticks, NULL);
	double_fork(NULL);
	join(start(double_fork, NULL));
	puts("a double fork");
	prefork();
	return 0;
}
