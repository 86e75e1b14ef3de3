// Signals of descriptors for a thread: F_SETOWN_EX and F_SETOWN with its id, F_SETSIG, the ioctls, sigwait, and an owner that ends.
#include "guest.h"
#include <fcntl.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define FIOSETOWN_NR 0x8901
#define SIOCSPGRP_NR 0x8902
#define FIOGETOWN_NR 0x8903
#define SIOCGPGRP_NR 0x8904

enum { NO_THREAD = 0x3fffffff };

struct worker {
	pthread_t thread;
	atomic_int tid;
	sem_t go_on;
};

static struct worker workers[3];
static atomic_int taken_by, taken, code, about;
static sem_t came;

static void handler(int signal, siginfo_t *info, void *context)
{
	(void)context;
	atomic_store(&taken_by, gettid());
	atomic_store(&taken, signal);
	atomic_store(&code, info->si_code);
	atomic_store(&about, info->si_code == SI_KERNEL ? -1 : info->si_fd);
	sem_post(&came);
}

static void *parks(void *raw)
{
	struct worker *worker = raw;
	atomic_store(&worker->tid, gettid());
	IS(sem_post(&came), 0);
	while (sem_wait(&worker->go_on) != 0)
		;
	return NULL;
}

static int start_worker(struct worker *worker, void *(*body)(void *))
{
	IS(sem_init(&worker->go_on, 0, 0), 0);
	worker->thread = start(body, worker);
	while (sem_wait(&came) != 0)
		;
	return atomic_load(&worker->tid);
}

static void end_worker(struct worker *worker)
{
	IS(sem_post(&worker->go_on), 0);
	join(worker->thread);
}

/* Makes `fd` readable from `other`. */
static void signals(int fd, int other, int signal, int expected_code)
{
	char byte = 'x';
	IS(write(other, &byte, 1), 1);
	while (sem_wait(&came) != 0)
		;
	IS(atomic_load(&taken), signal);
	IS(atomic_load(&code), expected_code);
	IS(atomic_load(&about), expected_code == SI_KERNEL ? -1 : fd);
	IS(read(fd, &byte, 1), 1);
}

/* The signal goes to `tid`. */
static void arrives(int fd, int other, int tid, int signal, int expected_code)
{
	signals(fd, other, signal, expected_code);
	IS(atomic_load(&taken_by), tid);
}

/* The signal goes to `tid` unless that is still in its handler for another. */
static void arrives_first(int fd, int other, int tid, int signal, int expected_code)
{
	for (int tries = 0; tries < 1000; tries++) {
		signals(fd, other, signal, expected_code);
		if (atomic_load(&taken_by) == tid)
			return;
		sleep_ms(1);
	}
	CHECK(!"the thread that was named is preferred");
}

/* Nobody gets one. */
static void does_not_arrive(int fd, int other)
{
	char byte = 'x';
	IS(write(other, &byte, 1), 1);
	sleep_ms(5);
	FAILS(sem_trywait(&came), EAGAIN);
	IS(read(fd, &byte, 1), 1);
}

static void own(int fd, int type, int id)
{
	struct f_owner_ex owner = { type, id };
	IS(fcntl(fd, F_SETOWN_EX, &owner), 0);
}

static void owner_is(int fd, int type, int id)
{
	struct f_owner_ex owner = { 77, 77 };
	IS(fcntl(fd, F_GETOWN_EX, &owner), 0);
	IS(owner.type, type);
	IS(owner.pid, id);
	IS(fcntl(fd, F_GETOWN), id);
}

