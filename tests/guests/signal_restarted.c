// Calls that go on after a handler with SA_RESTART: read, recv, accept, sem_wait, waitpid, locks.
#include "net.h"
#include <semaphore.h>
#include <signal.h>
#include <sys/wait.h>

static pthread_t target;
static atomic_int handled;
static int pair[2], listener, gate[2];
static struct sockaddr_in address;
static sem_t semaphore;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool set;

static void handler(int signal)
{
	(void)signal;
	CHECK(pthread_equal(pthread_self(), target));
	atomic_fetch_add(&handled, 1);
}

struct plan {
	void (*action)(void);
};

/* Signals until five handlers ran, and only then lets the call end. */
static void *signals_then_acts(void *raw)
{
	struct plan *plan = raw;
	while (atomic_load(&handled) < 5) {
		sleep_ms(3);
		OK(pthread_kill(target, SIGUSR1));
	}
	plan->action();
	return NULL;
}

#define GOES_ON(does, expected, call)                                                              \
	do {                                                                                       \
		struct plan plan = { does };                                                       \
		atomic_store(&handled, 0);                                                         \
		pthread_t sender = start(signals_then_acts, &plan);                                \
		IS(call, expected);                                                                \
		CHECK(atomic_load(&handled) >= 5);                                                 \
		join(sender);                                                                      \
	} while (0)

static void write_pair(void)
{
	IS(write(pair[1], "x", 1), 1);
}

static void connects(void)
{
	close(tcp_connected(&address));
}

static void post(void)
{
	IS(sem_post(&semaphore), 0);
}

static void open_gate(void)
{
	IS(write(gate[1], "x", 1), 1);
}

static void unlock(void)
{
	IS(sem_post(&semaphore), 0);
}

static void set_it(void)
{
	OK(pthread_mutex_lock(&mutex));
	set = true;
	OK(pthread_cond_broadcast(&changed));
	OK(pthread_mutex_unlock(&mutex));
}

static void *owner(void *barrier)
{
	OK(pthread_mutex_lock(&mutex));
	pthread_barrier_wait(barrier);
	while (sem_wait(&semaphore) != 0)
		CHECK(errno == EINTR);
	OK(pthread_mutex_unlock(&mutex));
	return NULL;
}

static int waits_for_condition(void)
{
	int result = 0;
	OK(pthread_mutex_lock(&mutex));
	while (!set && result == 0)
		result = pthread_cond_wait(&changed, &mutex);
	OK(pthread_mutex_unlock(&mutex));
	return result;
}

static void *body(void *unused)
{
	char byte;
	int fd;
	(void)unused;
	target = pthread_self();
	GOES_ON(write_pair, 1, read(pair[0], &byte, 1));
	GOES_ON(write_pair, 1, recv(pair[0], &byte, 1, 0));
	GOES_ON(connects, true, (fd = accept(listener, NULL, NULL)) >= 0);
	close(fd);
	GOES_ON(post, 0, sem_wait(&semaphore));
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		signal(SIGUSR1, SIG_DFL);
		IS(read(gate[0], &byte, 1), 1);
		_exit(0);
	}
	GOES_ON(open_gate, child, waitpid(child, NULL, 0));
	puts("system calls");

	pthread_barrier_t barrier;
	OK(pthread_barrier_init(&barrier, NULL, 2));
	pthread_t owning = start(owner, &barrier);
	pthread_barrier_wait(&barrier);
	GOES_ON(unlock, 0, pthread_mutex_lock(&mutex));
	OK(pthread_mutex_unlock(&mutex));
	join(owning);
	set = false;
	GOES_ON(set_it, 0, waits_for_condition());
	puts("locks");
	return NULL;
}

int main(void)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART };
	IS(sigaction(SIGUSR1, &action, NULL), 0);
	IS(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	IS(pipe(gate), 0);
	IS(sem_init(&semaphore, 0, 0), 0);
	listener = tcp_listener(&address, 5);
	body(NULL);
	join(start(body, NULL));
	return 0;
}
