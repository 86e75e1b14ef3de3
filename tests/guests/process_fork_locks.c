// fork with other threads inside every kind of lock: the child uses malloc, stdio and names, and makes threads.
// guest: limit=120
#include "guest.h"
#include <dlfcn.h>
#include <locale.h>
#include <netdb.h>
#include <pwd.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/wait.h>

static atomic_bool stop;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_spinlock_t spin;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static sem_t semaphore;
static int ends[2];
static FILE *sink;

static void *allocates(void *unused)
{
	while (!atomic_load(&stop)) {
		void *blocks[50];
		for (int i = 0; i < 50; i++)
			blocks[i] = malloc((size_t)(100 + i * 977));
		for (int i = 0; i < 50; i++)
			free(blocks[i]);
	}
	return unused;
}

static void *prints(void *unused)
{
	while (!atomic_load(&stop)) {
		flockfile(sink);
		fprintf(sink, "%d\n", 1);
		sched_yield();
		funlockfile(sink);
	}
	return unused;
}

static void *opens(void *unused)
{
	while (!atomic_load(&stop)) {
		void *handle = dlopen("libm.so.6", RTLD_NOW);
		CHECK(handle && dlsym(handle, "cos"));
		dlclose(handle);
		sched_yield();
	}
	return unused;
}

static void *locks(void *unused)
{
	while (!atomic_load(&stop)) {
		OK(pthread_mutex_lock(&mutex));
		OK(pthread_rwlock_wrlock(&rwlock));
		OK(pthread_spin_lock(&spin));
		sleep_ms(1);
		OK(pthread_spin_unlock(&spin));
		OK(pthread_rwlock_unlock(&rwlock));
		OK(pthread_mutex_unlock(&mutex));
	}
	return unused;
}

static void *waits(void *unused)
{
	OK(pthread_mutex_lock(&mutex));
	while (!atomic_load(&stop))
		OK(pthread_cond_wait(&condition, &mutex));
	OK(pthread_mutex_unlock(&mutex));
	return unused;
}

static void *reads(void *unused)
{
	char byte;
	IS(read(ends[0], &byte, 1), 1);
	return unused;
}

static void *in_child(void *unused)
{
	char *text = strdup("a thread of the child");
	free(text);
	sleep_ms(1);
	return unused;
}

static void child_works(void)
{
	for (int i = 0; i < 100; i++)
		free(malloc((size_t)(i * 1000)));
	FILE *file = fopen("/dev/null", "w");
	CHECK(file);
	fprintf(file, "x");
	fclose(file);
	CHECK(getpwuid(0));
	pthread_t threads[4];
	for (int i = 0; i < 4; i++)
		threads[i] = start(in_child, NULL);
	for (int i = 0; i < 4; i++)
		join(threads[i]);
}

static int wait_for(pid_t pid)
{
	int status;
	pid_t got;
	while ((got = waitpid(pid, &status, 0)) == -1 && errno == EINTR)
		;
	CHECK(got == pid);
	return status;
}

static void *forks(void *unused)
{
	for (int i = 0; i < 20; i++) {
		pid_t pid = fork();
		CHECK(pid >= 0);
		if (pid == 0) {
			alarm(20);
			child_works();
			pid = fork(); /* and again, with a hub of its own */
			CHECK(pid >= 0);
			if (pid == 0) {
				child_works();
				_exit(5);
			}
			int status = wait_for(pid);
			CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 5);
			if (i % 5 == 0) {
				execl("/bin/true", "true", NULL);
				_exit(1);
			}
			_exit(0);
		}
		IS(wait_for(pid), 0);
	}
	return unused;
}

int main(void)
{
	IS(pipe(ends), 0);
	IS(sem_init(&semaphore, 0, 0), 0);
	OK(pthread_spin_init(&spin, PTHREAD_PROCESS_PRIVATE));
	sink = fopen("/dev/null", "w");
	CHECK(sink);
	void *(*const bodies[])(void *) = { allocates, allocates, prints, prints, opens, locks, locks, waits, reads };
	pthread_t threads[COUNT(bodies)], forkers[3];
	for (size_t i = 0; i < COUNT(bodies); i++)
		threads[i] = start(bodies[i], NULL);
	for (int i = 0; i < 3; i++)
		forkers[i] = start(forks, NULL);
	forks(NULL);
	for (int i = 0; i < 3; i++)
		join(forkers[i]);
	atomic_store(&stop, true);
	IS(write(ends[1], "x", 1), 1);
	OK(pthread_mutex_lock(&mutex));
	OK(pthread_cond_broadcast(&condition));
	OK(pthread_mutex_unlock(&mutex));
	for (size_t i = 0; i < COUNT(bodies); i++)
		join(threads[i]);
	puts("every child worked");
	return 0;
}
