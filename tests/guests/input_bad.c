// Bad pointers, descriptors and sizes for every waiting call: the kernel's errors, nothing lost, nothing twice.
#include "net.h"
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static int ends[2], channel[2], epoll, listener;
static char *readable, *nothing; /* a page that cannot be written, one that cannot be read */
static struct sockaddr_in address;

/* What comes after must find what was there before. */
static void still(int fd, const char *expected)
{
	char text[64];
	size_t length = strlen(expected);
	IS(read(fd, text, sizeof text), (long)length);
	CHECK(!memcmp(text, expected, length));
}

static void transfers(void *bad, void *unwritable)
{
	struct iovec good = { (char[8]){ 0 }, 8 }, wrong = { bad, 8 }, both[2] = { { good.iov_base, 2 }, wrong };
	struct iovec negative = { good.iov_base, (size_t)-1 };
	IS(write(ends[1], "abcdef", 6), 6);
	FAILS(read(ends[0], unwritable, 8), EFAULT);
	FAILS(syscall(SYS_readv, ends[0], bad, 1), EFAULT);
	FAILS(syscall(SYS_readv, ends[0], &wrong, 1), EFAULT);
	FAILS(syscall(SYS_readv, ends[0], &negative, 1), EINVAL);
	FAILS(syscall(SYS_readv, ends[0], &good, -1), EINVAL);
	FAILS(syscall(SYS_readv, ends[0], &good, 1025), EINVAL);
	FAILS(syscall(SYS_preadv2, ends[0], bad, 1, -1L, 0L, 0), EFAULT);
	FAILS(syscall(SYS_readv, ends[0], both, 2), EFAULT);
	still(ends[0], "abcdef");
	IS(write(ends[1], "", 0), 0);
	FAILS(write(ends[1], bad, 8), EFAULT);
	FAILS(syscall(SYS_writev, ends[1], bad, 1), EFAULT);
	FAILS(syscall(SYS_writev, ends[1], &wrong, 1), EFAULT);
	FAILS(syscall(SYS_pwritev2, ends[1], bad, 1, -1L, 0L, 0), EFAULT);

	FAILS(recv(channel[0], (char[1]){ 0 }, 1, MSG_DONTWAIT), EAGAIN);
	IS(send(channel[1], "abcdef", 6, 0), 6);
	FAILS(recv(channel[0], unwritable, 8, 0), EFAULT);
	FAILS(recvmsg(channel[0], bad, 0), EFAULT);
	struct msghdr message = { .msg_iov = bad, .msg_iovlen = 1 };
	FAILS(recvmsg(channel[0], &message, 0), EFAULT);
	FAILS(sendmsg(channel[0], &message, 0), EFAULT);
	message.msg_iov = &wrong;
	FAILS(recvmsg(channel[0], &message, 0), EFAULT);
	FAILS(sendmsg(channel[0], &message, 0), EFAULT);
	message.msg_iov = &good;
	message.msg_iovlen = 1025;
	FAILS(recvmsg(channel[0], &message, 0), EMSGSIZE);
	FAILS(sendmsg(channel[0], &message, 0), EMSGSIZE);
	FAILS(recvmmsg(channel[0], bad, 1, 0, NULL), EFAULT);
	FAILS(recvmmsg(channel[0], bad, 1, 0, bad), EFAULT);
	FAILS(sendmmsg(channel[0], bad, 1, 0), EFAULT);
	FAILS(sendmsg(channel[0], bad, 0), EFAULT);
	FAILS(send(channel[0], bad, 8, 0), EFAULT);
	still(channel[0], "abcdef");
	IS(recvmmsg(channel[0], NULL, 0, 0, NULL), 0);
	IS(sendmmsg(channel[0], NULL, 0, 0), 0);

	int client = tcp_connected(&address);
	FAILS(accept(listener, (struct sockaddr *)good.iov_base, bad), EFAULT);
	close(client);
	client = tcp_connected(&address);
	socklen_t negative_length = (socklen_t)-1;
	FAILS(accept(listener, (struct sockaddr *)good.iov_base, &negative_length), EINVAL);
	close(client);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	FAILS(connect(fd, bad, sizeof address), EFAULT);
	FAILS(connect(fd, (struct sockaddr *)&address, (socklen_t)-1), EINVAL);
	IS(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
	close(accept(listener, NULL, NULL));
	close(fd);
}

static void sets(void *bad, void *unwritable)
{
	struct timespec soon = { 0, 1000 }, wrong = { 0, -1 };
	struct pollfd none = { -1, POLLIN, 0 };
	struct epoll_event event;
	fd_set set;
	FAILS(poll(bad, 1, 10), EFAULT);
	FAILS(syscall(SYS_poll, &none, -1, 0), EINVAL);
	FAILS(syscall(SYS_ppoll, &none, 1, bad, NULL, 8), EFAULT);
	FAILS(syscall(SYS_ppoll, &none, 1, &soon, bad, 8), EFAULT);
	FAILS(syscall(SYS_ppoll, &none, 1, &soon, &set, 4), EINVAL);
	FAILS(syscall(SYS_ppoll, &none, 1, &wrong, NULL, 8), EINVAL);
	IS(syscall(SYS_ppoll, &none, 1, unwritable, NULL, 8), 0); /* the page holds zeros */
	FD_ZERO(&set);
	FAILS(syscall(SYS_select, 8, bad, NULL, NULL, NULL), EFAULT);
	FAILS(syscall(SYS_select, 8, NULL, NULL, NULL, bad), EFAULT);
	FAILS(syscall(SYS_select, -1, NULL, NULL, NULL, NULL), EINVAL);
	FAILS(syscall(SYS_pselect6, 0, NULL, NULL, NULL, bad, NULL), EFAULT);
	FAILS(syscall(SYS_pselect6, 0, NULL, NULL, NULL, &soon, bad), EFAULT);
	FAILS(syscall(SYS_pselect6, 0, NULL, NULL, NULL, &wrong, NULL), EINVAL);
	FAILS(syscall(SYS_select, 8, unwritable, NULL, NULL, &(struct timeval){ 0, 1000 }), EFAULT);
	FAILS(epoll_wait(epoll, &event, 0, 0), EINVAL);
	FAILS(epoll_wait(ends[0], &event, 1, 0), EINVAL);
	FAILS(epoll_wait(12345, &event, 1, -1), EBADF);
	FAILS(syscall(SYS_epoll_pwait2, epoll, &event, 1, bad, NULL, 8), EFAULT);
	FAILS(syscall(SYS_epoll_pwait2, epoll, &event, 1, &wrong, NULL, 8), EINVAL);
	FAILS(syscall(SYS_epoll_pwait, epoll, &event, 1, 10, bad, 8), EFAULT);
	FAILS(syscall(SYS_nanosleep, bad, NULL), EFAULT);
	FAILS(syscall(SYS_nanosleep, &wrong, NULL), EINVAL);
	IS(syscall(SYS_nanosleep, &soon, bad), 0); /* nothing is left to be told */
	FAILS(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, bad, NULL), EFAULT);
	FAILS(syscall(SYS_rt_sigtimedwait, bad, NULL, &soon, 8), EFAULT);
	FAILS(syscall(SYS_rt_sigtimedwait, &set, NULL, bad, 8), EFAULT);
	FAILS(syscall(SYS_rt_sigsuspend, bad, 8), EFAULT);
	FAILS(syscall(SYS_futex, &set, 0, 0, bad), EFAULT);
}

