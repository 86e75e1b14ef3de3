// Hundreds of forks, programs, files and connections leave descriptors, mappings and memory as they were; generations too.
// guest: limit=120
#include "leak.h"
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <spawn.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum { GENERATIONS = 40 };
static char directory[] = "/tmp/leak-XXXXXX";
static char path[100];

static void *ends(void *unused)
{
	return unused;
}

static void wait_for(pid_t pid)
{
	int status;
	CHECK(pid > 0);
	IS(waitpid(pid, &status, 0), pid);
	IS(status, 0);
}

static void *forks(void *unused)
{
	pid_t pid = fork();
	if (pid == 0)
		_exit(0);
	wait_for(pid);
	pid = fork();
	if (pid == 0) {
		join(start(ends, NULL));
		_exit(0);
	}
	wait_for(pid);
	return unused;
}

static void forked(void)
{
	pthread_t other = start(forks, NULL);
	forks(NULL);
	join(other);
}

extern char **environ;

static void *runs_programs(void *unused)
{
	pid_t pid;
	char *words[] = { "true", NULL };
	OK(posix_spawnp(&pid, "true", NULL, NULL, words, environ));
	wait_for(pid);
	FILE *output = popen("echo word", "r");
	CHECK(output);
	char line[10];
	CHECK(fgets(line, sizeof line, output));
	IS(pclose(output), 0);
	return unused;
}

static void programs(void)
{
	pthread_t other = start(runs_programs, NULL);
	runs_programs(NULL);
	join(other);
}

/* Calls that wait for a disk, for a lock, for another end. */
static void *uses_files(void *raw)
{
	char own[150], text[100] = "text";
	snprintf(own, sizeof own, "%s-%d", path, (int)(intptr_t)raw);
	for (int i = 0; i < 20; i++) {
		int file = open(own, O_RDWR | O_CREAT, 0600);
		CHECK(file >= 0);
		IS(flock(file, LOCK_EX), 0);
		IS(write(file, text, sizeof text), sizeof text);
		IS(fdatasync(file), 0);
		IS(pread(file, text, sizeof text, 0), sizeof text);
		IS(close(file), 0);
		struct stat about;
		IS(stat(own, &about), 0);
		IS(unlink(own), 0);
		IS(mkfifo(own, 0600), 0);
		int both = open(own, O_RDWR | O_NONBLOCK);
		CHECK(both >= 0);
		int writer = open(own, O_WRONLY);
		CHECK(writer >= 0);
		close(writer);
		close(both);
		IS(unlink(own), 0);
	}
	return NULL;
}

static void files(void)
{
	pthread_t threads[8];
	for (int i = 0; i < 8; i++)
		threads[i] = start(uses_files, (void *)(intptr_t)i);
	for (int i = 0; i < 8; i++)
		join(threads[i]);
}

static int listener;

static void *accepts(void *unused)
{
	for (int i = 0; i < 20; i++) {
		int peer = accept(listener, NULL, NULL);
		char byte;
		CHECK(peer >= 0);
		IS(read(peer, &byte, 1), 1);
		IS(write(peer, &byte, 1), 1);
		IS(read(peer, &byte, 1), 0);
		close(peer);
	}
	return unused;
}

static void connections(void)
{
	struct sockaddr_in address;
	socklen_t length = sizeof address;
	pthread_t server = start(accepts, NULL);
	IS(getsockname(listener, (struct sockaddr *)&address, &length), 0);
	for (int i = 0; i < 20; i++) {
		struct addrinfo *found;
		IS(getaddrinfo("localhost", "80", NULL, &found), 0);
		freeaddrinfo(found);
		int peer = socket(AF_INET, SOCK_STREAM, 0);
		char byte = 'x';
		IS(connect(peer, (struct sockaddr *)&address, length), 0);
		IS(write(peer, &byte, 1), 1);
		IS(read(peer, &byte, 1), 1);
		close(peer);
	}
	join(server);
}

/* Each child makes threads and a child of its own: the last has no more than the third. */
static void generations(void)
{
	struct held third = { 0 };
	for (int number = 1; number <= GENERATIONS; number++) {
		pid_t pid = fork();
		if (pid != 0) {
			wait_for(pid);
			if (number > 1)
				_exit(0);
			return;
		}
		join(start(ends, NULL));
		if (number == 3)
			third = what_is_held();
	}
	struct held last = what_is_held();
	CHECK(last.descriptors <= third.descriptors);
	CHECK(last.mappings <= third.mappings + MAPPINGS_MORE);
	CHECK(last.resident_kib <= third.resident_kib + RESIDENT_MORE_KIB);
	_exit(0);
}

int main(void)
{
	CHECK(mkdtemp(directory));
	snprintf(path, sizeof path, "%s/file", directory);
	listener = socket(AF_INET, SOCK_STREAM, 0);
	IS(listen(listener, 100), 0);
	leaks_nothing("forks", forked, 40);
	leaks_nothing("programs", programs, 40);
	leaks_nothing("files", files, 30);
	leaks_nothing("connections", connections, 40);
	IS(rmdir(directory), 0);
	fflush(stdout);
	generations();
	puts("generations");
	return 0;
}
