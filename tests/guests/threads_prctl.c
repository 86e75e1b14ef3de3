// What prctl(2) keeps for a thread: the address of its id, timer slack, the signal at its parent's end.
#include "guest.h"
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static int death_signal(void)
{
	int signal = -1;
	IS(prctl(PR_GET_PDEATHSIG, &signal), 0);
	return signal;
}

static long slack(void)
{
	return prctl(PR_GET_TIMERSLACK);
}

static void *has_an_address(void *unused)
{
	int *address = NULL, own;
	if (prctl(PR_GET_TID_ADDRESS, &address) == 0)
		// The thread's id, or since glibc 2.43 another word that says that it lives.
		CHECK(*address != 0);
	IS(syscall(SYS_set_tid_address, &own), gettid());
	int *other = NULL;
	if (prctl(PR_GET_TID_ADDRESS, &other) == 0)
		CHECK(other == &own);
	FAILS(prctl(PR_GET_TID_ADDRESS, unmapped), address ? EFAULT : EINVAL);
	syscall(SYS_set_tid_address, address);
	return unused;
}

static void *slack_of_new(void *unused)
{
	(void)unused;
	return (void *)slack();
}

static void *changes_slack(void *expected)
{
	IS(slack(), (long)expected);
	IS(prctl(PR_SET_TIMERSLACK, 777), 0);
	IS(slack(), 777);
	IS((long)join(start(slack_of_new, NULL)), 777);
	IS(prctl(PR_SET_TIMERSLACK, 0), 0);
	IS(slack(), (long)expected);
	int error = sched_setscheduler(0, SCHED_RR, &(struct sched_param){ 1 });
	printf("real time %d, slack %ld\n", error, slack());
	printf("of its new thread %ld\n", (long)join(start(slack_of_new, NULL)));
	IS(sched_setscheduler(0, SCHED_OTHER, &(struct sched_param){ 0 }), 0);
	IS(slack(), (long)expected);
	return NULL;
}

static sem_t go_on, is_set;

static void *keeps_slack(void *unused)
{
	long before = slack();
	IS(sem_post(&is_set), 0);
	while (sem_wait(&go_on) != 0)
		;
	IS(slack(), before);
	return unused;
}

static void slacks(void)
{
	long first = slack();
	printf("slack %ld\n", first);
	join(start(changes_slack, (void *)first));
	IS(slack(), first);
	pthread_t keeper = start(keeps_slack, NULL);
	while (sem_wait(&is_set) != 0)
		;
	IS(prctl(PR_SET_TIMERSLACK, 12345), 0);
	IS(slack(), 12345);
	IS(sem_post(&go_on), 0);
	join(keeper);
	IS((long)join(start(slack_of_new, NULL)), 12345);
	join(start(changes_slack, (void *)12345));
	IS(prctl(PR_SET_TIMERSLACK, 0), 0);
	IS(slack(), first);
	IS((long)join(start(slack_of_new, NULL)), first);
}

static void *asks_for(void *raw)
{
	int signal = (int)(intptr_t)raw;
	IS(death_signal(), 0);
	FAILS(prctl(PR_SET_PDEATHSIG, 65), EINVAL);
	IS(prctl(PR_SET_PDEATHSIG, signal), 0);
	IS(death_signal(), signal);
	IS(sem_post(&is_set), 0);
	while (sem_wait(&go_on) != 0)
		;
	IS(death_signal(), signal);
	return NULL;
}

static void *has_none(void *unused)
{
	IS(death_signal(), 0);
	return unused;
}

static void death_signals(void)
{
	IS(prctl(PR_SET_PDEATHSIG, SIGUSR1), 0);
	pthread_t thread = start(asks_for, (void *)(intptr_t)SIGUSR2);
	while (sem_wait(&is_set) != 0)
		;
	IS(death_signal(), SIGUSR1);
	join(start(has_none, NULL));
	IS(prctl(PR_SET_PDEATHSIG, 0), 0);
	IS(death_signal(), 0);
	IS(sem_post(&go_on), 0);
	join(thread);
	IS(death_signal(), 0);
	FAILS(prctl(PR_GET_PDEATHSIG, unmapped), EFAULT);
}

static int told[2];

static void tells(int signal)
{
	char byte = (char)signal;
	if (write(told[1], &byte, 1) != 1)
		_exit(1);
	_exit(0);
}

/* In a process whose parent ends once a thread has asked for a signal, and another for none. */
static void orphan(void)
{
	CHECK(signal(SIGUSR2, tells) != SIG_ERR);
	int parent = getppid();
	alarm(20);
	pthread_t thread = start(asks_for, (void *)(intptr_t)SIGUSR2);
	while (sem_wait(&is_set) != 0)
		;
	IS(prctl(PR_SET_PDEATHSIG, 0), 0);
	IS(kill(parent, SIGKILL), 0);
	join(thread);
}

static void ends_of_parents(void)
{
	IS(pipe(told), 0);
	int parent = fork();
	if (parent == 0) {
		int child = fork();
		if (child == 0)
			orphan();
		for (;;)
			pause();
	}
	IS(close(told[1]), 0);
	char byte;
	IS(read(told[0], &byte, 1), 1);
	IS(byte, SIGUSR2);
	IS(waitpid(parent, NULL, 0), parent);
	puts("a thread's signal came when the parent ended");
}

int main(void)
{
	IS(sem_init(&go_on, 0, 0), 0);
	IS(sem_init(&is_set, 0, 0), 0);
	join(start(has_an_address, NULL));
	slacks();
	death_signals();
	ends_of_parents();
	puts("done");
	return 0;
}
