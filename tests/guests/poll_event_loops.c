// Threads with an event loop each: own epoll set, non-blocking sockets, time-outs, a peer in another process.
#include "net.h"
#include <sys/epoll.h>
#include <sys/wait.h>

enum { LOOPS = 4, CONNECTIONS = 5, ROUNDS = 200 };

static struct sockaddr_in address;

static void echo_process(int listener)
{
	int epoll = epoll_create1(0);
	struct epoll_event event = { EPOLLIN, { .fd = listener } };
	int open = LOOPS * CONNECTIONS;
	IS(epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event), 0);
	while (open > 0) {
		char text[64];
		IS(epoll_wait(epoll, &event, 1, -1), 1);
		int fd = event.data.fd;
		if (fd == listener) {
			event = (struct epoll_event){ EPOLLIN, { .fd = accept(listener, NULL, NULL) } };
			IS(epoll_ctl(epoll, EPOLL_CTL_ADD, event.data.fd, &event), 0);
			continue;
		}
		ssize_t length = read(fd, text, sizeof text);
		CHECK(length >= 0);
		if (length == 0) {
			close(fd);
			open--;
		} else {
			IS(write(fd, text, (size_t)length), length);
		}
	}
	_exit(0);
}

static void *loop(void *unused)
{
	struct epoll_event events[16];
	int epoll = epoll_create1(0), rounds[CONNECTIONS] = { 0 }, fds[CONNECTIONS], open = CONNECTIONS;
	(void)unused;
	for (int i = 0; i < CONNECTIONS; i++) {
		fds[i] = tcp_connected(&address);
		IS(fcntl(fds[i], F_SETFL, O_NONBLOCK), 0);
		struct epoll_event event = { EPOLLOUT, { .u32 = (uint32_t)i } };
		IS(epoll_ctl(epoll, EPOLL_CTL_ADD, fds[i], &event), 0);
	}
	while (open > 0) {
		int count = epoll_wait(epoll, events, 16, 250);
		CHECK(count >= 0);
		for (int i = 0; i < count; i++) {
			int which = (int)events[i].data.u32;
			struct epoll_event next = { EPOLLOUT, { .u32 = (uint32_t)which } };
			char text[64];
			if (events[i].events & EPOLLOUT) {
				IS(write(fds[which], "request", 7), 7);
				next.events = EPOLLIN;
			} else {
				IS(read(fds[which], text, sizeof text), 7);
				if (++rounds[which] == ROUNDS) {
					close(fds[which]);
					open--;
					continue;
				}
			}
			IS(epoll_ctl(epoll, EPOLL_CTL_MOD, fds[which], &next), 0);
		}
	}
	close(epoll);
	return (void *)(intptr_t)(CONNECTIONS * ROUNDS);
}

int main(void)
{
	pthread_t threads[LOOPS];
	long rounds = 0;
	int status, listener = tcp_listener(&address, 100);
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0)
		echo_process(listener);
	close(listener);
	for (int i = 0; i < LOOPS; i++)
		threads[i] = start(loop, NULL);
	for (int i = 0; i < LOOPS; i++)
		rounds += (long)join(threads[i]);
	IS(waitpid(child, &status, 0), child);
	IS(status, 0);
	printf("%ld rounds\n", rounds);
	return 0;
}
