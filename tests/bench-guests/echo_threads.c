/* An echo server with one POSIX thread for each connection.
 *
 * usage: echo_threads [port]     (0 or none: the kernel chooses)
 * Listens on 127.0.0.1 and prints "port N" once it does. Runs until killed.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static void die(const char *what, int error)
{
	fprintf(stderr, "echo_threads: %s: %s\n", what, strerror(error));
	exit(1);
}

static void *serve(void *arg)
{
	int fd = (int)(intptr_t)arg;
	char buffer[4096];

	for (;;) {
		ssize_t got = read(fd, buffer, sizeof buffer);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		for (ssize_t sent = 0; sent < got;) {
			ssize_t n = write(fd, buffer + sent, got - sent);
			if (n < 0 && errno == EINTR)
				continue;
			if (n < 0)
				goto out;
			sent += n;
		}
	}
out:
	close(fd);
	return NULL;
}

int main(int argc, char **argv)
{
	struct rlimit files;
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons(argc > 1 ? atoi(argv[1]) : 0),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t length = sizeof address;
	pthread_attr_t attributes;
	int one = 1;

	signal(SIGPIPE, SIG_IGN);
	if (getrlimit(RLIMIT_NOFILE, &files) != 0)
		die("getrlimit", errno);
	files.rlim_cur = files.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &files) != 0)
		die("setrlimit", errno);

	int listener = socket(AF_INET, SOCK_STREAM, 0);
	if (listener < 0)
		die("socket", errno);
	if (setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0)
		die("setsockopt", errno);
	if (bind(listener, (struct sockaddr *)&address, length) != 0)
		die("bind", errno);
	if (listen(listener, 4096) != 0)
		die("listen", errno);
	if (getsockname(listener, (struct sockaddr *)&address, &length) != 0)
		die("getsockname", errno);
	printf("port %d\n", ntohs(address.sin_port));
	fflush(stdout);

	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	for (;;) {
		pthread_t thread;
		int fd = accept(listener, NULL, NULL);
		if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
			continue;
		if (fd < 0)
			die("accept", errno);
		int error = pthread_create(&thread, &attributes, serve, (void *)(intptr_t)fd);
		if (error != 0)
			die("pthread_create", error);
	}
}
