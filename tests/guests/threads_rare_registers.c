/*
 * Registers that few programs use are a thread's own: the rights of protection keys (pkeys(7)) and
 * the base of GS (arch_prctl(2)). A thread begins with its creator's, whatever others do keeps
 * them, a handler of a signal gives them back, and the kernel minds the rights of the one who
 * calls. Without protection keys in the processor, those parts are left out.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include "guest.h"

enum { THREADS = 8, ROUNDS = 50, ARCH_SET_GS = 0x1001, ARCH_GET_GS = 0x1004 };

static pthread_barrier_t all;
static int keys[2];
static char *pages[2];
static int pipes[THREADS][2];
static atomic_int handled;

static unsigned long gs_base(void)
{
	unsigned long base = 1;
	CHECK(syscall(SYS_arch_prctl, ARCH_GET_GS, &base) == 0);
	return base;
}

static void set_gs_base(unsigned long base)
{
	CHECK(syscall(SYS_arch_prctl, ARCH_SET_GS, base) == 0);
}

static void handler(int signal)
{
	(void)signal;
	atomic_fetch_add(&handled, 1);
	sched_yield();
}

/* The rights of the caller for a key, which the kernel and the processor agree about. */
static int rights(int key)
{
	return pkey_get(key);
}

static bool has_keys(void)
{
	return keys[0] > 0;
}

static void *gs_and_rights(void *arg)
{
	long number = (long)arg;
	CHECK(gs_base() == 4096);
	set_gs_base(4096 * (number + 2));
	if (has_keys()) {
		CHECK(rights(keys[0]) == PKEY_DISABLE_WRITE && rights(keys[1]) == PKEY_DISABLE_ACCESS);
		CHECK(pkey_set(keys[0], number % 4) == 0);
		CHECK(pkey_set(keys[1], (number + 1) % 4) == 0);
	}
	pthread_barrier_wait(&all);
	for (int round = 0; round < ROUNDS; round++) {
		char byte = (char)round;
		CHECK(write(pipes[(number + 1) % THREADS][1], &byte, 1) == 1);
		CHECK(read(pipes[number][0], &byte, 1) == 1 && byte == (char)round);
		if (round % 10 == 0)
			CHECK(pthread_kill(pthread_self(), SIGUSR1) == 0);
		if (round % 10 == 5)
			usleep(100);
		CHECK(gs_base() == 4096UL * (number + 2));
		if (has_keys()) {
			CHECK(rights(keys[0]) == number % 4);
			CHECK(rights(keys[1]) == (number + 1) % 4);
		}
	}
	return NULL;
}

/* Reads into memory that only one of two threads may write. */
static void *reader(void *arg)
{
	long may = (long)arg;
	int pair[2];
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	CHECK(pkey_set(keys[0], may ? 0 : PKEY_DISABLE_WRITE) == 0);
	pthread_barrier_wait(&all);
	CHECK(write(pair[1], "there", 5) == 5);
	ssize_t got = read(pair[0], pages[0], 5);
	if (may)
		CHECK(got == 5);
	else
		CHECK(got == -1 && errno == EFAULT);
	/* The other way round: nothing is there at first. */
	if (!may)
		CHECK(recv(pair[0], (char[8]){ 0 }, 5, 0) == 5);
	pthread_barrier_wait(&all);
	pthread_t self = pthread_self();
	CHECK(pthread_kill(self, SIGUSR1) == 0);
	CHECK(shutdown(pair[1], SHUT_WR) == 0);
	CHECK(read(pair[0], (char[8]){ 0 }, 5) == 0);
	close(pair[0]);
	close(pair[1]);
	return NULL;
}

static void *late_reader(void *arg)
{
	int *pair = arg;
	CHECK(pkey_set(keys[0], PKEY_DISABLE_WRITE) == 0);
	CHECK(pkey_set(keys[1], 0) == 0);
	pthread_barrier_wait(&all);
	CHECK(read(pair[0], pages[1], 5) == 5 && memcmp(pages[1], "later", 5) == 0);
	CHECK(rights(keys[0]) == PKEY_DISABLE_WRITE && rights(keys[1]) == 0);
	return NULL;
}

static void run(void *(*body)(void *), int count)
{
	pthread_t threads[THREADS];
	CHECK(pthread_barrier_init(&all, NULL, count) == 0);
	for (long i = 0; i < count; i++)
		CHECK(pthread_create(&threads[i], NULL, body, (void *)i) == 0);
	for (int i = 0; i < count; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	CHECK(pthread_barrier_destroy(&all) == 0);
}

static void *nothing(void *arg)
{
	return arg;
}

int main(void)
{
	for (int i = 0; i < THREADS; i++)
		CHECK(pipe(pipes[i]) == 0);
	struct sigaction action = { .sa_handler = handler };
	CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
	/* A thread from before, so that what follows is asked for by one among several. */
	pthread_t first;
	CHECK(pthread_create(&first, NULL, nothing, NULL) == 0);
	CHECK(pthread_join(first, NULL) == 0);
	CHECK(gs_base() == 0);
	set_gs_base(4096);
	keys[0] = pkey_alloc(0, PKEY_DISABLE_WRITE);
	if (has_keys()) {
		keys[1] = pkey_alloc(0, PKEY_DISABLE_ACCESS);
		CHECK(keys[1] > 0 && keys[1] != keys[0]);
		for (int i = 0; i < 2; i++) {
			pages[i] = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			CHECK(pages[i] != MAP_FAILED);
			CHECK(pkey_mprotect(pages[i], 4096, PROT_READ | PROT_WRITE, keys[i]) == 0);
		}
	}
	run(gs_and_rights, THREADS);
	CHECK(atomic_load(&handled) == THREADS * ROUNDS / 10);
	CHECK(gs_base() == 4096);
	if (has_keys()) {
		CHECK(rights(keys[0]) == PKEY_DISABLE_WRITE && rights(keys[1]) == PKEY_DISABLE_ACCESS);
		run(reader, 2);
		/* One that waits, while another one, without the right, lets data come. */
		int pair[2];
		CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
		CHECK(pthread_barrier_init(&all, NULL, 2) == 0);
		pthread_t thread;
		CHECK(pthread_create(&thread, NULL, late_reader, pair) == 0);
		pthread_barrier_wait(&all);
		usleep(10000);
		CHECK(write(pair[1], "later", 5) == 5);
		CHECK(pthread_join(thread, NULL) == 0);
		CHECK(rights(keys[1]) == PKEY_DISABLE_ACCESS);
	}
	puts("kept");
	return 0;
}
