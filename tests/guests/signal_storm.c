// Signals from all sides while threads compute, sleep, wait and create threads: every handler returns where it came from.
#include "guest.h"
#include <signal.h>
#include <sys/wait.h>

enum { THREADS = 8, ROUNDS = 300 };

static pthread_t threads[THREADS];
static atomic_int received[THREADS], finished;
static __thread int self = -1;
static atomic_int begun;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t never = PTHREAD_COND_INITIALIZER;

static void handler(int signal, siginfo_t *info, void *context)
{
	int saved = errno;
	(void)context;
	CHECK(signal == SIGUSR1 || signal == SIGUSR2);
	CHECK(info->si_signo == signal);
	if (info->si_code == SI_TKILL)
		CHECK(self >= 0);
	if (self >= 0)
		atomic_fetch_add(&received[self], 1);
	if (signal == SIGUSR2)
		sched_yield();
	errno = saved;
}

static void *short_lived(void *argument)
{
	return argument;
}

static uint64_t compute(uint64_t seed)
{
	double sum = 0;
	for (int i = 0; i < 2000; i++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		sum += (double)(seed >> 40) * 0.5;
	}
	return seed ^ (uint64_t)sum;
}

static void *works(void *raw)
{
	self = (int)(intptr_t)raw;
	uint64_t expected = compute(self);
	atomic_fetch_add(&begun, 1);
	while (atomic_load(&begun) <= THREADS)
		sched_yield();
	for (int i = 0; i < ROUNDS; i++) {
		CHECK(compute(self) == expected);
		struct timespec soon = { 0, 20000 };
		errno = 0;
		switch ((i + self) % 5) {
		case 0:
			CHECK(nanosleep(&soon, NULL) == 0 || errno == EINTR);
			break;
		case 1:
			join(start(short_lived, NULL));
			break;
		case 2: {
			struct timespec until = in_ms(CLOCK_REALTIME, 1);
			OK(pthread_mutex_lock(&lock));
			IS(pthread_cond_timedwait(&never, &lock, &until), ETIMEDOUT);
			OK(pthread_mutex_unlock(&lock));
			break;
		}
		case 3:
			sched_yield();
			break;
		default: {
			void *block = malloc(100 + i);
			CHECK(block);
			free(block);
			break;
		}
		}
		OK(pthread_kill(threads[(self + i) % THREADS], i % 2 ? SIGUSR1 : SIGUSR2));
	}
	atomic_fetch_add(&finished, 1);
	while (atomic_load(&finished) < THREADS)
		sched_yield();
	return NULL;
}

int main(void)
{
	struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART };
	IS(sigaction(SIGUSR1, &action, NULL), 0);
	IS(sigaction(SIGUSR2, &action, NULL), 0);
	pid_t parent = getpid();
	pid_t child = fork();
	CHECK(child >= 0);
	for (intptr_t i = 0; i < THREADS && child; i++)
		threads[i] = start(works, (void *)i);
	if (child == 0) {
		for (int i = 0; i < 3000; i++)
			IS(kill(parent, i % 2 ? SIGUSR1 : SIGUSR2), 0);
		_exit(0);
	}
	while (atomic_load(&begun) < THREADS)
		sched_yield();
	atomic_fetch_add(&begun, 1);
	for (int i = 0; i < THREADS; i++)
		join(threads[i]);
	int status;
	IS(waitpid(child, &status, 0), child);
	IS(status, 0);
	for (int i = 0; i < THREADS; i++)
		CHECK(atomic_load(&received[i]) > 0);
	puts("the storm is over");
	return 0;
}