static void of_pipes(void)
{
	int a[2], b[2], first = workers[0].tid, second = workers[1].tid, me = gettid();
	IS(pipe(a), 0);
	IS(pipe(b), 0);
	own(a[0], F_OWNER_TID, first);
	IS(fcntl(a[0], F_SETFL, O_ASYNC), 0);
	arrives(a[0], a[1], first, SIGIO, SI_KERNEL);
	owner_is(a[0], F_OWNER_TID, first);
	own(a[0], F_OWNER_TID, second);
	arrives(a[0], a[1], second, SIGIO, SI_KERNEL);
	own(a[0], F_OWNER_TID, me);
	arrives(a[0], a[1], me, SIGIO, SI_KERNEL);
	owner_is(a[0], F_OWNER_TID, me);
	puts("SIGIO");
	IS(fcntl(a[0], F_SETSIG, SIGIO), 0);
	own(b[0], F_OWNER_TID, second);
	IS(fcntl(b[0], F_SETSIG, SIGRTMIN + 1), 0);
	IS(fcntl(b[0], F_SETFL, O_ASYNC), 0);
	for (int i = 0; i < 3; i++) {
		own(a[0], F_OWNER_TID, workers[i % 2].tid);
		own(b[0], F_OWNER_TID, workers[(i + 1) % 2].tid);
		arrives(a[0], a[1], workers[i % 2].tid, SIGIO, POLL_IN);
		arrives(b[0], b[1], workers[(i + 1) % 2].tid, SIGRTMIN + 1, POLL_IN);
	}
	own(a[0], F_OWNER_PID, first);
	arrives_first(a[0], a[1], first, SIGIO, POLL_IN);
	IS(fcntl(b[0], F_SETOWN, second), 0);
	arrives_first(b[0], b[1], second, SIGRTMIN + 1, POLL_IN);
	/* Its own codes would be mistaken. */
	IS(fcntl(b[0], F_SETSIG, SIGCHLD), 0);
	arrives_first(b[0], b[1], second, SIGCHLD, SI_SIGIO);
	own(a[0], F_OWNER_PID, getpid());
	owner_is(a[0], F_OWNER_PID, getpid());
	own(a[0], F_OWNER_PGRP, first);
	does_not_arrive(a[0], a[1]);
	own(a[0], F_OWNER_PID, 0);
	owner_is(a[0], F_OWNER_PID, 0);
	does_not_arrive(a[0], a[1]);
	puts("F_SETSIG");
	own(a[0], F_OWNER_TID, first);
	struct f_owner_ex owner = { F_OWNER_TID, NO_THREAD };
	FAILS(fcntl(a[0], F_SETOWN_EX, &owner), ESRCH);
	owner.type = F_OWNER_PID;
	FAILS(fcntl(a[0], F_SETOWN_EX, &owner), ESRCH);
	owner = (struct f_owner_ex){ 7, first };
	FAILS(fcntl(a[0], F_SETOWN_EX, &owner), EINVAL);
	FAILS(fcntl(a[0], F_SETOWN_EX, unmapped), EFAULT);
	FAILS(fcntl(a[0], F_GETOWN_EX, unmapped), EFAULT);
	FAILS(fcntl(a[0], F_SETOWN, NO_THREAD), ESRCH);
	owner_is(a[0], F_OWNER_TID, first);
	owner.type = F_OWNER_TID;
	IS(close(a[0]), 0);
	FAILS(fcntl(a[0], F_SETOWN_EX, &owner), EBADF);
	FAILS(fcntl(a[0], F_SETOWN, first), EBADF);
	FAILS(fcntl(a[0], F_GETOWN), EBADF);
	IS(close(a[1]), 0);
	IS(pipe(a), 0);
	owner_is(a[0], F_OWNER_TID, 0);
	puts("errors");
	for (int i = 0; i < 2; i++) {
		close(a[i]);
		close(b[i]);
	}
}

