// sigaltstack belongs to a thread: SA_ONSTACK handlers run there, also one for an overflowed stack.
#include "guest.h"
#include <setjmp.h>
#include <signal.h>

enum { SIZE = 64 << 10 };

static __thread char *stack_base;
static __thread sigjmp_buf back;
static atomic_int on_it;

static void on_user(int signal)
{
	char local;
	CHECK(signal == SIGUSR1);
	CHECK(&local >= stack_base && &local < stack_base + SIZE);
	stack_t now;
	IS(sigaltstack(NULL, &now), 0);
	CHECK(now.ss_flags & SS_ONSTACK);
	FAILS(sigaltstack(&now, NULL), EPERM);
	sleep_ms(2); /* parks on the alternate stack */
	CHECK(&local >= stack_base && &local < stack_base + SIZE);
	atomic_fetch_add(&on_it, 1);
}

static void on_overflow(int signal)
{
	char local;
	CHECK(signal == SIGSEGV);
	CHECK(&local >= stack_base && &local < stack_base + SIZE);
	siglongjmp(back, 1);
}

static int eat(volatile char *above, unsigned depth)
{
	volatile char block[4096];
	block[0] = above[0];
	return depth == 0 ? block[0] : eat(block, depth - 1) + block[0];
}

static void *body(void *raw)
{
	volatile char begin = 0;
	stack_t before, stack = { .ss_sp = malloc(SIZE), .ss_size = SIZE };
	IS(sigaltstack(NULL, &before), 0);
	CHECK(before.ss_flags == SS_DISABLE);
	stack_base = stack.ss_sp;
	IS(sigaltstack(&stack, NULL), 0);
	for (int i = 0; i < 5; i++) {
		OK(pthread_kill(pthread_self(), SIGUSR1));
		sched_yield();
	}
	if (raw && sigsetjmp(back, 1) == 0)
		eat(&begin, 1000000);
	stack_t now;
	IS(sigaltstack(NULL, &now), 0);
	CHECK(now.ss_sp == stack_base && now.ss_flags == 0);
	stack.ss_flags = SS_DISABLE;
	IS(sigaltstack(&stack, NULL), 0);
	free(stack_base);
	return NULL;
}

int main(void)
{
	struct sigaction user = { .sa_handler = on_user, .sa_flags = SA_ONSTACK };
	struct sigaction overflow = { .sa_handler = on_overflow, .sa_flags = SA_ONSTACK };
	pthread_t threads[8];
	IS(sigaction(SIGUSR1, &user, NULL), 0);
	IS(sigaction(SIGSEGV, &overflow, NULL), 0);
	for (int i = 0; i < 8; i++)
		threads[i] = start(body, NULL);
	for (int i = 0; i < 8; i++)
		join(threads[i]);
	printf("%d handlers on their own stacks\n", atomic_load(&on_it));
	pthread_attr_t attributes;
	pthread_t thread;
	OK(pthread_attr_init(&attributes));
	OK(pthread_attr_setstacksize(&attributes, 256 << 10));
	OK(pthread_create(&thread, &attributes, body, "overflow"));
	join(thread);
	puts("survived an overflow");
	return 0;
}
