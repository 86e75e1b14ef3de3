// Process-shared locks and semaphores work with a process that the library is not loaded into.
// guest: limit=60
#include "shared.h"
#include <fcntl.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/wait.h>

enum { ROUNDS = 200 };

struct shared {
	pthread_mutex_t mutex, robust;
	pthread_cond_t changed;
	pthread_barrier_t barrier;
	sem_t ping, pong;
	int turn, counter;
};

static struct shared *shared;

static void map(int fd)
{
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(shared != MAP_FAILED);
}

static void take_turns(int me)
{
	for (int i = 0; i < ROUNDS; i++) {
		OK(pthread_mutex_lock(&shared->mutex));
		while (shared->turn != me)
			OK(pthread_cond_wait(&shared->changed, &shared->mutex));
		shared->turn = !me;
		shared->counter++;
		OK(pthread_cond_signal(&shared->changed));
		OK(pthread_mutex_unlock(&shared->mutex));
	}
}

static void *ours(void *unused)
{
	take_turns(0);
	for (int i = 0; i < ROUNDS; i++) {
		IS(sem_post(&shared->ping), 0);
		IS(sem_wait(&shared->pong), 0);
	}
	int ret = pthread_barrier_wait(&shared->barrier);
	CHECK(ret == 0 || ret == PTHREAD_BARRIER_SERIAL_THREAD);
	/* Until the other process is killed with it. */
	IS(pthread_mutex_lock(&shared->robust), EOWNERDEAD);
	OK(pthread_mutex_consistent(&shared->robust));
	OK(pthread_mutex_unlock(&shared->robust));
	return unused;
}

/* The other process, bare in any case. */
static void other(void)
{
	map(3);
	CHECK(getenv("LD_PRELOAD") == NULL);
	OK(pthread_mutex_lock(&shared->robust));
	take_turns(1);
	for (int i = 0; i < ROUNDS; i++) {
		IS(sem_wait(&shared->ping), 0);
		IS(sem_post(&shared->pong), 0);
	}
	int ret = pthread_barrier_wait(&shared->barrier);
	CHECK(ret == 0 || ret == PTHREAD_BARRIER_SERIAL_THREAD);
	sleep_ms(50);
	raise(SIGKILL);
}

int main(int count, char **arguments)
{
	if (count > 1 && strcmp(arguments[1], "other") == 0)
		other();
	int fd = memfd_create("shared", 0);
	CHECK(fd >= 0);
	IS(ftruncate(fd, sizeof *shared), 0);
	map(fd);
	init_shared_mutex(&shared->mutex, PTHREAD_MUTEX_DEFAULT, PTHREAD_MUTEX_STALLED);
	init_shared_mutex(&shared->robust, PTHREAD_MUTEX_DEFAULT, PTHREAD_MUTEX_ROBUST);
	init_shared_condition(&shared->changed);
	init_shared_barrier(&shared->barrier, 2);
	IS(sem_init(&shared->ping, 1, 0), 0);
	IS(sem_init(&shared->pong, 1, 0), 0);

	struct ticker ticker;
	ticker_start(&ticker);
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		if (fd != 3)
			IS(dup2(fd, 3), 3);
		char *none[] = { NULL };
		char *again[] = { arguments[0], "other", NULL };
		execve("/proc/self/exe", again, none);
		_exit(127);
	}
	pthread_t thread = start(ours, NULL);
	int status;
	IS(waitpid(pid, &status, 0), pid);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	join(thread);
	IS(shared->counter, 2 * ROUNDS);
	ticker_check(&ticker, "a thread beside a bare process");
	return 0;
}
