// A look-up that nobody answers is given up by a signal handler's jump, as programs did before
// there were threads; the thread that does it looks names up and reads afterwards as before.
#include "../net.h"
#include <netdb.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/time.h>

static sigjmp_buf back;

static void give_up(int signal)
{
	siglongjmp(back, signal);
}

static void *idle(void *pipe_end)
{
	char byte;
	IS(read(*(int *)pipe_end, &byte, 1), 1);
	return NULL;
}

int main(void)
{
	int ends[2];
	IS(pipe(ends), 0);
	pthread_t other = start(idle, &ends[0]);
	struct sigaction action = { .sa_handler = give_up };
	IS(sigaction(SIGALRM, &action, NULL), 0);
	struct addrinfo hints = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM }, *found;
	if (sigsetjmp(back, 1) == 0) {
		struct itimerval soon = { .it_value = { .tv_usec = 200000 } };
		IS(setitimer(ITIMER_REAL, &soon, NULL), 0);
		getaddrinfo("h1.lost-100.test", NULL, &hints, &found);
		puts("answered?");
	} else {
		puts("given up");
	}
	/* Blocks alone, if it is back to normal. */
	int pair[2];
	IS(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	pthread_t reader = start(idle, &pair[0]);
	IS(write(ends[1], "x", 1), 1);
	IS(write(pair[1], "x", 1), 1);
	join(other);
	join(reader);
	struct ticker ticker;
	ticker_start(&ticker);
	IS(getaddrinfo("h2.delay-300.test", NULL, &hints, &found), 0);
	ticker_check(&ticker, "getaddrinfo");
	freeaddrinfo(found);
	return 0;
}
