// proc(5): each thread's directory has its own comm, stat and status, by every name that it has;
// read in pieces, again from the start, and through a copy of the descriptor they tell the same.
#include "guest.h"
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

enum { THREADS = 5 };
static pthread_barrier_t barrier;
static int ids[THREADS];

static char *text_of(int directory, const char *path)
{
	static _Thread_local char text[8192];
	int file = openat(directory, path, O_RDONLY);
	if (file < 0) {
		printf("%s: %s\n", path, strerrorname_np(errno));
		exit(1);
	}
	ssize_t length = read(file, text, sizeof text - 1);
	CHECK(length > 0);
	text[length] = 0;
	IS(read(file, text + length, 1), 0);
	IS(close(file), 0);
	return text;
}

/* Checks a stat's id, name and state, and that it has all of its fields. */
static void stat_is(const char *text, int id, const char *name, const char *states)
{
	int got, fields = 1;
	char *open = strchr(text, '('), *close = strrchr(text, ')');
	IS(sscanf(text, "%d", &got), 1);
	IS(got, id);
	CHECK((size_t)(close - open - 1) == strlen(name) && !memcmp(open + 1, name, strlen(name)));
	CHECK(strchr(states, close[2]));
	for (const char *at = close; *at; at++)
		fields += *at == ' ';
	IS(fields, 51);
	CHECK(text[strlen(text) - 1] == '\n');
}

static void status_is(const char *text, int id, const char *name, unsigned long long blocked)
{
	char line[100];
	sprintf(line, "Name:\t%s\n", name);
	CHECK(!strncmp(text, line, strlen(line)));
	sprintf(line, "\nTgid:\t%d\n", getpid());
	CHECK(strstr(text, line));
	sprintf(line, "\nPid:\t%d\n", id);
	CHECK(strstr(text, line));
	sprintf(line, "\nSigBlk:\t%016llx\n", blocked);
	CHECK(strstr(text, line));
	/* Those that libc keeps for itself may be ignored from before, and can't be named. */
	const unsigned long long of_libc = 3ULL << 31;
	const char *field_of = strstr(text, "\nSigIgn:\t");
	CHECK(field_of != NULL);
	CHECK((strtoull(field_of + 9, NULL, 16) & ~of_libc) == 1ULL << (SIGPIPE - 1));
	CHECK(strstr(text, "\nVmSize:\t"));
	CHECK(strstr(text, "\nnonvoluntary_ctxt_switches:\t"));
}

static void name_is(const char *path, const char *name)
{
	char line[32];
	sprintf(line, "%s\n", name);
	char *text = text_of(AT_FDCWD, path);
	if (strcmp(text, line)) {
		printf("%s: %s instead of %s", path, text, line);
		exit(1);
	}
}

static unsigned long long blocked_by(int i)
{
	return 1ull << (SIGUSR1 - 1) | 1ull << (40 + i - 1);
}

static long field(const char *text, int wanted)
{
	const char *at = strrchr(text, ')');
	for (int field = 2; field < wanted; field++)
		at = strchr(at + 1, ' ');
	return atol(at);
}

static void look_at(int i, const char *states)
{
	char path[100], name[16];
	sprintf(name, "thread) %d", i);
	sprintf(path, "/proc/self/task/%d/comm", ids[i]);
	name_is(path, name);
	sprintf(path, "/proc/%d/task/%d/comm", getpid(), ids[i]);
	name_is(path, name);
	sprintf(path, "/proc/%d/comm", ids[i]);
	name_is(path, name);
	sprintf(path, "/proc/self/task/%d/stat", ids[i]);
	stat_is(text_of(AT_FDCWD, path), ids[i], name, states);
	IS(field(text_of(AT_FDCWD, path), 18), 20 + i);
	IS(field(text_of(AT_FDCWD, path), 19), i);
	sprintf(path, "/proc/%d/stat", ids[i]);
	stat_is(text_of(AT_FDCWD, path), ids[i], name, states);
	sprintf(path, "/proc/%d/task/%d/status", ids[i], ids[i]);
	status_is(text_of(AT_FDCWD, path), ids[i], name, blocked_by(i));
	sprintf(path, "/proc/%d/status", ids[i]);
	status_is(text_of(AT_FDCWD, path), ids[i], name, blocked_by(i));

	/* Relative to each directory on the way, and to copies of their descriptors. */
	int root = open("/proc", O_RDONLY | O_DIRECTORY), tasks = open("/proc/self/task", O_PATH);
	sprintf(path, "self/task/%d/stat", ids[i]);
	stat_is(text_of(root, path), ids[i], name, states);
	sprintf(path, "%d/stat", ids[i]);
	stat_is(text_of(tasks, path), ids[i], name, states);
	sprintf(path, "%d", ids[i]);
	int own = openat(tasks, path, O_RDONLY | O_DIRECTORY), copy = dup(own);
	CHECK(own >= 0);
	stat_is(text_of(own, "stat"), ids[i], name, states);
	stat_is(text_of(copy, "stat"), ids[i], name, states);
	IS(close(copy), 0);
	copy = fcntl(own, F_DUPFD_CLOEXEC, 60);
	stat_is(text_of(copy, "stat"), ids[i], name, states);
	IS(dup2(own, root), root);
	status_is(text_of(root, "status"), ids[i], name, blocked_by(i));
	IS(close(copy), 0);
	IS(close(root), 0);
	IS(close(tasks), 0);
	struct stat of_descriptor, of_path;
	sprintf(path, "/proc/self/task/%d", ids[i]);
	IS(stat(path, &of_path), 0);
	IS(fstat(own, &of_descriptor), 0);
	IS(of_path.st_ino, of_descriptor.st_ino);
	IS(close(own), 0);
	sprintf(path, "/proc/self/task/%d/exe", ids[i]);
	char target[PATH_MAX], expected[PATH_MAX];
	ssize_t length = readlink(path, target, sizeof target);
	IS(length, readlink("/proc/self/exe", expected, sizeof expected));
	CHECK(!memcmp(target, expected, (size_t)length));
}

