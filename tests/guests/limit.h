/* Threads that wait in many ways while something runs out, and a filter that makes it run out. */
#ifndef LIMIT_H
#define LIMIT_H

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <semaphore.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "guest.h"

enum { ROUNDS = 200 };

static int pair[2], ends[2], set, locked, again;
static sem_t semaphore;

static void *answers(void *unused)
{
	uint32_t number;
	for (uint32_t i = 0; i < ROUNDS; i++) {
		IS(recv(pair[1], &number, sizeof number, 0), sizeof number);
		IS(number, i);
		IS(send(pair[1], &number, sizeof number, 0), sizeof number);
	}
	return unused;
}

static void *reads(void *unused)
{
	char byte;
	IS(read(ends[0], &byte, 1), 1);
	struct epoll_event event;
	IS(epoll_wait(set, &event, 1, -1), 1);
	CHECK(sem_post(&semaphore) == 0);
	return unused;
}

static void *locks(void *unused)
{
	IS(flock(again, LOCK_EX), 0);
	IS(flock(again, LOCK_UN), 0);
	return unused;
}

static void *waits_for_a_child(void *unused)
{
	int status;
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		sleep_ms(5);
		_exit(7);
	}
	IS(waitpid(child, &status, 0), child);
	IS(status, 7 << 8);
	return unused;
}

static atomic_bool spun;

static void *ends_the_spinning(void *unused)
{
	sleep_ms(5);
	atomic_store(&spun, true);
	return unused;
}

static void everything(void)
{
	pthread_t threads[] = { start(answers, NULL), start(reads, NULL), start(locks, NULL),
				start(waits_for_a_child, NULL), start(ends_the_spinning, NULL) };
	for (uint32_t i = 0, number; i < ROUNDS; i++) {
		IS(send(pair[0], &i, sizeof i, 0), sizeof i);
		struct pollfd one = { .fd = pair[0], .events = POLLIN };
		if (i % 2)
			IS(poll(&one, 1, -1), 1);
		IS(recv(pair[0], &number, sizeof number, 0), sizeof number);
		IS(number, i);
	}
	while (!atomic_load(&spun))
		;
	struct timespec soon = in_ms(CLOCK_REALTIME, 20);
	FAILS(sem_timedwait(&semaphore, &soon), ETIMEDOUT);
	CHECK(now_ns(CLOCK_REALTIME) >= soon.tv_sec * INT64_C(1000000000) + soon.tv_nsec);
	IS(write(ends[1], "ab", 2), 2);
	CHECK(sem_wait(&semaphore) == 0);
	IS(flock(locked, LOCK_UN), 0);
	for (size_t i = 0; i < COUNT(threads); i++)
		join(threads[i]);
	char byte;
	IS(read(ends[0], &byte, 1), 1);
	IS(byte, 'b');
	IS(flock(locked, LOCK_EX), 0);
	atomic_store(&spun, false);
}

/* What they wait for is opened while there is enough of everything. */
static void prepare(void)
{
	char name[] = "/tmp/limit.XXXXXX";
	locked = mkstemp(name);
	again = open(name, O_RDWR);
	CHECK(locked >= 0 && again >= 0);
	IS(unlink(name), 0);
	IS(flock(locked, LOCK_EX), 0);
	IS(pipe(ends), 0);
	IS(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	set = epoll_create1(0);
	struct epoll_event event = { .events = EPOLLIN };
	IS(epoll_ctl(set, EPOLL_CTL_ADD, ends[0], &event), 0);
	CHECK(sem_init(&semaphore, 0, 0) == 0);
}

/* The call with this number fails from here on, where bits of one of its arguments are set. */
UNUSED static void refuse(uint32_t number, int argument, uint32_t bits, uint32_t error)
{
	size_t low_half = offsetof(struct seccomp_data, args) + (size_t)argument * 8;
	struct sock_filter steps[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 4),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)low_half),
		BPF_STMT(BPF_ALU | BPF_AND | BPF_K, bits),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, bits, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { COUNT(steps), steps };
	IS(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	IS(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0), 0);
}

#endif
