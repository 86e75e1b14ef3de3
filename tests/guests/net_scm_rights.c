// A descriptor received over SCM_RIGHTS works in the thread that got it, parked reads included.
#include "net.h"
#include <sys/wait.h>

static void send_fd(int through, int fd)
{
	char byte = 'f', control[CMSG_SPACE(sizeof fd)] = { 0 };
	struct iovec part = { &byte, 1 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control,
				  .msg_controllen = sizeof control };
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(header), &fd, sizeof fd);
	IS(sendmsg(through, &message, 0), 1);
}

static int receive_fd(int through)
{
	int fd;
	char byte, control[CMSG_SPACE(sizeof fd)];
	struct iovec part = { &byte, 1 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control,
				  .msg_controllen = sizeof control };
	IS(recvmsg(through, &message, MSG_CMSG_CLOEXEC), 1);
	IS(byte, 'f');
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	CHECK(header && header->cmsg_type == SCM_RIGHTS);
	memcpy(&fd, CMSG_DATA(header), sizeof fd);
	IS(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	return fd;
}

static int pair[2];

static void *receives(void *unused)
{
	char text[10] = { 0 };
	(void)unused;
	int fd = receive_fd(pair[0]);
	IS(read(fd, text, sizeof text), 5);
	printf("through it came %s\n", text);
	close(fd);
	return NULL;
}

int main(void)
{
	int ends[2];
	IS(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	pthread_t thread = start(receives, NULL);
	IS(pipe(ends), 0);
	send_fd(pair[1], ends[0]);
	close(ends[0]);
	IS(write(ends[1], "hello", 5), 5);
	join(thread);

	thread = start(receives, NULL);
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		IS(pipe(ends), 0);
		send_fd(pair[1], ends[0]);
		IS(write(ends[1], "child", 5), 5);
		_exit(0);
	}
	join(thread);
	int status;
	IS(waitpid(child, &status, 0), child);
	IS(status, 0);
	return 0;
}