/* One text in pieces of every size, at offsets and into several buffers. */
static void in_pieces(const char *path)
{
	static char whole[8192], pieces[8192];
	int file = open(path, O_RDONLY);
	ssize_t length = pread(file, whole, sizeof whole, 0);
	CHECK(length > 30);
	for (size_t size = 7; size < 60; size += 13) {
		IS(lseek(file, 0, SEEK_SET), 0);
		ssize_t got, all = 0;
		while ((got = read(file, pieces + all, size)) > 0) {
			all += got;
			IS(lseek(file, 0, SEEK_CUR), all);
		}
		IS(got, 0);
		CHECK(all > 30);
		/* The name, at least, does not change. */
		CHECK(!memcmp(pieces, whole, 12));
		CHECK(pieces[all - 1] == '\n' && memchr(pieces, 0, (size_t)all) == NULL);
	}
	char first[5], second[6];
	struct iovec both[] = { { first, 5 }, { NULL, 0 }, { second, 6 } };
	IS(preadv(file, both, 3, 0), 11);
	CHECK(!memcmp(first, whole, 5) && !memcmp(second, whole + 5, 6));
	IS(pread(file, pieces, 4, 3), 4);
	CHECK(!memcmp(pieces, whole + 3, 4));
	IS(pread(file, pieces, 4, 100000), 0);
	FAILS(pread(file, pieces, 4, -1), EINVAL);
	IS(lseek(file, 0, SEEK_SET), 0);
	FAILS(read(file, unmapped, 10), EFAULT);
	IS(read(file, unmapped, 0), 0);
	FAILS(write(file, whole, 1), EBADF);
	struct stat about;
	IS(fstat(file, &about), 0);
	IS(about.st_size, 0);
	IS(about.st_mode, S_IFREG | 0444);
	IS(close(file), 0);
}

/* A thread's directory in /proc is no link. */
static void is_directory(int id)
{
	char path[32], target[32];
	struct stat status;
	sprintf(path, "/proc/%d", id);
	IS(lstat(path, &status), 0);
	CHECK(S_ISDIR(status.st_mode));
	FAILS(readlink(path, target, sizeof target), EINVAL);
	int directory = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
	CHECK(directory >= 0);
	IS(close(directory), 0);
}

static void *body(void *raw)
{
	intptr_t i = (intptr_t)raw;
	char name[32], path[100];
	sigset_t blocked;
	ids[i] = gettid();
	sprintf(name, "thread) %d", (int)i);
	IS(prctl(PR_SET_NAME, name), 0);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR1);
	sigaddset(&blocked, 40 + (int)i);
	OK(pthread_sigmask(SIG_BLOCK, &blocked, NULL));
	IS(setpriority(PRIO_PROCESS, (id_t)gettid(), (int)i), 0);
	pthread_barrier_wait(&barrier);
	for (intptr_t turn = 0; turn < THREADS; turn++) {
		if (turn == i) {
			name_is("/proc/thread-self/comm", name);
			stat_is(text_of(AT_FDCWD, "/proc/thread-self/stat"), gettid(), name, "R");
			status_is(text_of(AT_FDCWD, "/proc/thread-self/status"), gettid(), name,
				  blocked_by((int)i));
			char expected[64], target[64];
			int length = sprintf(expected, "%d/task/%d", getpid(), gettid());
			IS(readlink("/proc/thread-self", target, sizeof target), length);
			CHECK(!memcmp(target, expected, (size_t)length));
			IS(readlink("/proc/thread-self", target, 3), 3);
			look_at((int)i, "R");
			is_directory(gettid());
			sprintf(path, "/proc/self/task/%d/status", gettid());
			in_pieces(path);
		}
		pthread_barrier_wait(&barrier);
	}
	pthread_barrier_wait(&barrier);
	name_is("/proc/thread-self/comm", "renamed by file");
	IS(prctl(PR_GET_NAME, name), 0);
	CHECK(!strcmp(name, "renamed by file"));
	pthread_barrier_wait(&barrier);
	return NULL;
}

