// Sockets the program made non-blocking: EAGAIN, EINPROGRESS, SO_ERROR, EALREADY, EISCONN.
#include "net.h"
#include <poll.h>

int main(void)
{
	struct ticker ticker;
	struct sockaddr_in address;
	char text[10];
	ticker_start(&ticker);
	int listener = tcp_listener(&address, 5);
	IS(fcntl(listener, F_SETFL, O_NONBLOCK), 0);
	FAILS(accept(listener, NULL, NULL), EAGAIN);
	FAILS(accept4(listener, NULL, NULL, SOCK_CLOEXEC), EAGAIN);
	puts("accept");

	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	FAILS(connect(fd, (struct sockaddr *)&address, sizeof address), EINPROGRESS);
	struct pollfd ready = { fd, POLLOUT, 0 };
	IS(poll(&ready, 1, 30000), 1);
	IS(ready.revents, POLLOUT);
	int error = -1;
	socklen_t length = sizeof error;
	IS(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length), 0);
	IS(error, 0);
	IS(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
	FAILS(connect(fd, (struct sockaddr *)&address, sizeof address), EISCONN);
	FAILS(recv(fd, text, sizeof text, 0), EAGAIN);
	FAILS(read(fd, text, sizeof text), EAGAIN);
	ready = (struct pollfd){ listener, POLLIN, 0 };
	IS(poll(&ready, 1, 30000), 1);
	int served = accept(listener, NULL, NULL);
	CHECK(served >= 0);
	IS(fcntl(served, F_GETFL) & O_NONBLOCK, 0); /* not inherited on Linux */
	net_fill(fd);
	puts("connect and stream");

	/* A port that was bound and closed: nobody listens there. */
	struct sockaddr_in nobody;
	close(tcp_listener(&nobody, 1));
	fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	int result = connect(fd, (struct sockaddr *)&nobody, sizeof nobody);
	CHECK(result == -1 && (errno == EINPROGRESS || errno == ECONNREFUSED));
	if (errno == EINPROGRESS) {
		ready = (struct pollfd){ fd, POLLOUT, 0 };
		IS(poll(&ready, 1, 30000), 1);
		CHECK(ready.revents & POLLERR);
		IS(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length), 0);
		IS(error, ECONNREFUSED);
	}
	puts("refused");

	struct sockaddr_in bound;
	int udp = udp_bound(&bound);
	IS(ioctl(udp, FIONBIO, &(int){ 1 }), 0);
	FAILS(recvfrom(udp, text, sizeof text, 0, NULL, NULL), EAGAIN);
	IS(ioctl(udp, FIONBIO, &(int){ 0 }), 0);
	FAILS(recvfrom(udp, text, sizeof text, MSG_DONTWAIT, NULL, NULL), EAGAIN);
	puts("datagrams");
	sleep_ms(250);
	ticker_check(&ticker, "none of them");
	return 0;
}
