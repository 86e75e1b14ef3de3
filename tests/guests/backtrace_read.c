// backtrace() in a signal handler, through a blocking read, reaches the thread's body and main.
// guest: compile=-rdynamic compile=-fno-omit-frame-pointer compile=-fasynchronous-unwind-tables
#include "guest.h"
#include <execinfo.h>
#include <signal.h>
#include <sys/socket.h>

static int ends[2];
static atomic_bool handled;
static pthread_t target;

__attribute__((noinline)) void handler(int signal)
{
	void *frames[100];
	(void)signal;
	if (atomic_load(&handled))
		return;
	int count = backtrace(frames, 100);
	char **names = backtrace_symbols(frames, count);
	CHECK(names != NULL);
	bool in_read = false;
	for (int i = 0; i < count; i++)
		in_read |= strstr(names[i], "(read_deeper+") != NULL;
	if (!in_read)
		return; /* the signal came before the call */
	for (int i = 0; i < count; i++) {
		static const char *const ours[] = { "read_deeper", "read_deep", "thread_body", "main" };
		char *name = strchr(names[i], '('), *end = name ? strpbrk(name, "+)") : NULL;
		if (!end)
			continue;
		*end = 0;
		/* What lies between, of the C library's, is nobody's business here. */
		for (size_t j = 0; j < COUNT(ours); j++)
			if (!strcmp(name + 1, ours[j]))
				printf("frame of %s\n", ours[j]);
	}
	fflush(stdout);
	free(names);
	atomic_store(&handled, true);
	if (write(ends[1], "x", 1) != 1)
		_exit(1);
}

__attribute__((noinline)) int read_deeper(int fd)
{
	char byte;
	IS(read(fd, &byte, 1), 1);
	return byte;
}

__attribute__((noinline)) int read_deep(int fd)
{
	return read_deeper(fd) + 1;
}

__attribute__((noinline)) void *thread_body(void *unused)
{
	(void)unused;
	IS(read_deep(ends[0]), 'x' + 1);
	return NULL;
}

static void *signals(void *unused)
{
	(void)unused;
	while (!atomic_load(&handled)) {
		sleep_ms(20);
		if (!atomic_load(&handled))
			OK(pthread_kill(target, SIGUSR1));
	}
	return NULL;
}

static void with(void *(*body)(void *))
{
	pthread_t sender;
	atomic_store(&handled, false);
	if (body) {
		target = start(body, NULL);
		sender = start(signals, NULL);
		join(sender);
		join(target);
	} else {
		target = pthread_self();
		sender = start(signals, NULL);
		IS(read_deep(ends[0]), 'x' + 1);
		join(sender);
	}
}

int main(void)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART };
	void *warm[2];
	backtrace(warm, 2); /* loads the unwinder now, not in the handler */
	IS(sigaction(SIGUSR1, &action, NULL), 0);
	IS(pipe(ends), 0);
	puts("in main:");
	fflush(stdout);
	with(NULL);
	puts("in a thread:");
	fflush(stdout);
	with(thread_body);
	IS(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	puts("in a socket's read:");
	fflush(stdout);
	with(thread_body);
	return 0;
}
