// Threads that compute, lock, allocate, talk through pipes, signal each other, sleep, fork and end, all at the same time, lose nothing.
#include "guest.h"
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

enum { KINDS = 6, EACH = 4, ROUNDS = 300 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turned = PTHREAD_COND_INITIALIZER;
static long counted, turns, lived;
static atomic_long sent, handled, allocated, forked, slept, silent;
static pthread_barrier_t together;
static pthread_t locker[EACH];
static int there[EACH][2], back[EACH][2];

static void handler(int signal)
{
	(void)signal;
	atomic_fetch_add(&handled, 1);
}

static void *locks(void *unused)
{
	pthread_barrier_wait(&together);
	for (int i = 0; i < ROUNDS * 20; i++) {
		OK(pthread_mutex_lock(&mutex));
		long seen = counted;
		for (volatile int spin = 0; spin < 50; spin++)
			;
		counted = seen + 1;
		OK(pthread_mutex_unlock(&mutex));
	}
	/* It is signalled until the end. */
	while (atomic_load(&silent) < EACH)
		sleep_ms(1);
	return unused;
}

static void *takes_turns(void *raw)
{
	long me = (long)raw;
	pthread_barrier_wait(&together);
	for (int i = 0; i < ROUNDS; i++) {
		OK(pthread_mutex_lock(&mutex));
		while (turns % EACH != me)
			OK(pthread_cond_wait(&turned, &mutex));
		turns++;
		OK(pthread_cond_broadcast(&turned));
		OK(pthread_mutex_unlock(&mutex));
	}
	return NULL;
}

static void *allocates(void *unused)
{
	pthread_barrier_wait(&together);
	for (int i = 0; i < ROUNDS; i++) {
		void *kept[64];
		for (size_t k = 0; k < 64; k++) {
			kept[k] = malloc(16 + k * 97);
			memset(kept[k], (int)k, 16 + k * 97);
		}
		for (size_t k = 0; k < 64; k++) {
			CHECK(((unsigned char *)kept[k])[15 + k * 97] == k);
			free(kept[k]);
		}
		atomic_fetch_add(&allocated, 64);
	}
	return unused;
}

static void *echoes(void *raw)
{
	long me = (long)raw;
	for (char byte; read(there[me][0], &byte, 1) == 1;)
		IS(write(back[me][1], &byte, 1), 1);
	return NULL;
}

static void *talks(void *raw)
{
	long me = (long)raw;
	pthread_t other = start(echoes, raw);
	pthread_barrier_wait(&together);
	for (int i = 0; i < ROUNDS; i++) {
		char out = (char)i, in = 0;
		IS(write(there[me][1], &out, 1), 1);
		IS(read(back[me][0], &in, 1), 1);
		CHECK(in == out);
	}
	close(there[me][1]);
	join(other);
	return NULL;
}

static void *signals(void *raw)
{
	pthread_barrier_wait(&together);
	for (int i = 0; i < ROUNDS; i++) {
		/* A realtime signal: none is lost. */
		while (pthread_kill(locker[(long)raw], SIGRTMIN) == EAGAIN)
			sched_yield();
		atomic_fetch_add(&sent, 1);
		if (i % 10 == 0) {
			sleep_ms(1);
			atomic_fetch_add(&slept, 1);
		}
	}
	atomic_fetch_add(&silent, 1);
	return NULL;
}

static void *lives_briefly(void *unused) { return unused; }

static void *makes_others(void *raw)
{
	pthread_barrier_wait(&together);
	for (int i = 0; i < ROUNDS / 10; i++) {
		join(start(lives_briefly, NULL));
		OK(pthread_mutex_lock(&mutex));
		lived++;
		OK(pthread_mutex_unlock(&mutex));
		if (i % 10 == (long)raw) {
			pid_t child = fork();
			if (child == 0) {
				free(malloc(1000));
				_exit(7);
			}
			int status;
			while (waitpid(child, &status, 0) < 0)
				CHECK(errno == EINTR);
			CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
			atomic_fetch_add(&forked, 1);
		}
	}
	return NULL;
}

int main(void)
{
	static void *(*const kinds[KINDS])(void *) = { locks, takes_turns, allocates, talks, signals, makes_others };
	struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART };
	OK(sigaction(SIGRTMIN, &action, NULL));
	OK(pthread_barrier_init(&together, NULL, KINDS * EACH));
	pthread_t threads[KINDS][EACH];
	for (int i = 0; i < EACH; i++)
		CHECK(pipe(there[i]) == 0 && pipe(back[i]) == 0);
	for (long i = 0; i < EACH; i++)
		threads[0][i] = locker[i] = start(kinds[0], (void *)i);
	for (int kind = 1; kind < KINDS; kind++)
		for (long i = 0; i < EACH; i++)
			threads[kind][i] = start(kinds[kind], (void *)i);
	for (int kind = 0; kind < KINDS; kind++)
		for (int i = 0; i < EACH; i++)
			join(threads[kind][i]);
	printf("%ld counted, %ld turns, %ld lived, %ld forked\n", counted, turns, lived, (long)forked);
	printf("%ld sent, %ld handled\n", (long)sent, (long)handled);
	printf("%ld allocated, %ld slept\n", (long)allocated, (long)slept);
	return 0;
}
