// proc(5): an initial thread that has ended stays in the lists, as a zombie, while others live.
#include "guest.h"
#include <dirent.h>
#include <sys/syscall.h>

static pthread_t initial;

static char state_in(const char *path, long *threads)
{
	char text[4096];
	FILE *file = fopen(path, "r");
	CHECK(file != NULL);
	text[fread(text, 1, sizeof text - 1, file)] = 0;
	fclose(file);
	char *at = strrchr(text, ')'), state = at[2];
	for (int field = 2; field < 20; field++)
		at = strchr(at + 1, ' ');
	*threads = atol(at);
	return state;
}

static void *body(void *unused)
{
	long threads;
	join(initial);
	while (state_in("/proc/self/stat", &threads) != 'Z')
		sched_yield();
	IS(threads, 2);
	char path[100];
	sprintf(path, "/proc/self/task/%d/stat", getpid());
	IS(state_in(path, &threads), 'Z');
	sprintf(path, "/proc/self/task/%d/stat", gettid());
	IS(state_in(path, &threads), 'R');
	IS(threads, 2);
	DIR *directory = opendir("/proc/self/task");
	int found = 0;
	for (struct dirent *entry; (entry = readdir(directory));)
		found += atoi(entry->d_name) == getpid() || atoi(entry->d_name) == gettid();
	IS(found, 2);
	puts("the initial thread is a zombie");
	exit(0);
	return unused;
}

int main(void)
{
	initial = pthread_self();
	start(body, NULL);
	pthread_exit(NULL);
}
