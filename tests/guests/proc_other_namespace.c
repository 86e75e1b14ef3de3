// pid_namespaces(7): where /proc is of the namespace above, its ids are those that the process has
// there, for links, files and directories alike.
#include "guest.h"
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static int link_is(const char *path, char *text, size_t size)
{
	ssize_t length = readlink(path, text, size - 1);
	CHECK(length > 0);
	text[length] = 0;
	return atoi(text);
}

static int number_in(const char *path)
{
	char text[512] = "";
	int file = open(path, O_RDONLY);
	CHECK(file >= 0);
	CHECK(read(file, text, sizeof text - 1) > 0);
	IS(close(file), 0);
	return atoi(text);
}

static void *looks(void *unused)
{
	(void)unused;
	char text[64], path[300], prefix[64];
	int outside = link_is("/proc/self", text, sizeof text);
	IS(getpid(), 1);
	CHECK(outside != 1);
	IS(link_is("/proc/thread-self", text, sizeof text), outside);
	sprintf(prefix, "%d/task/", outside);
	CHECK(!strncmp(text, prefix, strlen(prefix)));
	IS(number_in("/proc/self/stat"), outside);
	CHECK(number_in("/proc/thread-self/stat") > 1);
	DIR *directory = opendir("/proc/self/task");
	CHECK(directory != NULL);
	for (struct dirent *entry; (entry = readdir(directory));) {
		if (entry->d_name[0] == '.')
			continue;
		sprintf(path, "/proc/self/task/%s/stat", entry->d_name);
		IS(number_in(path), atoi(entry->d_name));
	}
	IS(closedir(directory), 0);
	return NULL;
}

int main(void)
{
	int status;
	if (unshare(CLONE_NEWPID) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWPID) != 0) {
		puts("no namespaces here");
		return 0;
	}
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		join(start(looks, NULL));
		_exit(7);
	}
	IS(waitpid(child, &status, 0), child);
	IS(WEXITSTATUS(status), 7);
	puts("all of the namespace above");
	return 0;
}