int main(void)
{
	pthread_t threads[THREADS];
	char path[100], main_name[16];
	/* A shell ignores some for what it starts in the background. */
	for (int number = 1; number < NSIG; number++)
		if (number != SIGKILL && number != SIGSTOP)
			signal(number, SIG_DFL);
	signal(SIGPIPE, SIG_IGN);
	IS(prctl(PR_GET_NAME, main_name), 0);
	int early = open("/proc/self/stat", O_RDONLY);
	OK(pthread_barrier_init(&barrier, NULL, THREADS + 1));
	for (intptr_t i = 0; i < THREADS; i++)
		threads[i] = start(body, (void *)i);
	pthread_barrier_wait(&barrier);
	for (int turn = 0; turn < THREADS; turn++)
		pthread_barrier_wait(&barrier);
	/* They all wait now, or are on their way to. */
	for (int i = 0; i < THREADS; i++)
		look_at(i, "RS");
	in_pieces("/proc/self/stat");
	in_pieces("/proc/self/status");
	sprintf(path, "/proc/self/task/%d/stat", ids[0]);
	in_pieces(path);
	stat_is(text_of(AT_FDCWD, "/proc/self/stat"), getpid(), main_name, "R");
	stat_is(text_of(AT_FDCWD, "/proc/thread-self/stat"), getpid(), main_name, "R");
	sprintf(path, "/proc/%d/task/%d/stat", getpid(), getpid());
	stat_is(text_of(AT_FDCWD, path), getpid(), main_name, "R");
	char text[4096];
	ssize_t length = pread(early, text, sizeof text - 1, 0);
	CHECK(length > 0);
	text[length] = 0;
	stat_is(text, getpid(), main_name, "R");

	/* Names are written there, too. */
	for (int i = 0; i < THREADS; i++) {
		sprintf(path, "/proc/self/task/%d/comm", ids[i]);
		int file = open(path, O_RDWR);
		IS(write(file, "renamed by file and far too long", 32), 32);
		IS(pread(file, text, sizeof text, 0), 16);
		FAILS(pwrite(file, "x", 1, 0), ESPIPE);
		char nothing = 0;
		IS(write(file, &nothing, 0), 0);
		name_is(path, "");
		struct iovec last_is_empty[] = { { "kept", 4 }, { &nothing, 0 } };
		IS(writev(file, last_is_empty, 2), 4);
		name_is(path, "kept");
		IS(writev(file, last_is_empty + 1, 1), 0);
		name_is(path, "kept");
		struct iovec both[] = { { "first", 5 }, { "renamed by file", 15 } };
		IS(writev(file, both, 2), 20);
		IS(pread(file, text, sizeof text, 0), 16);
		CHECK(!memcmp(text, "renamed by file\n", 16));
		FAILS(write(file, unmapped, 3), EFAULT);
		IS(close(file), 0);
		name_is(path, "renamed by file");
		OK(pthread_getname_np(threads[i], text, sizeof text));
		CHECK(!strcmp(text, "renamed by file"));
	}
	sprintf(path, "/proc/self/task/%d/comm", getpid());
	FILE *file = fopen(path, "w");
	CHECK(fputs("head", file) >= 0);
	IS(fclose(file), 0);
	IS(prctl(PR_GET_NAME, text), 0);
	CHECK(!strcmp(text, "head"));
	name_is("/proc/self/comm", "head");
	name_is("/proc/thread-self/comm", "head");
	pthread_barrier_wait(&barrier);

	int child = fork();
	if (child == 0) {
		sprintf(path, "/proc/self/task/%d/stat", ids[0]);
		FAILS(open(path, O_RDONLY), ENOENT);
		stat_is(text_of(AT_FDCWD, "/proc/thread-self/stat"), getpid(), "head", "R");
		stat_is(text_of(AT_FDCWD, "/proc/self/stat"), getpid(), "head", "R");
		name_is("/proc/self/comm", "head");
		_exit(0);
	}
	int status;
	IS(waitpid(child, &status, 0), child);
	IS(status, 0);
	sprintf(path, "/proc/self/task/%d/stat", ids[0]);
	int held = open(path, O_RDONLY);
	CHECK(held >= 0);
	pthread_barrier_wait(&barrier);
	for (int i = 0; i < THREADS; i++)
		join(threads[i]);
	while (access(path, F_OK) == 0)
		sched_yield();
	FAILS(read(held, text, sizeof text), ESRCH);
	FAILS(open(path, O_RDONLY), ENOENT);
	stat_is(text_of(AT_FDCWD, "/proc/self/stat"), getpid(), "head", "R");
	puts("each has its own");
	return 0;
}
