// A thread for each of many names: `many COUNT REST`, the names being h0.REST, h1.REST, …
#include "../net.h"
#include <netdb.h>

static const char *rest;

static void *body(void *number)
{
	struct addrinfo hints = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM }, *found;
	char name[200], *text = malloc(300);
	snprintf(name, sizeof name, "h%ld.%s", (long)number, rest);
	int error = getaddrinfo(name, "http", &hints, &found);
	if (error) {
		snprintf(text, 300, "%s: %s", name, gai_strerror(error));
		return text;
	}
	char address[INET_ADDRSTRLEN];
	struct sockaddr_in *first = (struct sockaddr_in *)found->ai_addr;
	inet_ntop(AF_INET, &first->sin_addr, address, sizeof address);
	snprintf(text, 300, "%s: %s port %d", name, address, ntohs(first->sin_port));
	freeaddrinfo(found);
	return text;
}

int main(int argc, char **argv)
{
	CHECK(argc == 3);
	long count = atol(argv[1]);
	rest = argv[2];
	pthread_t threads[count];
	for (long i = 0; i < count; i++)
		threads[i] = start(body, (void *)i);
	for (long i = 0; i < count; i++) {
		char *text = join(threads[i]);
		puts(text);
		free(text);
	}
	return 0;
}
