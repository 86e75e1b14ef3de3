// accept4's flags, and two threads parked in accept on one listener: each gets a connection.
#include "net.h"

static int listener;

static void *accepts(void *unused)
{
	(void)unused;
	int fd = accept(listener, NULL, NULL);
	CHECK(fd >= 0);
	char byte;
	IS(read(fd, &byte, 1), 1);
	IS(write(fd, &byte, 1), 1);
	IS(close(fd), 0);
	return NULL;
}

int main(void)
{
	struct sockaddr_in address;
	listener = tcp_listener(&address, 50);
	static const int flags[] = { 0, SOCK_NONBLOCK, SOCK_CLOEXEC, SOCK_NONBLOCK | SOCK_CLOEXEC };
	for (size_t i = 0; i < COUNT(flags); i++) {
		int client = tcp_connected(&address);
		int fd = accept4(listener, NULL, NULL, flags[i]);
		CHECK(fd >= 0);
		IS(fcntl(fd, F_GETFL) & O_NONBLOCK ? SOCK_NONBLOCK : 0, flags[i] & SOCK_NONBLOCK);
		IS(fcntl(fd, F_GETFD) & FD_CLOEXEC ? SOCK_CLOEXEC : 0, flags[i] & SOCK_CLOEXEC);
		close(fd);
		close(client);
	}
	puts("flags");
	pthread_t threads[10];
	int clients[10];
	for (int i = 0; i < 10; i++)
		threads[i] = start(accepts, NULL);
	for (int i = 0; i < 10; i++)
		clients[i] = tcp_connected(&address);
	for (int i = 9; i >= 0; i--) {
		char byte = (char)i;
		IS(write(clients[i], &byte, 1), 1);
	}
	for (int i = 0; i < 10; i++) {
		char byte;
		IS(read(clients[i], &byte, 1), 1);
		IS(byte, i);
		join(threads[i]);
	}
	puts("ten accepted");
	return 0;
}
