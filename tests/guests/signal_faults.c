// Synchronous signals: SIGSEGV, SIGILL and a raised SIGFPE: their handlers run in the thread at fault.
#include "guest.h"
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>

static __thread sigjmp_buf back;
static __thread int expected;
static __thread pthread_t self;
static char *page;

static void handler(int signal, siginfo_t *info, void *unused)
{
	(void)unused;
	CHECK(signal == expected && pthread_equal(self, pthread_self()));
	if (signal == SIGSEGV)
		CHECK(info->si_addr == page && info->si_code == SEGV_ACCERR);
	siglongjmp(back, 1);
}

static void *body(void *unused)
{
	(void)unused;
	self = pthread_self();
	for (int i = 0; i < 5; i++) {
		expected = SIGSEGV;
		if (sigsetjmp(back, 1) == 0)
			*(volatile char *)page = 1;
		sched_yield();
		expected = SIGFPE;
		if (sigsetjmp(back, 1) == 0)
			raise(SIGFPE);
		sched_yield();
		expected = SIGILL;
		if (sigsetjmp(back, 1) == 0)
			__builtin_trap();
		struct timespec moment = { 0, 100000 };
		nanosleep(&moment, NULL);
	}
	return NULL;
}

int main(void)
{
	struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO };
	IS(sigaction(SIGSEGV, &action, NULL), 0);
	IS(sigaction(SIGFPE, &action, NULL), 0);
	IS(sigaction(SIGILL, &action, NULL), 0);
	page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(page != MAP_FAILED);
	body(NULL);
	pthread_t threads[5];
	for (int i = 0; i < 5; i++)
		threads[i] = start(body, NULL);
	for (int i = 0; i < 5; i++)
		join(threads[i]);
	puts("each thread handled its own");
	return 0;
}
