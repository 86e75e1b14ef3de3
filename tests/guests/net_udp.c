// UDP: request and answer between threads, a connected socket's refusal, addresses, broadcast of none.
#include "net.h"

enum { CLIENTS = 10, ROUNDS = 30 };

static struct sockaddr_in server_address;

static void *server(void *raw)
{
	int fd = (int)(intptr_t)raw;
	for (;;) {
		struct sockaddr_in peer;
		socklen_t length = sizeof peer;
		char text[64];
		ssize_t size = recvfrom(fd, text, sizeof text, 0, (struct sockaddr *)&peer, &length);
		CHECK(size >= 0 && length == sizeof peer);
		if (size == 0)
			return NULL;
		IS(sendto(fd, text, (size_t)size, 0, (struct sockaddr *)&peer, length), size);
	}
}

static void *client(void *raw)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	IS(connect(fd, (struct sockaddr *)&server_address, sizeof server_address), 0);
	for (int i = 0; i < ROUNDS; i++) {
		char text[64], back[64];
		int length = snprintf(text, sizeof text, "%ld %d", (long)(intptr_t)raw, i);
		IS(send(fd, text, (size_t)length, 0), length);
		IS(recv(fd, back, sizeof back, 0), length);
		CHECK(!memcmp(text, back, (size_t)length));
	}
	close(fd);
	return NULL;
}

int main(void)
{
	int fd = udp_bound(&server_address);
	pthread_t serving = start(server, (void *)(intptr_t)fd), clients[CLIENTS];
	for (intptr_t i = 0; i < CLIENTS; i++)
		clients[i] = start(client, (void *)i);
	for (int i = 0; i < CLIENTS; i++)
		join(clients[i]);
	IS(sendto(fd, "", 0, 0, (struct sockaddr *)&server_address, sizeof server_address), 0);
	join(serving);
	puts("answered");

	struct sockaddr_in nobody;
	close(udp_bound(&nobody));
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	IS(connect(fd, (struct sockaddr *)&nobody, sizeof nobody), 0);
	IS(send(fd, "x", 1, 0), 1);
	char byte;
	FAILS(recv(fd, &byte, 1, 0), ECONNREFUSED);
	puts("refused");
	return 0;
}