static void of_sockets(void)
{
	int pair[2], plain[2], id, first = workers[0].tid;
	IS(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	IS(pipe(plain), 0);
	for (int i = 0; i < 2; i++) {
		id = first;
		IS(ioctl(pair[0], i ? SIOCSPGRP_NR : FIOSETOWN_NR, &id), 0);
		IS(id, first);
		IS(fcntl(pair[0], F_SETFL, O_ASYNC | O_RDWR), 0);
		arrives_first(pair[0], pair[1], first, SIGIO, SI_KERNEL);
		FAILS(ioctl(plain[0], i ? SIOCSPGRP_NR : FIOSETOWN_NR, &id), ENOTTY);
	}
	FAILS(ioctl(pair[0], FIOSETOWN_NR, unmapped), EFAULT);
	own(pair[0], F_OWNER_TID, first);
	id = 0;
	IS(ioctl(pair[0], FIOGETOWN_NR, &id), 0);
	IS(id, first);
	id = 0;
	IS(ioctl(pair[0], SIOCGPGRP_NR, &id), 0);
	IS(id, first);
	FAILS(ioctl(pair[0], FIOGETOWN_NR, unmapped), EFAULT);
	own(plain[0], F_OWNER_TID, first);
	FAILS(ioctl(plain[0], FIOGETOWN_NR, &id), ENOTTY);
	id = NO_THREAD;
	FAILS(ioctl(pair[0], FIOSETOWN_NR, &id), ESRCH);
	id = getpid();
	IS(ioctl(pair[0], FIOSETOWN_NR, &id), 0);
	IS(fcntl(pair[0], F_GETOWN), getpid());
	puts("sockets");
	for (int i = 0; i < 2; i++) {
		close(pair[i]);
		close(plain[i]);
	}
}

static void *blocks(void *raw)
{
	struct worker *worker = raw;
	sigset_t set, pending;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 1);
	sigaddset(&set, SIGRTMIN + 2);
	OK(pthread_sigmask(SIG_BLOCK, &set, NULL));
	parks(raw);
	do
		IS(sigpending(&pending), 0);
	while (sigismember(&pending, SIGRTMIN + 1) != 1);
	OK(pthread_sigmask(SIG_UNBLOCK, &set, NULL));
	for (int count = 0; count < 2;)
		IS(sem_getvalue(&came, &count), 0);
	IS(atomic_load(&taken_by), atomic_load(&worker->tid));
	return NULL;
}

/* Only its owner gets it, whoever else does not block it. */
static void of_one_that_blocks(void)
{
	int ends[2], tid = start_worker(&workers[2], blocks);
	char byte = 'x';
	IS(pipe(ends), 0);
	own(ends[0], F_OWNER_TID, tid);
	IS(fcntl(ends[0], F_SETSIG, SIGRTMIN + 1), 0);
	IS(fcntl(ends[0], F_SETFL, O_ASYNC), 0);
	does_not_arrive(ends[0], ends[1]);
	IS(write(ends[1], &byte, 1), 1);
	end_worker(&workers[2]);
	IS(sem_wait(&came), 0);
	IS(sem_wait(&came), 0);
	IS(read(ends[0], &byte, 1), 1);
	/* It has ended. */
	does_not_arrive(ends[0], ends[1]);
	owner_is(ends[0], F_OWNER_TID, 0);
	puts("blocked");
	close(ends[0]);
	close(ends[1]);
}

static int waited_for[2];

static void *waits(void *raw)
{
	struct worker *worker = raw;
	sigset_t set;
	siginfo_t info;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 3);
	OK(pthread_sigmask(SIG_BLOCK, &set, NULL));
	atomic_store(&worker->tid, gettid());
	own(waited_for[0], F_OWNER_TID, gettid());
	IS(fcntl(waited_for[0], F_SETSIG, SIGRTMIN + 3), 0);
	IS(fcntl(waited_for[0], F_SETFL, O_ASYNC), 0);
	IS(sem_post(&came), 0);
	for (int i = 0; i < 3; i++) {
		IS(sigwaitinfo(&set, &info), SIGRTMIN + 3);
		IS(info.si_fd, waited_for[0]);
		IS(info.si_code, POLL_IN);
	}
	return NULL;
}

/* A signal without a handler, which only its owner blocks. */
static void of_one_that_waits(void)
{
	IS(pipe(waited_for), 0);
	start_worker(&workers[2], waits);
	for (int i = 0; i < 3; i++) {
		IS(write(waited_for[1], "x", 1), 1);
		sleep_ms(1);
	}
	end_worker(&workers[2]);
	puts("sigwaitinfo");
	close(waited_for[0]);
	close(waited_for[1]);
}

static void *all(void *unused)
{
	of_pipes();
	of_sockets();
	of_one_that_blocks();
	of_one_that_waits();
	return unused;
}

int main(void)
{
	struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART };
	IS(sigaction(SIGIO, &action, NULL), 0);
	IS(sigaction(SIGCHLD, &action, NULL), 0);
	IS(sigaction(SIGRTMIN + 1, &action, NULL), 0);
	IS(sem_init(&came, 0, 0), 0);
	start_worker(&workers[0], parks);
	start_worker(&workers[1], parks);
	all(NULL);
	join(start(all, NULL));
	end_worker(&workers[0]);
	end_worker(&workers[1]);
	return 0;
}
