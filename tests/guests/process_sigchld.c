// SIGCHLD's handler reaps children while threads run; ignoring SIGCHLD leaves none to reap.
#include "guest.h"
#include <signal.h>
#include <sys/wait.h>

enum { CHILDREN = 10 };

static atomic_int reaped;

static void handler(int signal)
{
	int saved = errno;
	CHECK(signal == SIGCHLD);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		atomic_fetch_add(&reaped, 1);
	errno = saved;
}

int main(void)
{
	struct ticker ticker;
	struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART | SA_NOCLDSTOP };
	IS(sigaction(SIGCHLD, &action, NULL), 0);
	ticker_start(&ticker);
	for (int i = 0; i < CHILDREN; i++) {
		pid_t child = fork();
		CHECK(child >= 0);
		if (child == 0)
			_exit(0);
	}
	while (atomic_load(&reaped) < CHILDREN)
		sleep_ms(1);
	FAILS(waitpid(-1, NULL, 0), ECHILD);
	printf("%d reaped by the handler\n", atomic_load(&reaped));
	atomic_store(&ticker.stop, true);
	join(ticker.thread);

	signal(SIGCHLD, SIG_IGN);
	for (int i = 0; i < 3; i++) {
		pid_t child = fork();
		CHECK(child >= 0);
		if (child == 0) {
			sleep_ms(5);
			_exit(0);
		}
	}
	FAILS(waitpid(-1, NULL, 0), ECHILD); /* waits for all of them first */
	puts("none left to reap");
	return 0;
}
