// guest: limit=60
// Waits for sets, signals, children, time and futexes, each by one thread while another ticks.
// covers: poll ppoll select pselect6 epoll_wait epoll_pwait epoll_pwait2 nanosleep clock_nanosleep
// covers: pause rt_sigtimedwait rt_sigsuspend wait4 waitid futex futex_waitv futex_wait
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/wait.h>
#include "matrix.h"

#ifndef SYS_futex_wait
#define SYS_futex_wait 455
#endif
#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

static int ends[2], epoll;
static uint32_t word;
static pid_t child;
static pthread_t self;
static struct timespec block_time = { 0, BLOCK_MS * MS };

static void drained(void)
{
	char byte;
	struct pollfd readable = { ends[0], POLLIN, 0 };
	while (poll(&readable, 1, 0) == 1)
		IS(read(ends[0], &byte, 1), 1);
}

static void feed(void) { IS(write(ends[1], "x", 1), 1); }
static struct pollfd one(void) { return (struct pollfd){ ends[0], POLLIN, 0 }; }
static void do_poll(void) { struct pollfd p = one(); IS(syscall(SYS_poll, &p, 1, -1), 1); }
static void do_ppoll(void) { struct pollfd p = one(); IS(syscall(SYS_ppoll, &p, 1, NULL, NULL, 8), 1); }

static void do_select(void)
{
	fd_set set;
	FD_ZERO(&set);
	FD_SET(ends[0], &set);
	IS(syscall(SYS_select, ends[0] + 1, &set, NULL, NULL, NULL), 1);
}

static void do_pselect6(void)
{
	fd_set set;
	FD_ZERO(&set);
	FD_SET(ends[0], &set);
	IS(syscall(SYS_pselect6, ends[0] + 1, &set, NULL, NULL, NULL, NULL), 1);
}

static void do_epoll_wait(void) { struct epoll_event e; IS(syscall(SYS_epoll_wait, epoll, &e, 1, -1), 1); }
static void do_epoll_pwait(void) { struct epoll_event e; IS(syscall(SYS_epoll_pwait, epoll, &e, 1, -1, NULL, 8), 1); }
static void do_epoll_pwait2(void) { struct epoll_event e; IS(syscall(SYS_epoll_pwait2, epoll, &e, 1, NULL, NULL, 8), 1); }
static void do_nanosleep(void) { IS(syscall(SYS_nanosleep, &block_time, NULL), 0); }
static void do_clock_nanosleep(void) { IS(syscall(SYS_clock_nanosleep, CLOCK_BOOTTIME, 0, &block_time, NULL), 0); }

static void handler(int number)
{
	(void)number;
}

static void note_self(void) { self = pthread_self(); }
static void send_signal(void) { OK(pthread_kill(self, SIGUSR1)); }
static void do_pause(void) { FAILS(syscall(SYS_pause), EINTR); }

static void do_sigsuspend(void)
{
	uint64_t none = 0;
	FAILS(syscall(SYS_rt_sigsuspend, &none, 8), EINTR);
}

static void do_sigtimedwait(void)
{
	uint64_t usr2 = UINT64_C(1) << (SIGUSR2 - 1);
	FAILS(syscall(SYS_rt_sigtimedwait, &usr2, NULL, &block_time, 8), EAGAIN);
}

static void make_child(void)
{
	child = fork();
	if (child == 0) {
		pause();
		_exit(0);
	}
	CHECK(child > 0);
}

static void kill_child(void) { IS(kill(child, SIGKILL), 0); }
static void do_wait4(void) { IS(syscall(SYS_wait4, child, NULL, 0, NULL), child); }
static void do_waitid(void) { IS(syscall(SYS_waitid, P_ALL, 0, NULL, WEXITED, NULL), 0); }
static void do_futex(void) { FAILS(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &block_time), ETIMEDOUT); }

static struct timespec later(void) { return in_ms(CLOCK_MONOTONIC, BLOCK_MS); }

static void do_futex_waitv(void)
{
	struct { uint64_t value, address; uint32_t flags, reserved; } one_word = { 0, (uintptr_t)&word, 2 | 128, 0 };
	struct timespec until = later();
	errno = 0;
	CHECK(syscall(SYS_futex_waitv, &one_word, 1, 0, &until, CLOCK_MONOTONIC) == -1);
	if (errno == ENOSYS)
		sleep_ms(BLOCK_MS);
	else
		CHECK(errno == ETIMEDOUT);
}

static void do_futex_wait(void)
{
	struct timespec until = later();
	errno = 0;
	CHECK(syscall(SYS_futex_wait, &word, 0UL, 1UL, 2 | 128, &until, CLOCK_MONOTONIC) == -1);
	if (errno == ENOSYS)
		sleep_ms(BLOCK_MS);
	else
		CHECK(errno == ETIMEDOUT);
}

int main(void)
{
	static const struct cell cells[] = {
		{ "poll", drained, do_poll, feed },
		{ "ppoll", drained, do_ppoll, feed },
		{ "select", drained, do_select, feed },
		{ "pselect6", drained, do_pselect6, feed },
		{ "epoll_wait", drained, do_epoll_wait, feed },
		{ "epoll_pwait", drained, do_epoll_pwait, feed },
		{ "epoll_pwait2", drained, do_epoll_pwait2, feed },
		{ "nanosleep", NULL, do_nanosleep, NULL },
		{ "clock_nanosleep", NULL, do_clock_nanosleep, NULL },
		{ "pause", note_self, do_pause, send_signal },
		{ "rt_sigsuspend", note_self, do_sigsuspend, send_signal },
		{ "rt_sigtimedwait", NULL, do_sigtimedwait, NULL },
		{ "wait4", make_child, do_wait4, kill_child },
		{ "waitid", make_child, do_waitid, kill_child },
		{ "futex", NULL, do_futex, NULL },
		{ "futex_waitv", NULL, do_futex_waitv, NULL },
		{ "futex_wait", NULL, do_futex_wait, NULL },
	};
	struct sigaction action = { .sa_handler = handler };
	IS(sigaction(SIGUSR1, &action, NULL), 0);
	IS(pipe(ends), 0);
	epoll = epoll_create1(0);
	struct epoll_event readable = { .events = EPOLLIN };
	IS(epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &readable), 0);
	run_cells(cells, COUNT(cells));
	return 0;
}
