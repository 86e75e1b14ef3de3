// In which order a thread takes its signals: its own before the process's, each by number; of a handler's frames the last runs first.
#include "guest.h"
#include <signal.h>

static char order[200];

static void handler(int number)
{
	size_t length = strlen(order);
	snprintf(order + length, sizeof order - length, " %d", number);
}

static sigset_t all, none;

static void send_all(void)
{
	IS(kill(getpid(), SIGUSR1), 0);
	IS(sigqueue(getpid(), 38, (union sigval){ .sival_int = 1 }), 0);
	OK(pthread_kill(pthread_self(), SIGUSR2));
	OK(pthread_kill(pthread_self(), 39));
	OK(pthread_sigqueue(pthread_self(), 38, (union sigval){ .sival_int = 2 }));
	IS(kill(getpid(), SIGUSR2), 0);
	OK(pthread_kill(pthread_self(), SIGSEGV));
}

static void *body(void *name)
{
	OK(pthread_sigmask(SIG_SETMASK, &all, NULL));
	send_all();
	order[0] = 0;
	OK(pthread_sigmask(SIG_SETMASK, &none, NULL));
	printf("%s: handlers%s\n", (char *)name, order);
	OK(pthread_sigmask(SIG_SETMASK, &all, NULL));
	send_all();
	struct timespec now = { 0 };
	siginfo_t info;
	int number;
	while ((number = sigtimedwait(&all, &info, &now)) > 0)
		printf("%s: waited for %d, code %d, value %d\n", (char *)name, number, info.si_code,
		       info.si_code == SI_QUEUE ? info.si_value.sival_int : 0);
	IS(errno, EAGAIN);
	return NULL;
}

int main(void)
{
	static const int numbers[] = { SIGUSR1, SIGUSR2, SIGSEGV, 38, 39 };
	struct sigaction action = { .sa_handler = handler };
	sigemptyset(&none);
	sigemptyset(&all);
	for (size_t i = 0; i < COUNT(numbers); i++) {
		sigaddset(&all, numbers[i]);
		IS(sigaction(numbers[i], &action, NULL), 0);
	}
	OK(pthread_sigmask(SIG_SETMASK, &all, NULL));
	join(start(body, "a thread"));
	body("main");
	return 0;
}
