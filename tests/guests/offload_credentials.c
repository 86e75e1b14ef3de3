// What is handed over has the credentials that the program has at that time, and its directory.
// guest: limit=60
#include "guest.h"
#include <fcntl.h>
#include <sys/msg.h>
#include <sys/wait.h>

static char path[] = "/tmp/offload_credentials_XXXXXX";

static void *block(void *unused)
{
	/* Keeps a helper thread of the old credentials waiting. */
	struct {
		long type;
		char text[8];
	} message;
	int queue = *(int *)unused;
	msgrcv(queue, &message, 8, 0, 0);
	return NULL;
}

static const char *outcome(int result)
{
	return result == 0 ? "done" : strerrorname_np(errno);
}

int main(void)
{
	if (geteuid() != 0) {
		puts("only root can give credentials up");
		return 0;
	}
	CHECK(mkdtemp(path));
	IS(chmod(path, 0700), 0);
	IS(chdir(path), 0);
	IS(close(open("mine", O_CREAT | O_WRONLY, 0600)), 0);
	IS(close(open("too", O_CREAT | O_WRONLY, 0600)), 0);
	int queue = msgget(IPC_PRIVATE, 0600);
	CHECK(queue >= 0);
	pthread_t thread = start(block, &queue);
	printf("root truncates: %s\n", outcome(truncate("mine", 10)));
	printf("root unlinks: %s\n", outcome(unlink("too")));
	IS(setegid(65534), 0);
	IS(seteuid(65534), 0);
	printf("nobody truncates: %s\n", outcome(truncate("mine", 20)));
	printf("nobody unlinks: %s\n", outcome(unlink("mine")));
	printf("nobody sends: %s\n", outcome(msgsnd(queue, &(long[2]){ 1 }, 8, 0)));
	IS(seteuid(0), 0);
	IS(setegid(0), 0);
	printf("root truncates: %s\n", outcome(truncate("mine", 30)));
	IS(msgsnd(queue, &(long[2]){ 1 }, 8, 0), 0);
	join(thread);
	printf("root unlinks: %s\n", outcome(unlink("mine")));
	IS(msgctl(queue, IPC_RMID, NULL), 0);
	IS(chdir("/"), 0);
	IS(rmdir(path), 0);
	return 0;
}
