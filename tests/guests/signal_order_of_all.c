// All signals pending at once: sigwaitinfo, signalfd and handlers take them in the kernel's order, faults first and then by number.
// guest: limit=60
#include "guest.h"
#include <semaphore.h>
#include <signal.h>
#include <sys/signalfd.h>

static sigset_t all;
static sem_t ready, go_on;

static bool is_sent(int number)
{
	return number != SIGKILL && number != SIGSTOP && number != 32 && number != 33 &&
	       number != SIGCONT && number != SIGTSTP && number != SIGTTIN && number != SIGTTOU;
}

static void by_kill(int number)
{
	IS(kill(getpid(), number), 0);
}

static void by_queue(int number)
{
	IS(sigqueue(getpid(), number, (union sigval){ .sival_int = number }), 0);
}

static void to_itself(int number)
{
	OK(pthread_kill(pthread_self(), number));
}

static void (*const ways[])(int) = { by_kill, by_queue, to_itself };
static const char *const names[] = { "kill", "sigqueue", "pthread_kill" };

/* Highest first, and some of the realtime signals twice. */
static void send_all(void (*send)(int))
{
	for (int number = 64; number > 0; number--)
		if (is_sent(number))
			send(number);
	for (int number = 36; number <= 64; number += 7)
		send(number);
	sigset_t pending;
	IS(sigpending(&pending), 0);
	for (int number = 1; number <= 64; number++)
		IS(sigismember(&pending, number), is_sent(number));
}

static void wait_in_order(void)
{
	struct timespec now = { 0 };
	siginfo_t info;
	int number;
	while ((number = sigtimedwait(&all, &info, &now)) > 0) {
		IS(info.si_signo, number);
		printf(" %d", number);
	}
	IS(errno, EAGAIN);
	puts("");
}

static void read_in_order(int fd)
{
	struct signalfd_siginfo info;
	while (read(fd, &info, sizeof info) == sizeof info)
		printf(" %u", info.ssi_signo);
	IS(errno, EAGAIN);
}

static char order[400];

static void handler(int number)
{
	size_t length = strlen(order);
	snprintf(order + length, sizeof order - length, " %d", number);
}

static void *without(void *name)
{
	for (size_t way = 0; way < COUNT(ways); way++) {
		printf("%s, %s, waited for:", (char *)name, names[way]);
		send_all(ways[way]);
		wait_in_order();
		printf("%s, %s, handled:", (char *)name, names[way]);
		send_all(ways[way]);
		order[0] = 0;
		OK(pthread_sigmask(SIG_UNBLOCK, &all, NULL));
		OK(pthread_sigmask(SIG_BLOCK, &all, NULL));
		puts(order);
	}
	return NULL;
}

static void *with_a_descriptor(void *name)
{
	sigset_t readable = all;
	/* What the kernel sends to a thread for what that does is not read. */
	static const int own[] = { SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV, SIGSYS };
	for (size_t i = 0; i < COUNT(own); i++)
		sigdelset(&readable, own[i]);
	int fd = signalfd(-1, &readable, SFD_NONBLOCK);
	CHECK(fd >= 0);
	for (size_t way = 0; way < COUNT(ways); way++) {
		printf("%s, %s, some waited for / read / waited for:", (char *)name, names[way]);
		send_all(ways[way]);
		siginfo_t info;
		for (int i = 0; i < 9; i++)
			printf(" %d", sigwaitinfo(&all, &info));
		printf(" /");
		read_in_order(fd);
		printf(" /");
		wait_in_order();
	}
	IS(close(fd), 0);
	return NULL;
}

static void *blocks(void *unused)
{
	IS(sem_post(&ready), 0);
	while (sem_wait(&go_on) != 0)
		;
	return unused;
}

/* Many of a lower one wait before a single higher one. */
static void many_before_one(void)
{
	for (int i = 0; i < 3000; i++)
		IS(sigqueue(getpid(), 40, (union sigval){ .sival_int = i }), 0);
	IS(sigqueue(getpid(), 41, (union sigval){ .sival_int = 0 }), 0);
	IS(sigqueue(getpid(), 39, (union sigval){ .sival_int = 0 }), 0);
	struct timespec now = { 0 };
	siginfo_t info;
	IS(sigtimedwait(&all, &info, &now), 39);
	for (int i = 0; i < 3000; i++) {
		IS(sigtimedwait(&all, &info, &now), 40);
		IS(info.si_value.sival_int, i);
	}
	IS(sigtimedwait(&all, &info, &now), 41);
	FAILS(sigtimedwait(&all, &info, &now), EAGAIN);
	puts("many before one");
}

static int count, at;

static void counts(int number)
{
	count++;
	if (number == 41)
		at = count;
}

static void one_before_many(void)
{
	struct sigaction action = { .sa_handler = counts };
	IS(sigaction(40, &action, NULL), 0);
	IS(sigaction(41, &action, NULL), 0);
	for (int i = 0; i < 500; i++)
		IS(sigqueue(getpid(), 40, (union sigval){ .sival_int = i }), 0);
	IS(sigqueue(getpid(), 41, (union sigval){ .sival_int = 0 }), 0);
	OK(pthread_sigmask(SIG_UNBLOCK, &all, NULL));
	OK(pthread_sigmask(SIG_BLOCK, &all, NULL));
	printf("handlers: %d, the last frame's was number %d\n", count, at);
}

int main(void)
{
	struct sigaction action = { .sa_handler = handler };
	sigemptyset(&all);
	for (int number = 1; number <= 64; number++)
		if (is_sent(number)) {
			sigaddset(&all, number);
			IS(sigaction(number, &action, NULL), 0);
		}
	OK(pthread_sigmask(SIG_BLOCK, &all, NULL));
	IS(sem_init(&ready, 0, 0), 0);
	IS(sem_init(&go_on, 0, 0), 0);
	pthread_t other = start(blocks, NULL);
	while (sem_wait(&ready) != 0)
		;
	without("main");
	join(start(without, "a thread"));
	with_a_descriptor("main");
	join(start(with_a_descriptor, "a thread"));
	many_before_one();
	one_before_many();
	IS(sem_post(&go_on), 0);
	join(other);
	return 0;
}
