// Unix sockets between threads: stream, datagram and seqpacket, by name, abstract and as pairs.
#include "net.h"
#include <stddef.h>

static struct sockaddr_un server_address;
static socklen_t server_length;

static void *client(void *raw)
{
	int type = (int)(intptr_t)raw;
	int fd = socket(AF_UNIX, type, 0);
	char text[64] = { 0 };
	IS(connect(fd, (struct sockaddr *)&server_address, server_length), 0);
	IS(write(fd, "hello", 5), 5);
	IS(write(fd, "there", 5), 5);
	if (type != SOCK_DGRAM) {
		IS(recv(fd, text, sizeof text, 0), 4);
		CHECK(!strcmp(text, "back"));
	}
	IS(close(fd), 0);
	return NULL;
}

static void serve(int type, const char *name)
{
	int fd = socket(AF_UNIX, type, 0);
	char text[64] = { 0 };
	CHECK(fd >= 0);
	server_address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	int length = snprintf(server_address.sun_path + 1, sizeof server_address.sun_path - 1,
			      "guest-%d-%s", getpid(), name);
	server_length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
	IS(bind(fd, (struct sockaddr *)&server_address, server_length), 0);
	int connection = fd;
	if (type != SOCK_DGRAM)
		IS(listen(fd, 5), 0);
	pthread_t thread = start(client, (void *)(intptr_t)type);
	if (type != SOCK_DGRAM)
		connection = accept(fd, NULL, NULL);
	CHECK(connection >= 0);
	if (type == SOCK_STREAM) {
		IS(recv(connection, text, 10, MSG_WAITALL), 10);
		CHECK(!strcmp(text, "hellothere"));
	} else {
		IS(recv(connection, text, sizeof text, 0), 5);
		CHECK(!strcmp(text, "hello"));
		IS(recv(connection, text, 2, 0), 2); /* the rest of the packet is lost */
		CHECK(!strncmp(text, "th", 2));
	}
	if (type != SOCK_DGRAM) {
		IS(send(connection, "back", 4, 0), 4);
		IS(recv(connection, text, sizeof text, 0), 0);
		IS(close(connection), 0);
	}
	join(thread);
	IS(close(fd), 0);
	printf("%s by name\n", name);
}

static void *echoes(void *raw)
{
	int fd = (int)(intptr_t)raw;
	char text[100];
	ssize_t length;
	while ((length = read(fd, text, sizeof text)) > 0)
		IS(write(fd, text, (size_t)length), length);
	IS(length, 0);
	close(fd);
	return NULL;
}

static void pair(int type, const char *name)
{
	int ends[2];
	char text[100];
	IS(socketpair(AF_UNIX, type, 0, ends), 0);
	pthread_t thread = start(echoes, (void *)(intptr_t)ends[1]);
	for (int i = 0; i < 200; i++) {
		char sent[32];
		int length = snprintf(sent, sizeof sent, "message %d", i);
		IS(write(ends[0], sent, (size_t)length), length);
		IS(read(ends[0], text, sizeof text), length);
		CHECK(!memcmp(text, sent, (size_t)length));
	}
	if (type == SOCK_DGRAM)
		IS(write(ends[0], "", 0), 0); /* an empty datagram reads as 0 */
	else
		IS(close(ends[0]), 0);
	join(thread);
	printf("%s pair\n", name);
}

int main(void)
{
	serve(SOCK_STREAM, "stream");
	serve(SOCK_DGRAM, "dgram");
	serve(SOCK_SEQPACKET, "seqpacket");
	pair(SOCK_STREAM, "stream");
	pair(SOCK_DGRAM, "dgram");
	pair(SOCK_SEQPACKET, "seqpacket");
	return 0;
}
