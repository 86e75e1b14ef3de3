// What waits in the kernel for another thread still does when one has left its pid namespace for its children.
// guest: limit=60
#include "guest.h"
#include <fcntl.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/wait.h>

enum { ROUNDS = 3 };

static const char *const fifo = "fifo";
static pthread_barrier_t both;

static void *reads(void *unused)
{
	int lock = open(".", O_RDONLY | O_CLOEXEC);
	CHECK(lock >= 0);
	for (int round = 0; round < ROUNDS; round++) {
		pthread_barrier_wait(&both);
		int fd = open(fifo, O_RDONLY | O_CLOEXEC);
		CHECK(fd >= 0);
		char byte;
		IS(read(fd, &byte, 1), 1);
		IS(close(fd), 0);
		IS(flock(lock, LOCK_EX), 0);
		IS(flock(lock, LOCK_UN), 0);
		pthread_barrier_wait(&both);
	}
	IS(close(lock), 0);
	return unused;
}

static void *leaves(void *flags)
{
	int lock = open(".", O_RDONLY | O_CLOEXEC);
	CHECK(lock >= 0);
	IS(unshare((int)(intptr_t)flags), 0);
	for (int round = 0; round < ROUNDS; round++) {
		IS(flock(lock, LOCK_EX), 0);
		pthread_barrier_wait(&both);
		sleep_ms(20);
		int fd = open(fifo, O_WRONLY | O_CLOEXEC);
		CHECK(fd >= 0);
		IS(write(fd, "x", 1), 1);
		IS(close(fd), 0);
		sleep_ms(20);
		IS(flock(lock, LOCK_UN), 0);
		pthread_barrier_wait(&both);
	}
	IS(close(lock), 0);
	return NULL;
}

static void meet(int flags)
{
	OK(pthread_barrier_init(&both, NULL, 2));
	pthread_t reading = start(reads, NULL);
	pthread_t leaving = start(leaves, (void *)(intptr_t)flags);
	join(leaving);
	join(reading);
	OK(pthread_barrier_destroy(&both));
}

int main(int argc, char **argv)
{
	if (geteuid() != 0) {
		puts("not allowed here");
		return 0;
	}
	if (argc > 1) {
		meet(CLONE_NEWPID | CLONE_NEWUTS);
		return 0;
	}
	char directory[] = "/tmp/threads_unshare_pid_fifo.XXXXXX";
	CHECK(mkdtemp(directory));
	IS(chdir(directory), 0);
	IS(mkfifo(fifo, 0600), 0);
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		execl("/proc/self/exe", argv[0], "both", NULL);
		_exit(1);
	}
	int status;
	IS(waitpid(child, &status, 0), child);
	IS(status, 0);
	puts("ids and names");
	meet(CLONE_NEWPID);
	puts("ids");
	IS(unlink(fifo), 0);
	IS(rmdir(directory), 0);
	return 0;
}
