// setuid and its family change every thread, at once, also while threads wait, and also our caller's other kernel threads.
#include "guest.h"
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <semaphore.h>
#include <sys/wait.h>

static sem_t go_on, ready;
static char path[] = "/tmp/cred_all_threads.XXXXXX";

static void *parks(void *unused)
{
	IS(sem_post(&ready), 0);
	while (sem_wait(&go_on) != 0)
		;
	uid_t r, e, s;
	gid_t gr, ge, gs;
	IS(getresuid(&r, &e, &s), 0);
	IS(getresgid(&gr, &ge, &gs), 0);
	CHECK(r == 1001 && e == 1002 && s == 1003);
	CHECK(gr == 2001 && ge == 2002 && gs == 2003);
	gid_t groups[8];
	IS(getgroups(8, groups), 2);
	CHECK(groups[0] == 3001 && groups[1] == 3002);
	return unused;
}

static void *reads_file(void *unused)
{
	/* Uncached: a call that the process's other kernel threads may carry out. */
	char block[4096];
	int fd = open(path, O_RDWR);
	CHECK(fd >= 0);
	for (int i = 0; i < 20; i++) {
		IS(pwrite(fd, block, sizeof block, (off_t)i * 4096), sizeof block);
		IS(fsync(fd), 0);
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		IS(pread(fd, block, sizeof block, 0), sizeof block);
	}
	close(fd);
	return unused;
}

/* Reads the text of a thread's status; 0 if the thread is gone. */
static ssize_t status_of(const char *tid, char *text, size_t size)
{
	char name[300];
	snprintf(name, sizeof name, "/proc/self/task/%s/status", tid);
	int fd = open(name, O_RDONLY);
	ssize_t length = fd < 0 ? 0 : read(fd, text, size - 1);
	if (fd >= 0)
		close(fd);
	text[length > 0 ? length : 0] = 0;
	return length > 0 ? length : 0;
}

static int has_new_ids(const char *text)
{
	unsigned r, e, s, gr, ge, gs;
	CHECK(sscanf(strstr(text, "\nUid:"), "\nUid: %u %u %u", &r, &e, &s) == 3);
	CHECK(sscanf(strstr(text, "\nGid:"), "\nGid: %u %u %u", &gr, &ge, &gs) == 3);
	return r == 1001 && e == 1002 && s == 1003 && gr == 2001 && ge == 2002 && gs == 2003;
}

/* Every kernel thread of this process, as the kernel lists them. One with the old ids, which
   our caller may have had at work, must be about to end. */
static void check_kernel_threads(void)
{
	DIR *directory = opendir("/proc/self/task");
	CHECK(directory);
	struct dirent *entry;
	int threads = 0;
	while ((entry = readdir(directory))) {
		char text[4096];
		if (entry->d_name[0] == '.')
			continue;
		for (int looks = 0; status_of(entry->d_name, text, sizeof text) > 0; looks++) {
			/* The kernel's own workers for io_uring take the ids of whom they work for. */
			if (strstr(text, "\tiou-"))
				break;
			if (has_new_ids(text)) {
				threads++;
				break;
			}
			if (looks == 2000) {
				fprintf(stderr, "%s", text);
				CHECK(!"a kernel thread has the new ids or ends");
			}
			usleep(1000);
		}
	}
	CHECK(threads >= 1);
	closedir(directory);
}

static void *changes(void *unused)
{
	IS(setgroups(2, (gid_t[]){ 3001, 3002 }), 0);
	IS(setresgid(2001, 2002, 2003), 0);
	IS(setresuid(1001, 1002, 1003), 0);
	FAILS(setresuid(0, 0, 0), EPERM);
	check_kernel_threads();
	return unused;
}

int main(void)
{
	if (geteuid() != 0) {
		puts("changed");
		puts("back and forth");
		return 0;
	}
	int fd = mkstemp(path);
	CHECK(fd >= 0);
	IS(fchmod(fd, 0666), 0);
	/* In a child: the ids do not come back. */
	fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		pthread_t threads[16];
		IS(sem_init(&go_on, 0, 0), 0);
		IS(sem_init(&ready, 0, 0), 0);
		for (int i = 0; i < 16; i++)
			threads[i] = start(parks, NULL);
		for (int i = 0; i < 16; i++)
			while (sem_wait(&ready) != 0)
				;
		join(start(reads_file, NULL));
		pthread_t reader = start(reads_file, NULL);
		join(start(changes, NULL));
		for (int i = 0; i < 16; i++)
			IS(sem_post(&go_on), 0);
		for (int i = 0; i < 16; i++)
			join(threads[i]);
		join(reader);
		puts("changed");
		fflush(stdout);
		_exit(0);
	}
	int status;
	IS(waitpid(child, &status, 0), child);
	IS(status, 0);

	/* Back and forth, with threads that come and go. */
	for (int i = 0; i < 50; i++) {
		pthread_t reader = start(reads_file, NULL);
		IS(seteuid(i % 2 ? 0 : 1000), 0);
		pthread_cancel(reader);
		join(reader);
		IS(seteuid(0), 0);
	}
	unlink(path);
	puts("back and forth");
	return 0;
}
