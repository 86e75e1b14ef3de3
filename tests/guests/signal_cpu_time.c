// A signal about the CPU time of the process goes to a thread that used it: of setitimer and of timer_create, made before or after the first thread.
// guest: limit=120
#include "guest.h"
#include <signal.h>
#include <sys/time.h>

enum { COMPUTING = 3, WAITING = 4, ENOUGH = 60 };

static atomic_int taken[COMPUTING + 1], of_others, all;
static __thread int self = -1;
static atomic_bool enough;

static void handler(int number)
{
	(void)number;
	if (self >= 0)
		atomic_fetch_add(&taken[self], 1);
	else
		atomic_fetch_add(&of_others, 1);
	if (atomic_fetch_add(&all, 1) + 1 >= ENOUGH)
		atomic_store(&enough, true);
}

static void *computes(void *raw)
{
	self = (int)(long)raw;
	while (!atomic_load(&enough))
		for (volatile int i = 0; i < 1000; i++)
			;
	return NULL;
}

/* Blocks the signal, and so never has its part in it. */
static void *computes_closed(void *raw)
{
	sigset_t set;
	sigfillset(&set);
	OK(pthread_sigmask(SIG_BLOCK, &set, NULL));
	return computes(raw);
}

static int ends[2];

static void *waits(void *unused)
{
	char byte;
	while (read(ends[0], &byte, 1) < 0)
		CHECK(errno == EINTR);
	return unused;
}

static void run(const char *name, void *(*body)(void *), int computing, void (*begin)(void), void (*end)(void))
{
	pthread_t waiting[WAITING], threads[COMPUTING];
	atomic_store(&all, 0);
	atomic_store(&of_others, 0);
	atomic_store(&enough, false);
	for (int i = 0; i < COMPUTING; i++)
		atomic_store(&taken[i], 0);
	for (int i = 0; i < WAITING; i++)
		waiting[i] = start(waits, NULL);
	if (begin)
		begin();
	for (int i = 0; i < computing; i++)
		threads[i] = start(body, (void *)(long)i);
	for (int i = 0; i < computing; i++)
		join(threads[i]);
	end();
	IS(write(ends[1], "abcd", WAITING), WAITING);
	for (int i = 0; i < WAITING; i++)
		join(waiting[i]);
	/* A few may come where nobody computes yet or any more. */
	if (body == computes) {
		int others = atomic_load(&of_others);
		if (others > ENOUGH / 10)
			printf("%d to others: ", others);
		printf("%s: %s\n", name, others > ENOUGH / 10 ? "others" : "who computes");
	} else {
		printf("%s: %d of those that block it\n", name,
		       atomic_load(&taken[0]) + atomic_load(&taken[1]) + atomic_load(&taken[2]));
	}
}

static const struct itimerval every = { { 0, 4000 }, { 0, 4000 } }, off;
static const struct itimerspec often = { { 0, 4000000 }, { 0, 4000000 } };

static void begin_prof(void)
{
	IS(setitimer(ITIMER_PROF, &every, NULL), 0);
}

static void end_prof(void)
{
	IS(setitimer(ITIMER_PROF, &off, NULL), 0);
}

static void begin_virtual(void)
{
	IS(setitimer(ITIMER_VIRTUAL, &every, NULL), 0);
}

static void end_virtual(void)
{
	IS(setitimer(ITIMER_VIRTUAL, &off, NULL), 0);
}

static timer_t timer;
static int timer_signal = SIGPROF;

static void make_timer(void)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = timer_signal };
	IS(timer_create(CLOCK_PROCESS_CPUTIME_ID, &event, &timer), 0);
}

static void begin_timer(void)
{
	make_timer();
	IS(timer_settime(timer, 0, &often, NULL), 0);
}

static void begin_early_timer(void)
{
	IS(timer_settime(timer, 0, &often, NULL), 0);
}

static void end_timer(void)
{
	IS(timer_delete(timer), 0);
}

int main(void)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART };
	static const int numbers[] = { SIGPROF, SIGVTALRM, SIGUSR1, 40, 41 };
	for (size_t i = 0; i < COUNT(numbers); i++)
		IS(sigaction(numbers[i], &action, NULL), 0);
	IS(pipe(ends), 0);
	timer_signal = 41;
	make_timer();
	begin_prof();
	run("ITIMER_PROF, begun before", computes, COMPUTING, NULL, end_prof);
	run("a timer made before", computes, COMPUTING, begin_early_timer, end_timer);
	run("ITIMER_PROF", computes, COMPUTING, begin_prof, end_prof);
	run("ITIMER_PROF, one computes", computes, 1, begin_prof, end_prof);
	run("ITIMER_VIRTUAL", computes, COMPUTING, begin_virtual, end_virtual);
	timer_signal = SIGPROF;
	run("a timer with SIGPROF", computes, COMPUTING, begin_timer, end_timer);
	timer_signal = 40;
	run("a timer with a realtime signal", computes, 2, begin_timer, end_timer);
	run("ITIMER_PROF, blocked", computes_closed, COMPUTING, begin_prof, end_prof);
	return 0;
}
