// A TCP echo server with a thread per connection serves 50 clients, each a thread.
#include "guest.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

enum { CLIENTS = 50, ROUNDS = 20 };

static struct sockaddr_in address;

static void *serve(void *raw)
{
	int fd = (int)(intptr_t)raw;
	char text[256];
	ssize_t length;
	while ((length = recv(fd, text, sizeof text, 0)) > 0)
		IS(send(fd, text, (size_t)length, 0), length);
	IS(length, 0);
	IS(close(fd), 0);
	return NULL;
}

static void *accept_all(void *raw)
{
	int listener = (int)(intptr_t)raw;
	pthread_t served[CLIENTS];
	for (int i = 0; i < CLIENTS; i++) {
		struct sockaddr_in peer;
		socklen_t length = sizeof peer;
		int fd = accept(listener, (struct sockaddr *)&peer, &length);
		CHECK(fd >= 0);
		CHECK(length == sizeof peer && peer.sin_addr.s_addr == htonl(INADDR_LOOPBACK));
		served[i] = start(serve, (void *)(intptr_t)fd);
	}
	for (int i = 0; i < CLIENTS; i++)
		join(served[i]);
	return NULL;
}

static void *client(void *raw)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(fd >= 0);
	IS(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
	for (int i = 0; i < ROUNDS; i++) {
		char text[64], back[64];
		int length = snprintf(text, sizeof text, "client %d round %d", (int)(intptr_t)raw, i);
		IS(write(fd, text, (size_t)length), length);
		IS(recv(fd, back, (size_t)length, MSG_WAITALL), length);
		CHECK(!memcmp(text, back, (size_t)length));
	}
	IS(shutdown(fd, SHUT_WR), 0);
	char last;
	IS(read(fd, &last, 1), 0);
	IS(close(fd), 0);
	return (void *)(intptr_t)ROUNDS;
}

int main(void)
{
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t length = sizeof address;
	address.sin_family = AF_INET;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	IS(bind(listener, (struct sockaddr *)&address, length), 0);
	IS(listen(listener, 128), 0);
	IS(getsockname(listener, (struct sockaddr *)&address, &length), 0);
	pthread_t server = start(accept_all, (void *)(intptr_t)listener);
	pthread_t clients[CLIENTS];
	long rounds = 0;
	for (intptr_t i = 0; i < CLIENTS; i++)
		clients[i] = start(client, (void *)i);
	for (int i = 0; i < CLIENTS; i++)
		rounds += (long)join(clients[i]);
	join(server);
	printf("%ld rounds echoed\n", rounds);
	return 0;
}
