// Errors of socket calls: refused, reset, broken pipe, not connected, not a socket, bad arguments.
#include "net.h"
#include <signal.h>

static atomic_int pipes;

static void count_pipe(int signal)
{
	(void)signal;
	atomic_fetch_add(&pipes, 1);
}

static void *body(void *unused)
{
	struct sockaddr_in nobody;
	int ends[2];
	char text[10];
	(void)unused;
	close(tcp_listener(&nobody, 1));
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	FAILS(connect(fd, (struct sockaddr *)&nobody, sizeof nobody), ECONNREFUSED);
	FAILS(recv(fd, text, sizeof text, 0), ENOTCONN);
	FAILS(accept(fd, NULL, NULL), EINVAL);
	FAILS(send(fd, text, 1, MSG_NOSIGNAL), EPIPE);
	struct sockaddr_un missing = { .sun_family = AF_UNIX, .sun_path = "/nonexistent/socket" };
	int local = socket(AF_UNIX, SOCK_STREAM, 0);
	FAILS(connect(local, (struct sockaddr *)&missing, sizeof missing), ENOENT);
	FAILS(connect(fd, (struct sockaddr *)&nobody, 3), EINVAL);
	struct sockaddr_in wrong = nobody;
	wrong.sin_family = 99;
	FAILS(connect(fd, (struct sockaddr *)&wrong, sizeof wrong), EAFNOSUPPORT);

	tcp_pair(ends);
	struct linger at_once = { 1, 0 };
	IS(setsockopt(ends[1], SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
	IS(close(ends[1]), 0);
	FAILS(recv(ends[0], text, sizeof text, 0), ECONNRESET);
	IS(recv(ends[0], text, sizeof text, 0), 0);
	FAILS(send(ends[0], text, 1, MSG_NOSIGNAL), EPIPE);
	IS(atomic_load(&pipes), 0);
	FAILS(send(ends[0], text, 1, 0), EPIPE);
	IS(atomic_load(&pipes), 1);
	FAILS(write(ends[0], text, 1), EPIPE);
	IS(atomic_load(&pipes), 2);

	int plain[2];
	IS(pipe(plain), 0);
	FAILS(recv(plain[0], text, 1, 0), ENOTSOCK);
	FAILS(send(plain[1], text, 1, 0), ENOTSOCK);
	FAILS(accept(plain[0], NULL, NULL), ENOTSOCK);
	FAILS(connect(plain[0], (struct sockaddr *)&nobody, sizeof nobody), ENOTSOCK);
	FAILS(recv(12345, text, 1, 0), EBADF);
	FAILS(send(-1, text, 1, 0), EBADF);
	FAILS(accept(12345, NULL, NULL), EBADF);
	FAILS(connect(12345, (struct sockaddr *)&nobody, sizeof nobody), EBADF);
	FAILS(read(plain[1], text, 1), EBADF);
	FAILS(write(plain[0], text, 1), EBADF);
	tcp_pair(ends);
	IS(send(ends[1], "abc", 3, 0), 3);
	FAILS(recv(ends[0], unmapped, 3, 0), EFAULT);
	IS(recv(ends[0], text, 3, MSG_WAITALL), 3);
	FAILS(send(ends[0], unmapped, 3, 0), EFAULT);
	FAILS(recv(ends[0], text, 1, MSG_OOB), EINVAL);
	struct sockaddr_in address;
	int listener = tcp_listener(&address, 1);
	FAILS(accept4(listener, NULL, NULL, 0x10), EINVAL);
	return NULL;
}

int main(void)
{
	signal(SIGPIPE, count_pipe);
	body(NULL);
	atomic_store(&pipes, 0);
	join(start(body, NULL));
	puts("every error");
	return 0;
}
