// A call between jump targets, where nothing but the syscall instruction itself can be
// replaced, blocks its own thread only; a handler that interrupts it sees its callers.
// guest: compile=-rdynamic compile=-fasynchronous-unwind-tables
#include "guest.h"
#include <execinfo.h>
#include <signal.h>

/* The first leads to padding behind its return, the second to one inside. */
__asm__(".text\n.globl read_outside\n.type read_outside,@function\n.balign 16\nread_outside:\n"
	".cfi_startproc\nxor %eax,%eax\ncmp $-1,%edi\njne 1f\nmov $-9,%rax\nje 2f\n"
	"1: syscall\n2: ret\n.cfi_endproc\n.size read_outside,.-read_outside\n.skip 13,0x90\n"
	".globl read_inside\n.type read_inside,@function\n.balign 16\nread_inside:\n"
	".cfi_startproc\nxor %eax,%eax\ncmp $-1,%edi\njne 1f\nmov $-9,%rax\nje 2f\n"
	"1: syscall\n2: ret\n.byte 0x0f,0x1f,0x44,0,0\n"
	"3: ret\n.cfi_endproc\n.size read_inside,.-read_inside\n.previous\n");
extern long read_outside(int, void *, size_t), read_inside(int, void *, size_t);

static int ends[2];
static atomic_int interrupted;
static const char *callee;

static void write_abc(void *unused)
{
	(void)unused;
	IS(write(ends[1], "abc", 3), 3);
}

static bool is_in(char **names, int count, const char *name)
{
	char start[64];
	snprintf(start, sizeof start, "(%s+", name);
	for (int i = 0; i < count; i++)
		if (strstr(names[i], start))
			return true;
	return false;
}

static void on_signal(int signal)
{
	void *frames[100];
	(void)signal;
	int count = backtrace(frames, 100);
	char **names = backtrace_symbols(frames, count);
	CHECK(names != NULL);
	/* It comes before the call, or in it. */
	if (is_in(names, count, callee)) {
		CHECK(is_in(names, count, "reads_in_thread"));
		atomic_store(&interrupted, 1);
	}
	free(names);
}

__attribute__((noinline)) void *reads_in_thread(void *call)
{
	char text[10];
	long (*volatile read_by)(int, void *, size_t) = *(long (**)(int, void *, size_t))call;
	IS(read_by(ends[0], text, sizeof text), 1);
	return NULL;
}

static void with(const char *name, long (*call)(int, void *, size_t))
{
	struct release release;
	char text[10];
	IS(pipe(ends), 0);
	release_start(&release, write_abc, NULL);
	IS(call(ends[0], text, sizeof text), 3);
	release_check(&release, "a read without a window");
	IS(call(-1, text, 1), -EBADF);
	IS(call(ends[0], (void *)8, 0), 0);

	callee = name;
	atomic_store(&interrupted, 0);
	pthread_t reader = start(reads_in_thread, &call);
	while (!atomic_load(&interrupted)) {
		OK(pthread_kill(reader, SIGUSR1));
		sleep_ms(1);
	}
	IS(write(ends[1], "x", 1), 1);
	join(reader);
	printf("%s: it waits, and its caller is known\n", name);
	fflush(stdout);
}

int main(void)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	void *warm[2];
	backtrace(warm, 2);
	IS(sigaction(SIGUSR1, &action, NULL), 0);
	with("read_outside", read_outside);
	with("read_inside", read_inside);
	return 0;
}
