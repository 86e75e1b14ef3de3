// What a child keeps after fork with threads: its caller alone, TLS, errno, locks its atfork handlers free.
#include "guest.h"
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static __thread int own;
static atomic_int ticks;
static int prepared, in_parent, in_child;

static void prepare(void)
{
	OK(pthread_mutex_lock(&lock));
	prepared++;
}

static void parent(void)
{
	in_parent++;
	OK(pthread_mutex_unlock(&lock));
}

static void child(void)
{
	in_child++;
	OK(pthread_mutex_unlock(&lock));
}

static void *uses_the_lock(void *stop)
{
	while (!atomic_load((atomic_bool *)stop)) {
		OK(pthread_mutex_lock(&lock));
		sched_yield();
		OK(pthread_mutex_unlock(&lock));
		sleep_ms(0);
		atomic_fetch_add(&ticks, 1);
	}
	return NULL;
}

static void *forks(void *unused)
{
	(void)unused;
	own = 42;
	errno = 77;
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		CHECK(errno == 77 && own == 42);
		CHECK(in_child == 1 && in_parent == prepared - 1);
		IS(gettid(), getpid()); /* the caller is the child's main thread */
		IS(syscall(SYS_gettid), getpid());
		int before = atomic_load(&ticks);
		sleep_ms(30);
		IS(atomic_load(&ticks), before); /* nobody else is here */
		OK(pthread_mutex_lock(&lock));
		OK(pthread_mutex_unlock(&lock));
		sigset_t mask;
		OK(pthread_sigmask(SIG_SETMASK, NULL, &mask));
		CHECK(sigismember(&mask, SIGUSR2));
		exit(own);
	}
	int status;
	IS(waitpid(pid, &status, 0), pid);
	IS(WEXITSTATUS(status), 42);
	return NULL;
}

int main(void)
{
	atomic_bool stop = false;
	sigset_t usr2;
	sigemptyset(&usr2);
	sigaddset(&usr2, SIGUSR2);
	OK(pthread_sigmask(SIG_BLOCK, &usr2, NULL));
	OK(pthread_atfork(prepare, parent, child));
	pthread_t one = start(uses_the_lock, &stop), two = start(uses_the_lock, &stop);
	while (atomic_load(&ticks) < 10)
		sleep_ms(1);
	join(start(forks, NULL));
	forks(NULL);
	int before = atomic_load(&ticks);
	while (atomic_load(&ticks) < before + 10) /* they go on here */
		sleep_ms(1);
	atomic_store(&stop, true);
	join(one);
	join(two);
	printf("prepared %d, in parent %d, in child %d\n", prepared, in_parent, in_child);
	return 0;
}
