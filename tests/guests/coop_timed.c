// Timed waits on locks, semaphores, conditions, threads, signals and raw futexes sleep alone.
#include "futex.h"
#include <semaphore.h>
#include <signal.h>

static pthread_mutex_t locked = PTHREAD_MUTEX_INITIALIZER, mine = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_cond_t never = PTHREAD_COND_INITIALIZER;
static sem_t semaphore;
static uint32_t word;

#define SLEEPS(name, expected, call)                                                               \
	do {                                                                                       \
		struct ticker ticker;                                                              \
		struct timespec until = in_ms(CLOCK_REALTIME, 250);                                \
		struct timespec quarter = { 0, 250 * MS };                                         \
		(void)until, (void)quarter;                                                        \
		ticker_start(&ticker);                                                             \
		IS(call, expected);                                                                \
		ticker_check(&ticker, name);                                                       \
	} while (0)

static int wait_for_nothing(const struct timespec *until)
{
	int result;
	OK(pthread_mutex_lock(&mine));
	do
		result = pthread_cond_timedwait(&never, &mine, until);
	while (result == 0);
	OK(pthread_mutex_unlock(&mine));
	return result;
}

static void *parked(void *unused)
{
	IS(sem_wait(&semaphore), 0);
	return unused;
}

static int error_of(long result)
{
	return result == -1 ? errno : 0;
}

static void *body(void *unused)
{
	sigset_t set;
	pthread_t thread;
	(void)unused;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	OK(pthread_sigmask(SIG_BLOCK, &set, NULL));
	SLEEPS("mutex_timedlock", ETIMEDOUT, pthread_mutex_timedlock(&locked, &until));
	SLEEPS("rdlock", ETIMEDOUT, pthread_rwlock_timedrdlock(&rwlock, &until));
	SLEEPS("wrlock", ETIMEDOUT, pthread_rwlock_timedwrlock(&rwlock, &until));
	SLEEPS("cond_timedwait", ETIMEDOUT, wait_for_nothing(&until));
	SLEEPS("sem_timedwait", ETIMEDOUT, error_of(sem_timedwait(&semaphore, &until)));
	thread = start(parked, NULL);
	SLEEPS("timedjoin", ETIMEDOUT, pthread_timedjoin_np(thread, NULL, &until));
	IS(sem_post(&semaphore), 0);
	join(thread);
	SLEEPS("sigtimedwait", EAGAIN, error_of(sigtimedwait(&set, NULL, &quarter)));
	SLEEPS("FUTEX_WAIT", ETIMEDOUT,
	       error_of(futex(&word, FUTEX_WAIT_PRIVATE, 0, &quarter, NULL, 0)));
	SLEEPS("FUTEX_WAIT shared", ETIMEDOUT,
	       error_of(futex(&word, FUTEX_WAIT, 0, &quarter, NULL, 0)));
	SLEEPS("FUTEX_WAIT_BITSET", ETIMEDOUT,
	       error_of(futex(&word, FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME, 0, &until,
			      NULL, 1)));
	return NULL;
}

static void *holds_locks(void *barrier)
{
	OK(pthread_mutex_lock(&locked));
	OK(pthread_rwlock_wrlock(&rwlock));
	pthread_barrier_wait(barrier);
	pthread_barrier_wait(barrier);
	OK(pthread_rwlock_unlock(&rwlock));
	OK(pthread_mutex_unlock(&locked));
	return NULL;
}

int main(void)
{
	pthread_barrier_t barrier;
	OK(pthread_barrier_init(&barrier, NULL, 2));
	IS(sem_init(&semaphore, 0, 0), 0);
	pthread_t holder = start(holds_locks, &barrier);
	pthread_barrier_wait(&barrier);
	body(NULL);
	join(start(body, NULL));
	pthread_barrier_wait(&barrier);
	join(holder);
	return 0;
}
