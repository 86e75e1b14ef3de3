// Which thread takes a signal of the process: whom the sender names, else the oldest from the last one on, else who lets it in first.
#include "guest.h"
#include <sched.h>
#include <semaphore.h>
#include <signal.h>

static atomic_int by, times;
static sem_t ready, go_on;
static sigset_t set;
static pthread_t main_thread;

static void handler(int number)
{
	(void)number;
	atomic_store(&by, pthread_equal(pthread_self(), main_thread) ? 1 : gettid());
	atomic_fetch_add(&times, 1);
}

struct thread {
	pthread_t thread;
	atomic_int tid;
	bool open, waits;
};

static void *body(void *raw)
{
	struct thread *self = raw;
	OK(pthread_sigmask(self->open ? SIG_UNBLOCK : SIG_BLOCK, &set, NULL));
	atomic_store(&self->tid, gettid());
	IS(sem_post(&ready), 0);
	if (self->waits) {
		int number;
		IS(sigwait(&set, &number), 0);
		atomic_store(&by, gettid());
		atomic_fetch_add(&times, 1);
	}
	while (sem_wait(&go_on) != 0)
		;
	return NULL;
}

static void run(struct thread *thread)
{
	thread->thread = start(body, thread);
	while (sem_wait(&ready) != 0)
		;
	if (thread->waits)
		sleep_ms(20);
}

static void send_to_and_wait(pid_t id)
{
	int before = atomic_load(&times);
	IS(kill(id, SIGUSR1), 0);
	while (atomic_load(&times) == before)
		sched_yield();
	sleep_ms(2); /* its handler returns, and it waits again */
}

static void send_and_wait(void)
{
	send_to_and_wait(getpid());
}

static void queue_and_wait(pid_t id)
{
	int before = atomic_load(&times);
	IS(sigqueue(id, SIGUSR1, (union sigval){ .sival_int = 0 }), 0);
	while (atomic_load(&times) == before)
		sched_yield();
	sleep_ms(2);
}

int main(void)
{
	struct thread open = { .open = true }, closed = { .open = false }, other = { .open = true },
		      waiting = { .waits = true };
	struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART };
	main_thread = pthread_self();
	IS(sem_init(&ready, 0, 0), 0);
	IS(sem_init(&go_on, 0, 0), 0);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	IS(sigaction(SIGUSR1, &action, NULL), 0);
	run(&closed);
	send_and_wait();
	printf("main is open: by main %d\n", atomic_load(&by) == 1);
	run(&open);
	send_and_wait();
	printf("main and a thread are open: by main %d\n", atomic_load(&by) == 1);
	OK(pthread_sigmask(SIG_BLOCK, &set, NULL));
	send_and_wait();
	printf("main blocks it: by the thread %d\n", atomic_load(&by) == atomic_load(&open.tid));
	run(&other);
	for (int i = 0; i < 10; i++) {
		send_and_wait();
		CHECK(atomic_load(&by) == atomic_load(&open.tid));
	}
	puts("two threads are open: by the one that took the last");
	send_to_and_wait(atomic_load(&other.tid));
	printf("the younger one is named: by it %d\n", atomic_load(&by) == atomic_load(&other.tid));
	send_to_and_wait(atomic_load(&closed.tid));
	printf("one is named that blocks it: by the older one %d\n", atomic_load(&by) == atomic_load(&open.tid));
	OK(pthread_sigmask(SIG_UNBLOCK, &set, NULL));
	queue_and_wait(atomic_load(&other.tid));
	printf("the younger one is named, main is open: by it %d\n", atomic_load(&by) == atomic_load(&other.tid));
	run(&waiting);
	send_and_wait();
	printf("a thread waits for it, main is open: by main %d\n", atomic_load(&by) == 1);
	OK(pthread_sigmask(SIG_BLOCK, &set, NULL));
	send_to_and_wait(atomic_load(&waiting.tid));
	printf("one is named that waits for it: by it %d\n", atomic_load(&by) == atomic_load(&waiting.tid));
	sem_post(&go_on);
	sem_post(&go_on);
	sem_post(&go_on);
	sem_post(&go_on);
	join(open.thread);
	join(closed.thread);
	join(other.thread);
	join(waiting.thread);
	IS(kill(getpid(), SIGUSR1), 0);
	sigset_t pending;
	IS(sigpending(&pending), 0);
	printf("nobody is open: pending %d\n", sigismember(&pending, SIGUSR1));
	int before = atomic_load(&times);
	run(&open);
	while (atomic_load(&times) == before)
		sched_yield();
	printf("a new thread lets it in: %d\n", atomic_load(&by) == atomic_load(&open.tid));
	sem_post(&go_on);
	join(open.thread);
	run(&waiting);
	send_and_wait();
	printf("a thread waits for it: %d\n", atomic_load(&by) == atomic_load(&waiting.tid));
	sem_post(&go_on);
	join(waiting.thread);
	IS(atomic_load(&times), 20);
	return 0;
}
