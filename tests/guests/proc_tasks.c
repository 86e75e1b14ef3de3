// proc(5): /proc/self/task and its other names list every thread of the process once, and nothing
// else, whoever asks; its links and the counts in stat and status are their number.
#include "guest.h"
#include <dirent.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { THREADS = 30 };
static pthread_barrier_t barrier;
static int ids[THREADS + 1], live;

static int by_number(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

static void is_all(const char *what, int *found, int count)
{
	qsort(found, (size_t)count, sizeof *found, by_number);
	int expected[THREADS + 1];
	memcpy(expected, ids, sizeof expected);
	qsort(expected, (size_t)live, sizeof *expected, by_number);
	if (count != live || memcmp(found, expected, (size_t)live * sizeof *found)) {
		printf("%s: %d of %d\n", what, count, live);
		for (int i = 0; i < count; i++)
			printf(" %d", found[i]);
		puts("");
		exit(1);
	}
}

static int number_of(const struct dirent *entry)
{
	IS(entry->d_type, DT_DIR);
	CHECK(entry->d_ino != 0);
	return atoi(entry->d_name);
}

static void lists(const char *path)
{
	struct dirent *entry;
	int found[2 * THREADS], count = 0;
	DIR *directory = opendir(path);
	CHECK(directory != NULL);
	CHECK(!strcmp(readdir(directory)->d_name, "."));
	CHECK(!strcmp(readdir(directory)->d_name, ".."));
	long third = telldir(directory);
	while ((entry = readdir(directory)))
		found[count++] = number_of(entry);
	is_all(path, found, count);
	rewinddir(directory);
	for (count = -2; (entry = readdir(directory)); count++)
		if (count >= 0)
			found[count] = number_of(entry);
	is_all("rewound", found, count);
	seekdir(directory, third);
	for (count = 0; (entry = readdir(directory)); count++)
		found[count] = number_of(entry);
	is_all("sought", found, count);
	struct stat about;
	IS(fstat(dirfd(directory), &about), 0);
	IS(about.st_nlink, 2 + live);
	CHECK(S_ISDIR(about.st_mode));
	IS(fstatat(dirfd(directory), "", &about, AT_EMPTY_PATH), 0);
	IS(about.st_nlink, 2 + live);
	IS(closedir(directory), 0);
	IS(stat(path, &about), 0);
	IS(about.st_nlink, 2 + live);
	struct statx extended;
	IS(statx(AT_FDCWD, path, 0, STATX_BASIC_STATS, &extended), 0);
	IS(extended.stx_nlink, 2 + live);

	struct dirent **list;
	count = scandir(path, &list, NULL, alphasort) - 2;
	CHECK(count >= 0);
	for (int i = 0; i < count + 2; i++) {
		if (i >= 2)
			found[i - 2] = number_of(list[i]);
		free(list[i]);
	}
	free(list);
	is_all("scandir", found, count);
}

/* In pieces so small that each holds one entry, by either call. */
static void lists_in_pieces(int nr)
{
	int found[2 * THREADS], count = -2;
	int directory = open("/proc/self/task", O_RDONLY | O_DIRECTORY);
	long size;
	char entry[32];
	FAILS(syscall(nr, directory, entry, 16), EINVAL);
	FAILS(syscall(nr, directory, unmapped, 32), EFAULT);
	while ((size = syscall(nr, directory, entry, sizeof entry)) > 0) {
		const char *name = entry + (nr == SYS_getdents64 ? 19 : 18);
		char type = nr == SYS_getdents64 ? entry[18] : entry[size - 1];
		IS(type, DT_DIR);
		if (count >= 0)
			found[count] = atoi(name);
		count++;
	}
	IS(size, 0);
	is_all("in pieces", found, count);
	IS(lseek(directory, 0, SEEK_SET), 0);
	CHECK(syscall(nr, directory, entry, sizeof entry) > 0);
	IS(close(directory), 0);
	directory = open("/proc/self/task", O_PATH);
	FAILS(syscall(nr, directory, entry, sizeof entry), EBADF);
	struct stat about;
	IS(fstat(directory, &about), 0);
	IS(about.st_nlink, 2 + live);
	IS(close(directory), 0);
}

static void *slurp(const char *path, char *text, size_t size)
{
	FILE *file = fopen(path, "r");
	CHECK(file != NULL);
	size_t length = fread(text, 1, size - 1, file);
	text[length] = 0;
	fclose(file);
	return text;
}

static int threads_in_stat(const char *path)
{
	char text[4096], *at = strrchr(slurp(path, text, sizeof text), ')');
	for (int field = 2; field < 20; field++)
		at = strchr(at + 1, ' ');
	return atoi(at);
}

static int threads_in_status(const char *path)
{
	char text[8192];
	return atoi(strstr(slurp(path, text, sizeof text), "\nThreads:\t") + 10);
}

static void look(void)
{
	char path[100];
	lists("/proc/self/task");
	lists("/proc/self//./task/");
	sprintf(path, "/proc/%d/task", getpid());
	lists(path);
	sprintf(path, "/proc/%d/task", gettid());
	lists(path);
	int self = open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int tasks = openat(self, "task", O_RDONLY | O_DIRECTORY);
	DIR *directory = fdopendir(dup(tasks));
	int count = 0;
	while (readdir(directory))
		count++;
	IS(count, live + 2);
	closedir(directory);
	for (int i = 0; i < live; i++) {
		struct stat about;
		sprintf(path, "%d", ids[i]);
		IS(fstatat(tasks, path, &about, 0), 0);
		CHECK(S_ISDIR(about.st_mode));
		IS(faccessat(tasks, path, R_OK | X_OK, 0), 0);
		sprintf(path, "/proc/self/task/%d/stat", ids[i]);
		IS(access(path, R_OK), 0);
		IS(threads_in_stat(path), live);
		sprintf(path, "/proc/%d/task/%d/status", getpid(), ids[i]);
		IS(threads_in_status(path), live);
	}
	IS(close(tasks), 0);
	IS(close(self), 0);
	lists_in_pieces(SYS_getdents64);
	lists_in_pieces(SYS_getdents);
	sprintf(path, "/proc/%d/status", gettid());
	IS(threads_in_status(path), live);
	IS(threads_in_status("/proc/self/status"), live);
	IS(threads_in_stat("/proc/self/stat"), live);
	IS(threads_in_stat("/proc/thread-self/stat"), live);
	FAILS(open("/proc/self/task/4194300/stat", O_RDONLY), ENOENT);
	FAILS(access("/proc/self/task/123456789", F_OK), ENOENT);
}

static void *body(void *raw)
{
	intptr_t i = (intptr_t)raw;
	ids[i] = gettid();
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	if (i == 7)
		look();
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	return NULL;
}

/* The kernel tells of an end before the thread is out of its lists. */
static void wait_for(int count)
{
	while (threads_in_stat("/proc/self/stat") > count)
		sched_yield();
	live = count;
}

int main(void)
{
	pthread_t threads[THREADS];
	int before = open("/proc/self/task", O_RDONLY | O_DIRECTORY);
	ids[0] = getpid();
	live = 1;
	OK(pthread_barrier_init(&barrier, NULL, THREADS + 1));
	for (intptr_t i = 0; i < THREADS; i++)
		threads[i] = start(body, (void *)(i + 1));
	pthread_barrier_wait(&barrier);
	live = THREADS + 1;
	look();
	/* Opened before there was a thread. */
	char entries[8192];
	long size = syscall(SYS_getdents64, before, entries, sizeof entries);
	int count = 0;
	for (long at = 0; at < size; at += *(unsigned short *)(entries + at + 16))
		count++;
	IS(count, live + 2);
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	int child = fork();
	if (child == 0) {
		live = 1;
		ids[0] = getpid();
		lists("/proc/self/task");
		IS(threads_in_stat("/proc/self/stat"), 1);
		IS(threads_in_status("/proc/thread-self/status"), 1);
		_exit(0);
	}
	int status;
	IS(waitpid(child, &status, 0), child);
	IS(status, 0);
	/* Some end while the directory is being read. */
	DIR *directory = opendir("/proc/self/task");
	CHECK(readdir(directory) && readdir(directory) && readdir(directory));
	pthread_barrier_wait(&barrier);
	for (int i = 0; i < THREADS; i++)
		join(threads[i]);
	wait_for(1);
	lists("/proc/self/task");
	IS(threads_in_stat("/proc/self/stat"), 1);
	IS(threads_in_status("/proc/self/status"), 1);
	rewinddir(directory);
	for (count = 0; readdir(directory); count++)
		;
	IS(count, 3);
	char path[100];
	sprintf(path, "/proc/self/task/%d/comm", ids[5]);
	FAILS(open(path, O_RDONLY), ENOENT);
	puts("all are listed");
	return 0;
}
