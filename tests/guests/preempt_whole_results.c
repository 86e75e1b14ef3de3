// What a thread asks for in one call it gets whole and uninterrupted, though others are computing and no signal is sent.
// guest: limit=120
#include "guest.h"
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/select.h>
#include <sys/uio.h>

enum { SIZE = 16 << 20, THREADS = 4, ROUNDS = 4, ASKED = 20000 };

static atomic_bool stop;

static void *computes(void *unused)
{
	while (!atomic_load(&stop))
		;
	return unused;
}

static void reads_devices(char *memory)
{
	int zero = open("/dev/zero", O_RDONLY), random = open("/dev/urandom", O_RDONLY);
	CHECK(zero >= 0 && random >= 0);
	for (int round = 0; round < ROUNDS; round++) {
		IS(getrandom(memory, SIZE, 0), SIZE);
		IS(read(random, memory, SIZE), SIZE);
		/* Long enough to be interrupted, if anything interrupts. */
		struct iovec parts[8];
		for (size_t i = 0; i < COUNT(parts); i++)
			parts[i] = (struct iovec){ memory, SIZE };
		IS(readv(zero, parts, COUNT(parts)), SIZE * (int)COUNT(parts));
	}
	close(zero);
	close(random);
	puts("devices are read in one go");
}

static void asks(void)
{
	int ends[2];
	IS(pipe(ends), 0);
	struct pollfd one = { .fd = ends[0], .events = POLLIN };
	for (int i = 0; i < ASKED; i++)
		IS(poll(&one, 1, 0), 0);
	for (int i = 0; i < ASKED; i++) {
		fd_set set;
		FD_ZERO(&set);
		FD_SET(ends[0], &set);
		struct timeval none = { 0, 0 };
		IS(select(ends[0] + 1, &set, NULL, NULL, &none), 0);
		IS(FD_ISSET(ends[0], &set), 0);
	}
	for (int i = 0; i < 200; i++)
		IS(poll(&one, 1, 1), 0);
	close(ends[0]);
	close(ends[1]);
	puts("nobody is interrupted who asks");
}

static void fills(void)
{
	int file = memfd_create("filled", 0);
	CHECK(file >= 0);
	for (int round = 0; round < 4; round++) {
		IS(fallocate(file, 0, 0, 4 * SIZE), 0);
		IS(ftruncate(file, 0), 0);
	}
	close(file);
	puts("memory is filled in one go");
}

int main(void)
{
	char *memory = malloc(SIZE);
	CHECK(memory);
	pthread_t threads[THREADS];
	for (int i = 0; i < THREADS; i++)
		threads[i] = start(computes, NULL);
	reads_devices(memory);
	asks();
	fills();
	atomic_store(&stop, true);
	for (int i = 0; i < THREADS; i++)
		join(threads[i]);
	free(memory);
	return 0;
}
