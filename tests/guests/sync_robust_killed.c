// A robust mutex between processes tells its next owner that a thread of the other process died.
// guest: limit=60
#include "shared.h"
#include <semaphore.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static pthread_mutex_t *mutex;
static int locked[2];
static sem_t has_it;

enum ending { KILLED, EXITS, EXECUTES, THREAD_ENDS, INITIAL_KILLED };

static void *lock_and_wait(void *raw)
{
	enum ending ending = (enum ending)(intptr_t)raw;
	OK(pthread_mutex_lock(mutex));
	sleep_ms(1);
	IS(write(locked[1], "x", 1), 1);
	IS(sem_post(&has_it), 0);
	if (ending == THREAD_ENDS) {
		sleep_ms(50);
		return NULL;
	}
	for (;;)
		sleep_ms(1000);
}

static void *sleeper(void *argument)
{
	sleep_ms(1000000);
	return argument;
}

/* Its locks lead to where nothing is. */
static void *breaks_list(void *unused)
{
	static struct robust_list_head broken = { .list = { (struct robust_list *)16 } };
	IS(syscall(SYS_set_robust_list, &broken, sizeof broken), 0);
	return sleeper(unused);
}

static void child(enum ending ending)
{
	if (ending == INITIAL_KILLED) {
		start(sleeper, NULL);
		lock_and_wait((void *)(intptr_t)ending);
	}
	if (ending == KILLED)
		start(breaks_list, NULL);
	pthread_t thread = start(lock_and_wait, (void *)(intptr_t)ending);
	if (ending == KILLED)
		start(breaks_list, NULL);
	IS(sem_wait(&has_it), 0);
	sleep_ms(50); /* the parent waits for it, most likely */
	switch (ending) {
	case EXITS:
		_exit(0);
	case EXECUTES:
		execl("/bin/sleep", "sleep", "1000", (char *)NULL);
		_exit(1);
	case THREAD_ENDS:
		join(thread);
		break;
	default:
		break;
	}
	for (;;)
		sleep_ms(1000);
}

static void *take(void *unused)
{
	(void)unused;
	int error = pthread_mutex_lock(mutex);
	if (error == EOWNERDEAD)
		OK(pthread_mutex_consistent(mutex));
	OK(pthread_mutex_unlock(mutex));
	return (void *)(intptr_t)error;
}

static void expect(enum ending ending, const char *what)
{
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0)
		child(ending);
	char byte;
	IS(read(locked[0], &byte, 1), 1);
	pthread_t thread = start(take, NULL);
	if (ending == KILLED || ending == INITIAL_KILLED) {
		sleep_ms(50);
		IS(pthread_tryjoin_np(thread, NULL), EBUSY);
		IS(kill(pid, SIGKILL), 0);
	}
	printf("%s: %s\n", what, strerrorname_np((int)(intptr_t)join(thread)));
	kill(pid, SIGKILL);
	IS(waitpid(pid, NULL, 0), pid);
	FAILS(waitpid(-1, NULL, __WALL), ECHILD);
}

int main(void)
{
	mutex = map_shared(sizeof *mutex);
	init_shared_mutex(mutex, PTHREAD_MUTEX_DEFAULT, PTHREAD_MUTEX_ROBUST);
	IS(pipe(locked), 0);
	IS(sem_init(&has_it, 0, 0), 0);
	expect(KILLED, "killed while another thread had it");
	expect(INITIAL_KILLED, "killed while the initial thread had it");
	expect(EXITS, "exited while another thread had it");
	expect(EXECUTES, "executed a program while another thread had it");
	expect(THREAD_ENDS, "the thread that had it ended");
	return 0;
}