static void descriptors(void)
{
	static const int bad[] = { -1, 12345, INT_MAX, INT_MIN };
	struct msghdr message = { 0 };
	struct iovec part = { &message, 1 };
	for (size_t i = 0; i < COUNT(bad); i++) {
		FAILS(read(bad[i], &message, 1), EBADF);
		FAILS(write(bad[i], &message, 1), EBADF);
		FAILS(syscall(SYS_readv, bad[i], &part, 1), EBADF);
		FAILS(syscall(SYS_writev, bad[i], &part, 1), EBADF);
		FAILS(recv(bad[i], &message, 1, 0), EBADF);
		FAILS(send(bad[i], &message, 1, 0), EBADF);
		FAILS(recvmsg(bad[i], &message, 0), EBADF);
		FAILS(sendmsg(bad[i], &message, 0), EBADF);
		FAILS(accept(bad[i], NULL, NULL), EBADF);
		FAILS(connect(bad[i], (struct sockaddr *)&address, sizeof address), EBADF);
		FAILS(close(bad[i]), EBADF);
		FAILS(epoll_wait(bad[i], (struct epoll_event *)&message, 1, 0), EBADF);
	}
}

/* With no number left: accept says so, and the connection is there when there is one again. */
static void no_numbers(void)
{
	struct rlimit old, few;
	int spare = dup(0), taken[64], count = 0;
	IS(getrlimit(RLIMIT_NOFILE, &old), 0);
	int client = tcp_connected(&address);
	few = old;
	few.rlim_cur = (rlim_t)spare + 40;
	IS(setrlimit(RLIMIT_NOFILE, &few), 0);
	while (count < 64 && (taken[count] = dup(0)) >= 0)
		count++;
	CHECK(errno == EMFILE && count < 64);
	FAILS(accept(listener, NULL, NULL), EMFILE);
	FAILS(socket(AF_INET, SOCK_STREAM, 0), EMFILE);
	/* Waits need no number. */
	struct pollfd quiet = { ends[0], POLLIN, 0 };
	IS(poll(&quiet, 1, 20), 0);
	pid_t child = fork();
	if (child == 0)
		_exit(7);
	int status;
	IS(waitpid(child, &status, 0), child);
	IS(WEXITSTATUS(status), 7);
	while (count > 0)
		close(taken[--count]);
	IS(setrlimit(RLIMIT_NOFILE, &old), 0);
	int fd = accept(listener, NULL, NULL);
	CHECK(fd >= 0);
	close(fd);
	close(client);
	close(spare);
	puts("no numbers");
}

static void *body(void *unused)
{
	(void)unused;
	transfers(unmapped, readable);
	transfers(nothing, nothing);
	transfers((void *)(INTPTR_MIN + 4096), (void *)INTPTR_MIN);
	puts("transfers");
	sets(unmapped, readable);
	sets(nothing, readable);
	sets((void *)(INTPTR_MIN + 4096), readable);
	puts("sets");
	descriptors();
	puts("descriptors");
	no_numbers();
	return NULL;
}

int main(void)
{
	readable = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	nothing = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(readable != MAP_FAILED && nothing != MAP_FAILED);
	IS(pipe(ends), 0);
	IS(socketpair(AF_UNIX, SOCK_STREAM, 0, channel), 0);
	epoll = epoll_create1(0);
	listener = tcp_listener(&address, 10);
	body(NULL);
	join(start(body, NULL));
	return 0;
}
