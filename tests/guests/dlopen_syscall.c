// An object opened later, with a system call instruction of its own, blocks its own thread only.
// guest: object=blocking_read compile=-ldl
#include "guest.h"
#include <dlfcn.h>

static int ends[2];
static long (*blocking_read)(int, void *, size_t);

static void write_abc(void *unused)
{
	(void)unused;
	IS(write(ends[1], "abc", 3), 3);
}

static void *reads(void *unused)
{
	char text[10];
	(void)unused;
	for (int i = 0; i < 50; i++)
		IS(blocking_read(ends[0], text, 1), 1);
	return NULL;
}

int main(int count, char **arguments)
{
	struct release release;
	char text[10];
	CHECK(count == 2);
	void *object = dlopen(arguments[1], RTLD_NOW);
	if (object == NULL) {
		fprintf(stderr, "%s\n", dlerror());
		return 1;
	}
	*(void **)&blocking_read = dlsym(object, "blocking_read");
	CHECK(blocking_read != NULL);
	IS(pipe(ends), 0);
	release_start(&release, write_abc, NULL);
	IS(blocking_read(ends[0], text, sizeof text), 3);
	release_check(&release, "an inline read");
	IS(blocking_read(-1, text, 1), -EBADF);

	pthread_t threads[10];
	for (int i = 0; i < 10; i++)
		threads[i] = start(reads, NULL);
	for (int i = 0; i < 500; i++) {
		IS(write(ends[1], "x", 1), 1);
		if (i % 10 == 0)
			sched_yield();
	}
	for (int i = 0; i < 10; i++)
		join(threads[i]);
	puts("500 bytes read by ten threads");
	IS(dlclose(object), 0);
	object = dlopen(arguments[1], RTLD_NOW);
	CHECK(object != NULL);
	*(void **)&blocking_read = dlsym(object, "blocking_read");
	release_start(&release, write_abc, NULL);
	IS(blocking_read(ends[0], text, sizeof text), 3);
	release_check(&release, "an inline read of the object opened again");
	return 0;
}
