// A parked call leaves the descriptor's flags as they are: nobody else may see O_NONBLOCK.
#include "guest.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

static int watched;
static atomic_bool stop;
static atomic_int looks;

static void *looks_at_flags(void *unused)
{
	(void)unused;
	while (!atomic_load(&stop)) {
		IS(fcntl(watched, F_GETFL) & O_NONBLOCK, 0);
		atomic_fetch_add(&looks, 1);
		sleep_ms(1);
	}
	return NULL;
}

static void let_go(void *fd)
{
	CHECK(atomic_load(&looks) > 0);
	IS(write(*(int *)fd, "x", 1), 1);
}

static void parked_read(int reader, int writer, const char *name)
{
	struct release release;
	char byte;
	watched = reader;
	atomic_store(&stop, false);
	atomic_store(&looks, 0);
	pthread_t looker = start(looks_at_flags, NULL);
	release_start(&release, let_go, &writer);
	IS(read(reader, &byte, 1), 1);
	release_check(&release, name);
	atomic_store(&stop, true);
	join(looker);
	IS(fcntl(reader, F_GETFL) & O_NONBLOCK, 0);
}

int main(void)
{
	int ends[2];
	IS(pipe(ends), 0);
	parked_read(ends[0], ends[1], "read of a pipe");
	IS(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	parked_read(ends[0], ends[1], "read of a socket");

	struct sockaddr_in address = { .sin_family = AF_INET };
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	socklen_t length = sizeof address;
	int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
	IS(bind(listener, (struct sockaddr *)&address, length), 0);
	IS(listen(listener, 5), 0);
	IS(getsockname(listener, (struct sockaddr *)&address, &length), 0);
	IS(connect(client, (struct sockaddr *)&address, length), 0);
	IS(fcntl(client, F_GETFL) & O_NONBLOCK, 0);
	int served = accept(listener, NULL, NULL);
	CHECK(served >= 0);
	IS(fcntl(served, F_GETFL) & O_NONBLOCK, 0);
	IS(fcntl(listener, F_GETFL) & O_NONBLOCK, 0);
	parked_read(served, client, "read of a connection");
	return 0;
}
