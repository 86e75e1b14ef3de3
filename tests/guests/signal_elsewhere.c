// Signals that one thread handles do not make the reads of another short.
// guest: limit=60
#include "guest.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/random.h>
#include <sys/time.h>
#include <sys/uio.h>

enum { SIZE = 512 << 10, ROUNDS = 40, PERIOD_US = 300, MOST_ROUNDS = 20000 };

static atomic_int handled;
static atomic_bool stop;

static void count(int signal)
{
	(void)signal;
	atomic_fetch_add(&handled, 1);
}

static void *handles(void *unused)
{
	sigset_t none;
	sigemptyset(&none);
	IS(pthread_sigmask(SIG_SETMASK, &none, NULL), 0);
	while (!atomic_load(&stop)) {
		struct timespec period = { 0, 1000000 };
		nanosleep(&period, NULL);
	}
	return unused;
}

int main(void)
{
	struct sigaction action = { .sa_handler = count };
	IS(sigaction(SIGALRM, &action, NULL), 0);
	sigset_t alarms;
	sigemptyset(&alarms);
	sigaddset(&alarms, SIGALRM);
	IS(pthread_sigmask(SIG_BLOCK, &alarms, NULL), 0);
	pthread_t other = start(handles, NULL);

	char *memory = malloc(SIZE);
	int zero = open("/dev/zero", O_RDONLY), random = open("/dev/urandom", O_RDONLY);
	CHECK(memory && zero >= 0 && random >= 0);
	struct itimerval often = { { 0, PERIOD_US }, { 0, PERIOD_US } };
	IS(setitimer(ITIMER_REAL, &often, NULL), 0);
	for (int i = 0; i < ROUNDS || (atomic_load(&handled) < ROUNDS && i < MOST_ROUNDS); i++) {
		IS(read(random, memory, SIZE), SIZE);
		IS(getrandom(memory, SIZE, 0), SIZE);
		IS(getrandom(memory, SIZE, GRND_NONBLOCK), SIZE);
		IS(pread(random, memory, SIZE, 0), SIZE);
		struct iovec halves[2] = { { memory, SIZE / 2 }, { memory + SIZE / 2, SIZE / 2 } };
		IS(readv(random, halves, 2), SIZE);
		IS(read(zero, memory, SIZE), SIZE);
	}
	CHECK(atomic_load(&handled) >= ROUNDS);
	struct itimerval never = { { 0, 0 }, { 0, 0 } };
	IS(setitimer(ITIMER_REAL, &never, NULL), 0);
	atomic_store(&stop, true);
	join(other);
	free(memory);
	puts("every read is whole");
	return 0;
}
