// A handler interrupts a parked read: EINTR without SA_RESTART, and the read goes on with it.
#include "guest.h"
#include <signal.h>

static atomic_int handled;
static int ends[2];
static pthread_t reader;

static void handler(int signal)
{
	CHECK(signal == SIGUSR1);
	CHECK(pthread_equal(pthread_self(), reader));
	atomic_fetch_add(&handled, 1);
}

static void install(int flags)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = flags };
	IS(sigaction(SIGUSR1, &action, NULL), 0);
}

static void *reads(void *unused)
{
	char byte;
	(void)unused;
	FAILS(read(ends[0], &byte, 1), EINTR);
	return NULL;
}

static void *restarts(void *unused)
{
	char byte = 0;
	(void)unused;
	IS(read(ends[0], &byte, 1), 1);
	return (void *)(intptr_t)byte;
}

/* Signals until `times` handlers ran: a signal before the thread is in read may be lost on it. */
static void *signals(void *unused)
{
	(void)unused;
	while (atomic_load(&handled) < 3) {
		sleep_ms(10);
		OK(pthread_kill(reader, SIGUSR1));
	}
	IS(write(ends[1], "r", 1), 1);
	return NULL;
}

int main(void)
{
	IS(pipe(ends), 0);
	install(0);
	reader = start(reads, NULL);
	/* The thread ends at the first EINTR; it is not joined before, so its id stays valid. */
	for (;;) {
		sleep_ms(10);
		int error = pthread_kill(reader, SIGUSR1);
		CHECK(error == 0 || error == ESRCH); /* ESRCH: older libcs, when it has ended */
		if (pthread_tryjoin_np(reader, NULL) == 0)
			break;
	}
	CHECK(atomic_load(&handled) >= 1);
	puts("read gave EINTR");

	install(SA_RESTART);
	atomic_store(&handled, 0);
	reader = start(restarts, NULL);
	pthread_t sender = start(signals, NULL);
	IS((intptr_t)join(reader), 'r');
	join(sender);
	puts("read was restarted");
	return 0;
}
