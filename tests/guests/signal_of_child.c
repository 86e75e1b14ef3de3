// SIGCHLD asks the thread that made the child first, however it was made; another takes it if that one blocks it or has ended.
#include "guest.h"
#include <semaphore.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

static _Thread_local int who; /* 0: the initial thread */
static atomic_int by, code;
static sem_t handled;
static sigset_t set;

static void handler(int number, siginfo_t *info, void *context)
{
	(void)context;
	CHECK(number == SIGCHLD);
	atomic_store(&by, who);
	atomic_store(&code, info->si_code);
	IS(sem_post(&handled), 0);
}

/* A child ends, or stops, when it has read a byte: posix_spawn, and fork since glibc 2.42, block everything while they
 * make one. */
static int go_on[2];
static char *const arguments[] = { "sh", "-c", "read line", NULL };
static char *const environment[] = { NULL };

static pid_t by_fork(void)
{
	pid_t child = fork();
	if (child == 0) {
		char byte;
		_exit(read(go_on[0], &byte, 1) != 1);
	}
	return child;
}

static pid_t by_vfork(void)
{
	pid_t child = vfork();
	if (child == 0) {
		execve("/bin/sh", arguments, environment);
		_exit(1);
	}
	return child;
}

static pid_t by_spawn(void)
{
	pid_t child;
	OK(posix_spawn(&child, "/bin/sh", NULL, NULL, arguments, environment));
	return child;
}

static void let_end(void)
{
	IS(write(go_on[1], "\n", 1), 1);
}

static const struct {
	const char *name;
	pid_t (*make)(void);
} ways[] = { { "fork", by_fork }, { "vfork", by_vfork }, { "posix_spawn", by_spawn } };

static void wait_for(sem_t *semaphore)
{
	while (sem_wait(semaphore) != 0)
		CHECK(errno == EINTR);
}

static void reap(pid_t child)
{
	int status;
	IS(TEMP_FAILURE_RETRY(waitpid(child, &status, 0)), child);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void makes_all(void)
{
	for (size_t i = 0; i < COUNT(ways); i++) {
		pid_t child = ways[i].make();
		CHECK(child > 0);
		let_end();
		wait_for(&handled);
		printf("thread %d, %s: by %d, code %d\n", who, ways[i].name, atomic_load(&by), atomic_load(&code));
		reap(child);
	}
}

static void stops_one(void)
{
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		char byte;
		IS(read(go_on[0], &byte, 1), 1);
		raise(SIGSTOP);
		_exit(0);
	}
	let_end();
	wait_for(&handled);
	printf("stopped: by %d, code %d\n", atomic_load(&by), atomic_load(&code));
	IS(kill(child, SIGCONT), 0);
	wait_for(&handled);
	printf("goes on or ends: by %d\n", atomic_load(&by));
	reap(child);
}

static void blocks_it(void)
{
	OK(pthread_sigmask(SIG_BLOCK, &set, NULL));
	pid_t child = by_fork();
	let_end();
	wait_for(&handled);
	printf("blocked: by %d\n", atomic_load(&by));
	reap(child);
}

static pid_t left;

static void leaves_one(void)
{
	left = by_fork();
}

/* All threads are there from the beginning: who makes one, or begins, changes its mask, and then
 * looks for what is pending. */
static struct part {
	void (*body)(void);
	pthread_t thread;
	sem_t turn;
} parts[] = { { .body = makes_all }, { .body = makes_all }, { .body = blocks_it },
	      { .body = leaves_one }, { .body = stops_one } };
static sem_t ready, done;

static void *body(void *raw)
{
	struct part *part = raw;
	who = 1 + (int)(part - parts);
	IS(sem_post(&ready), 0);
	wait_for(&part->turn);
	part->body();
	IS(sem_post(&done), 0);
	wait_for(&part->turn);
	return NULL;
}

static void run(struct part *part)
{
	IS(sem_post(&part->turn), 0);
	wait_for(&done);
}

static void end(struct part *part)
{
	IS(sem_post(&part->turn), 0);
	join(part->thread);
}

int main(void)
{
	struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_RESTART | SA_SIGINFO };
	IS(sem_init(&handled, 0, 0), 0);
	IS(sem_init(&ready, 0, 0), 0);
	IS(sem_init(&done, 0, 0), 0);
	IS(pipe(go_on), 0);
	IS(dup2(go_on[0], 0), 0);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	IS(sigaction(SIGCHLD, &action, NULL), 0);
	for (size_t i = 0; i < COUNT(parts); i++) {
		IS(sem_init(&parts[i].turn, 0, 0), 0);
		parts[i].thread = start(body, &parts[i]);
		wait_for(&ready);
	}
	makes_all();
	for (size_t i = 0; i < COUNT(parts); i++) {
		run(&parts[i]);
		if (parts[i].body == leaves_one) {
			end(&parts[i]);
			let_end();
			wait_for(&handled);
			printf("ended before its child: by %d\n", atomic_load(&by));
			reap(left);
		}
	}
	for (size_t i = 0; i < COUNT(parts); i++)
		if (parts[i].body != leaves_one)
			end(&parts[i]);
	return 0;
}
