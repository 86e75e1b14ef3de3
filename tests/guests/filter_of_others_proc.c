// guest: limit=20
// What one thread denies to itself the others may do with the files of proc(5) that tell of threads: open, stat, read, list, copy.
#include "guest.h"
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static pthread_barrier_t step;

static void deny(const unsigned *numbers, unsigned count)
{
	struct sock_filter code[80];
	unsigned length = 0;
	code[length++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (unsigned i = 0; i < count; i++) {
		code[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, numbers[i], 0, 1);
		code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EXDEV);
	}
	code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = { (unsigned short)length, code };
	IS(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	IS(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program), 0);
}

static void *denies(void *unused)
{
	const unsigned numbers[] = { SYS_open, SYS_openat, SYS_stat, SYS_newfstatat, SYS_statx, SYS_readlink,
				     SYS_readlinkat, SYS_fcntl, SYS_dup, SYS_lseek, SYS_pread64, SYS_getdents64 };
	deny(numbers, COUNT(numbers));
	FAILS(open("/proc/self/status", O_RDONLY), EXDEV);
	FAILS(syscall(SYS_dup, 0), EXDEV);
	pthread_barrier_wait(&step);
	pthread_barrier_wait(&step);
	return unused;
}

/* The line of a file of proc(5) that begins with a name. */
static void tell(const char *what, const char *text, const char *name)
{
	const char *line = strstr(text, name);
	CHECK(line);
	printf("%s: %.*s\n", what, (int)strcspn(line, "\n"), line);
}

static void *reads(void *unused)
{
	char text[8192] = "", name[100], own[64];
	struct stat status;
	pthread_barrier_wait(&step);
	IS(prctl(PR_SET_NAME, "reads"), 0);
	snprintf(own, sizeof(own), "%d/task/%ld", getpid(), syscall(SYS_gettid));
	ssize_t length = readlink("/proc/thread-self", name, sizeof(name));
	CHECK(length == (ssize_t)strlen(own) && !memcmp(name, own, strlen(own)));
	snprintf(name, sizeof(name), "/proc/%s/status", own);

	int file = open(name, O_RDONLY);
	CHECK(file >= 0);
	length = read(file, text, sizeof(text) - 1);
	CHECK(length > 0);
	tell("read", text, "Name:");
	tell("read", text, "Threads:");
	IS(read(file, text, 1), 0);
	IS(lseek(file, 0, SEEK_SET), 0);
	IS(read(file, text, 5), 5);
	IS(lseek(file, 0, SEEK_CUR), 5);
	memset(text, 0, sizeof(text));
	CHECK(pread(file, text, sizeof(text) - 1, 0) > 0);
	tell("pread", text, "Threads:");
	int copies[] = { dup(file), fcntl(file, F_DUPFD, 0), fcntl(file, F_DUPFD_CLOEXEC, 0) };
	for (unsigned i = 0; i < COUNT(copies); i++) {
		CHECK(copies[i] >= 0);
		CHECK(pread(copies[i], text, sizeof(text) - 1, 0) > 0);
		tell("copy", text, "Name:");
		IS(close(copies[i]), 0);
	}
	IS(fstat(file, &status), 0);
	IS(close(file), 0);

	IS(stat("/proc/self/task", &status), 0);
	printf("links: %ld\n", (long)status.st_nlink);
	int directory = open("/proc/self/task", O_RDONLY | O_DIRECTORY);
	CHECK(directory >= 0);
	int entries = 0;
	for (ssize_t got; (got = syscall(SYS_getdents64, directory, text, sizeof(text))) != 0;) {
		CHECK(got > 0);
		for (ssize_t at = 0; at < got; at += *(unsigned short *)(text + at + 16))
			entries++;
	}
	printf("entries: %d\n", entries);
	pthread_barrier_wait(&step);
	return unused;
}

int main(void)
{
	pthread_barrier_init(&step, NULL, 2);
	pthread_t first = start(denies, NULL), second = start(reads, NULL);
	join(first);
	join(second);
	return 0;
}
