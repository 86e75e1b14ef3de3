// proc(5): a path leads through a thread's directory to other files, where an open may wait for
// another thread: a FIFO's other end.
#include "guest.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static char fifo[64];

/* The FIFO by a link in the directory of the calling thread. */
static int open_through(const char *format, int flags)
{
	char path[256];
	sprintf(path, format, gettid(), fifo);
	return open(path, flags);
}

static void *reads(void *format)
{
	char text[8] = "";
	int end = open_through(format, O_RDONLY);
	CHECK(end >= 0);
	IS(read(end, text, sizeof text), 5);
	CHECK(!strcmp(text, "hello"));
	IS(close(end), 0);
	return NULL;
}

static void *writes(void *format)
{
	int end = open_through(format, O_WRONLY);
	CHECK(end >= 0);
	IS(write(end, "hello", 5), 5);
	IS(close(end), 0);
	return NULL;
}

int main(void)
{
	static char by_root[] = "/proc/%d/root%s", by_task[] = "/proc/self/task/%d/root%s";
	char directory[] = "/tmp/proc_beyond.XXXXXX";
	CHECK(mkdtemp(directory) != NULL);
	sprintf(fifo, "%s/fifo", directory);
	IS(mkfifo(fifo, 0600), 0);
	for (int i = 0; i < 20; i++) {
		char *format = i % 2 ? by_root : by_task;
		pthread_t reader = start(reads, format);
		pthread_t writer = start(writes, format);
		join(reader);
		join(writer);
	}
	struct stat status;
	char path[256];
	sprintf(path, "/proc/%d/root%s", gettid(), fifo);
	IS(stat(path, &status), 0);
	CHECK(S_ISFIFO(status.st_mode));
	IS(unlink(fifo), 0);
	IS(rmdir(directory), 0);
	puts("both came");
	return 0;
}
