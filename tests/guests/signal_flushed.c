// A stop signal takes back a SIGCONT that is pending, and SIGCONT every stop signal: whomever of the process each was sent to.
#include "guest.h"
#include <semaphore.h>
#include <signal.h>

static sem_t go_on;
static sigset_t all;

static void handler(int number)
{
	(void)number;
}

static void *body(void *unused)
{
	while (sem_wait(&go_on) != 0)
		;
	sigset_t pending;
	IS(sigpending(&pending), 0);
	printf("a thread: TSTP %d CONT %d\n", sigismember(&pending, SIGTSTP), sigismember(&pending, SIGCONT));
	return unused;
}

static void show(const char *what)
{
	sigset_t pending;
	IS(sigpending(&pending), 0);
	printf("%s: TSTP %d TTIN %d TTOU %d CONT %d\n", what, sigismember(&pending, SIGTSTP),
	       sigismember(&pending, SIGTTIN), sigismember(&pending, SIGTTOU), sigismember(&pending, SIGCONT));
}

int main(void)
{
	static const int numbers[] = { SIGTSTP, SIGTTIN, SIGTTOU, SIGCONT };
	struct sigaction action = { .sa_handler = handler };
	sigemptyset(&all);
	for (size_t i = 0; i < COUNT(numbers); i++) {
		sigaddset(&all, numbers[i]);
		IS(sigaction(numbers[i], &action, NULL), 0);
	}
	OK(pthread_sigmask(SIG_BLOCK, &all, NULL));
	IS(sem_init(&go_on, 0, 0), 0);
	pthread_t thread = start(body, NULL);
	pthread_t self = pthread_self();
	pid_t process = getpid();

	IS(kill(process, SIGTSTP), 0);
	IS(kill(process, SIGTTOU), 0);
	show("stops to the process");
	OK(pthread_kill(thread, SIGCONT));
	show("SIGCONT to a thread");
	OK(pthread_kill(self, SIGTTIN));
	OK(pthread_kill(self, SIGTSTP));
	show("stops to this thread");
	IS(kill(process, SIGCONT), 0);
	show("SIGCONT to the process");
	OK(pthread_kill(thread, SIGTSTP));
	show("a stop to the thread");
	OK(pthread_kill(self, SIGCONT));
	show("SIGCONT to this thread");
	IS(kill(process, SIGTTIN), 0);
	show("a stop to the process");
	OK(pthread_kill(self, SIGCONT));
	OK(pthread_kill(thread, SIGTSTP));
	show("both");

	/* What was taken back is not handled: the last one sent is the only one. */
	OK(pthread_kill(self, SIGTTOU));
	IS(kill(process, SIGCONT), 0);
	sigset_t stops = all;
	sigdelset(&stops, SIGCONT);
	struct timespec now = { 0 };
	FAILS(sigtimedwait(&stops, NULL, &now), EAGAIN);
	IS(sigtimedwait(&all, NULL, &now), SIGCONT);
	OK(pthread_kill(thread, SIGTSTP));
	IS(sem_post(&go_on), 0);
	join(thread);
	return 0;
}
