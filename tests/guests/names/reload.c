// resolv.conf changes while threads look names up: the next look-up asks the new server.
#include "../net.h"
#include <netdb.h>

static char *lookup(const char *name)
{
	struct addrinfo hints = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM }, *found;
	char *text = malloc(100);
	int error = getaddrinfo(name, NULL, &hints, &found);
	if (error) {
		snprintf(text, 100, "%s", gai_strerror(error));
		return text;
	}
	inet_ntop(AF_INET, &((struct sockaddr_in *)found->ai_addr)->sin_addr, text, 100);
	freeaddrinfo(found);
	return text;
}

static void *body(void *name)
{
	return lookup(name);
}

int main(void)
{
	for (int server = 1; server <= 3; server++) {
		FILE *file = fopen("/etc/resolv.conf", "w");
		CHECK(file);
		fprintf(file, "nameserver 127.0.0.%d\n", server);
		/* Of another length each time: the clock of the file system may be coarse. */
		fprintf(file, "# %.*s\n", server, "###");
		CHECK(fclose(file) == 0);
		pthread_t threads[5];
		for (int i = 0; i < 5; i++)
			threads[i] = start(body, "h4.delay-5.test");
		for (int i = 0; i < 5; i++) {
			char *text = join(threads[i]);
			printf("after change %d: %s\n", server, text);
			free(text);
		}
	}
	return 0;
}
