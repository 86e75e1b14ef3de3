// Spin locks held by a thread that sleeps, by one that waits for I/O, and by one that computes: nobody hangs.
#include "guest.h"
#include <sched.h>

static pthread_spinlock_t lock;
static atomic_flag flag = ATOMIC_FLAG_INIT;
static int ends[2];
static atomic_int held, passed;

static void *holds_and_sleeps(void *unused)
{
	OK(pthread_spin_lock(&lock));
	atomic_store(&held, 1);
	sleep_ms(30);
	OK(pthread_spin_unlock(&lock));
	return unused;
}

static void *holds_and_reads(void *unused)
{
	char byte;
	OK(pthread_spin_lock(&lock));
	atomic_store(&held, 1);
	IS(read(ends[0], &byte, 1), 1);
	OK(pthread_spin_unlock(&lock));
	return unused;
}

static void *writes(void *unused)
{
	sleep_ms(30);
	IS(write(ends[1], "x", 1), 1);
	return unused;
}

static void *spins(void *unused)
{
	OK(pthread_spin_lock(&lock));
	atomic_fetch_add(&passed, 1);
	OK(pthread_spin_unlock(&lock));
	return unused;
}

static void *own_flag(void *raw)
{
	for (int i = 0; i < 100; i++) {
		while (atomic_flag_test_and_set(&flag))
			;
		if (i % 10 == 0)
			sleep_ms(1);
		(*(int *)raw)++;
		atomic_flag_clear(&flag);
	}
	return NULL;
}

int main(void)
{
	pthread_t holder, threads[8], writer;
	IS(pipe(ends), 0);
	OK(pthread_spin_init(&lock, PTHREAD_PROCESS_PRIVATE));
	holder = start(holds_and_sleeps, NULL);
	while (!atomic_load(&held))
		sched_yield();
	for (int i = 0; i < 8; i++)
		threads[i] = start(spins, NULL);
	spins(NULL);
	for (int i = 0; i < 8; i++)
		join(threads[i]);
	join(holder);
	puts("held by a sleeper");
	atomic_store(&held, 0);
	holder = start(holds_and_reads, NULL);
	while (!atomic_load(&held))
		;
	writer = start(writes, NULL);
	for (int i = 0; i < 8; i++)
		threads[i] = start(spins, NULL);
	spins(NULL);
	for (int i = 0; i < 8; i++)
		join(threads[i]);
	join(holder);
	join(writer);
	IS(atomic_load(&passed), 18);
	puts("held by a reader");
	int count = 0;
	for (int i = 0; i < 4; i++)
		threads[i] = start(own_flag, &count);
	for (int i = 0; i < 4; i++)
		join(threads[i]);
	IS(count, 400);
	puts("a flag of the program's own");
	return 0;
}
