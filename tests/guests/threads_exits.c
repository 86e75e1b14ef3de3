// Every way a process ends, with threads parked in every kind of wait: handlers run or do not, the status is right.
#include "guest.h"
#include <poll.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/wait.h>

static sem_t never;
static int ends[2], report[2];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static pthread_key_t key;

static void say(const char *what)
{
	IS(write(report[1], what, strlen(what)), (ssize_t)strlen(what));
}

static void at_exit_first(void) { say(" atexit1"); }
static void at_exit_second(void) { say(" atexit2"); }
static void at_quick(void) { say(" quick"); }
static void key_destructor(void *unused) { (void)unused; say(" key"); }

static void *in_sem(void *u) { sem_wait(&never); return u; }
static void *in_read(void *u) { char b; return read(ends[0], &b, 1) == 1 ? u : u; }
static void *in_poll(void *u) { poll(NULL, 0, -1); return u; }
static void *in_sleep(void *u) { sleep(1000); return u; }
static void *in_mutex(void *u) { pthread_mutex_lock(&mutex); return u; }
static void *in_pause(void *u) { pause(); return u; }
static void *in_cond(void *u)
{
	static pthread_mutex_t own = PTHREAD_MUTEX_INITIALIZER;
	pthread_mutex_lock(&own);
	pthread_cond_wait(&condition, &own);
	return u;
}
static void *computes(void *u)
{
	for (;;)
		atomic_signal_fence(memory_order_seq_cst);
	return u;
}

static void with_exit(void) { exit(3); }
static void with__exit(void) { _exit(4); }
static void with_quick_exit(void) { quick_exit(5); }
static void with_abort(void) { abort(); }
static void with_exec(void) { execl("/bin/sh", "sh", "-c", "exit 6", NULL); }
static void with_kill(void) { kill(getpid(), SIGTERM); pause(); }
static void with_raise(void) { raise(SIGKILL); }
static void with_exit_group_of_main(void) { exit(7); }

static const struct {
	const char *name;
	void (*end)(void);
} ways[] = {
	{ "exit", with_exit }, { "_exit", with__exit }, { "quick_exit", with_quick_exit }, { "abort", with_abort },
	{ "exec", with_exec }, { "kill", with_kill }, { "raise", with_raise }, { "exit again", with_exit_group_of_main },
};

static void *ender(void *raw)
{
	OK(pthread_setspecific(key, raw));
	sleep_ms(5); /* the others wait by now */
	((void (*)(void))(uintptr_t)raw)();
	return NULL;
}

static void child(void (*end)(void), bool by_thread)
{
	IS(sem_init(&never, 0, 0), 0);
	IS(pipe(ends), 0);
	OK(pthread_key_create(&key, key_destructor));
	atexit(at_exit_first);
	atexit(at_exit_second);
	at_quick_exit(at_quick);
	OK(pthread_mutex_lock(&mutex));
	void *(*const bodies[])(void *) = { in_sem, in_read, in_poll, in_sleep, in_mutex, in_pause, in_cond, computes };
	for (size_t i = 0; i < COUNT(bodies); i++)
		start(bodies[i], NULL);
	if (by_thread) {
		start(ender, (void *)(uintptr_t)end);
		for (;;)
			pause();
	}
	ender((void *)(uintptr_t)end);
}

int main(void)
{
	for (size_t i = 0; i < COUNT(ways); i++)
		for (int by_thread = 0; by_thread < 2; by_thread++) {
			IS(pipe(report), 0);
			fflush(stdout);
			pid_t pid = fork();
			CHECK(pid >= 0);
			if (pid == 0) {
				close(report[0]);
				child(ways[i].end, by_thread);
			}
			close(report[1]);
			char text[200];
			size_t length = 0;
			ssize_t got;
			while ((got = read(report[0], text + length, sizeof text - 1 - length)) > 0)
				length += (size_t)got;
			text[length] = 0;
			close(report[0]);
			int status;
			IS(waitpid(pid, &status, 0), pid);
			printf("%s by %s: %s %d;%s\n", ways[i].name, by_thread ? "a thread" : "main",
			       WIFEXITED(status) ? "exited" : "killed",
			       WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status), text);
		}
	return 0;
}
