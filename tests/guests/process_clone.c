// clone and clone3 with stacks, thread pointers and tables of their children's own or not, and memory that both go on using.
// guest: limit=60
#include "guest.h"
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { STACK = 256 << 10 };

static char *stack;
static atomic_int value, turns;
static int fds[2];

static int status_of(pid_t child)
{
	int status;
	CHECK(child > 0);
	while (waitpid(child, &status, __WALL) != child)
		CHECK(errno == EINTR);
	return status;
}

static int ends(void *code)
{
	atomic_store(&value, 1);
	return (int)(intptr_t)code;
}

static void *nothing(void *unused)
{
	return unused;
}

/* It is a process like any other: it makes threads and a child of its own. */
static int lives(void *unused)
{
	(void)unused;
	join(start(nothing, NULL));
	pid_t child = fork();
	if (child == 0) {
		join(start(nothing, NULL));
		_exit(3);
	}
	return status_of(child) >> 8;
}

static int closes(void *unused)
{
	(void)unused;
	join(start(nothing, NULL));
	return close(fds[0]);
}

static int named(void *unused)
{
	(void)unused;
	char name[16];
	IS(prctl(PR_GET_NAME, name), 0);
	return strcmp(name, "maker");
}

static int made(int (*body)(void *), int flags, intptr_t argument)
{
	return status_of(clone(body, stack + STACK, flags, (void *)argument));
}

static void own_memory(void)
{
	atomic_store(&value, 0);
	IS(made(ends, SIGCHLD, 7), 7 << 8);
	IS(made(ends, 0, 8), 8 << 8);
	IS(made(lives, SIGCHLD, 0), 3 << 8);
	IS(made(named, SIGCHLD, 0), 0);
	IS(atomic_load(&value), 0);
	puts("on stacks of their own");
}

static void own_memory_3(void)
{
	struct clone_args args = { .exit_signal = SIGCHLD };
	long child = syscall(SYS_clone3, &args, sizeof args);
	if (child == 0)
		_exit(5);
	IS(status_of((pid_t)child), 5 << 8);
	FAILS(syscall(SYS_clone3, &args, 8), EINVAL);
	FAILS(syscall(SYS_clone3, NULL, sizeof args), EFAULT);
	FAILS(syscall(SYS_clone3, (void *)8, sizeof args), EFAULT);
	args.stack_size = STACK;
	FAILS(syscall(SYS_clone3, &args, sizeof args), EINVAL);
	args = (struct clone_args){ .flags = CLONE_THREAD, .exit_signal = SIGCHLD };
	FAILS(syscall(SYS_clone3, &args, sizeof args), EINVAL);
	puts("by clone3");
}

static void shared_descriptors(void)
{
	IS(pipe(fds), 0);
	IS(made(closes, CLONE_FILES | CLONE_FS | SIGCHLD, 0), 0);
	FAILS(fcntl(fds[0], F_GETFD), EBADF);
	IS(close(fds[1]), 0);
	/* What is there is still used. */
	IS(pipe(fds), 0);
	pthread_t other = start(nothing, NULL);
	struct timespec moment = { 0, 2000000 };
	IS(nanosleep(&moment, NULL), 0);
	join(other);
	char byte = 'x';
	IS(write(fds[1], &byte, 1), 1);
	IS(read(fds[0], &byte, 1), 1);
	IS(close(fds[0]), 0);
	IS(close(fds[1]), 0);
	puts("descriptors that both have");
}

/* By instructions alone: it shares errno with its maker. */
static long call(long nr, long a, long b)
{
	__asm__ volatile("syscall" : "+a"(nr) : "D"(a), "S"(b) : "rcx", "r11", "memory");
	return nr;
}

static int shares(void *unused)
{
	(void)unused;
	for (int i = 0; i < 5; i++) {
		struct timespec moment = { 0, 10000000 };
		call(SYS_nanosleep, (long)&moment, 0);
		atomic_fetch_add(&value, 1);
	}
	return 9;
}

static void *takes_turns(void *unused)
{
	for (int i = 0; i < 10; i++) {
		sleep_ms(1);
		atomic_fetch_add(&turns, 1);
	}
	return unused;
}

static void shared_memory(void)
{
	atomic_store(&value, 0);
	atomic_store(&turns, 0);
	pid_t child = clone(shares, stack + STACK, CLONE_VM | SIGCHLD, NULL);
	CHECK(child > 0);
	pthread_t other = start(takes_turns, NULL);
	takes_turns(NULL);
	join(other);
	IS(atomic_load(&turns), 20);
	IS(status_of(child), 9 << 8);
	IS(atomic_load(&value), 5);
	takes_turns(NULL);
	puts("memory that both have");
}

static int is_thread(void *unused)
{
	(void)unused;
	atomic_fetch_add(&value, call(SYS_getppid, 0, 0) > 0);
	struct timespec moment = { 0, 5000000 };
	call(SYS_nanosleep, (long)&moment, 0);
	atomic_fetch_add(&value, call(SYS_gettid, 0, 0) != call(SYS_getpid, 0, 0));
	call(SYS_exit, 0, 0);
	return 0;
}

static void raw_thread(void)
{
	static int gone;
	gone = 1;
	atomic_store(&value, 0);
	int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_CHILD_CLEARTID;
	CHECK(clone(is_thread, stack + STACK, flags, NULL, NULL, NULL, &gone) > 0);
	takes_turns(NULL);
	while (__atomic_load_n(&gone, __ATOMIC_SEQ_CST))
		sleep_ms(1);
	IS(atomic_load(&value), 2);
	join(start(nothing, NULL));
	puts("a thread that libc does not know");
}

static void *everything(void *unused)
{
	stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(stack != MAP_FAILED);
	OK(pthread_setname_np(pthread_self(), "maker"));
	own_memory();
	own_memory_3();
	shared_descriptors();
	shared_memory();
	raw_thread();
	own_memory();
	IS(munmap(stack, STACK), 0);
	fflush(stdout);
	return unused;
}

int main(void)
{
	join(start(everything, NULL));
	everything(NULL);
	return 0;
}
