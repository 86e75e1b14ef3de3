// system and popen from several threads at once, and while another thread ticks.
#include "guest.h"
#include <sys/wait.h>

static void *runs(void *raw)
{
	int index = (int)(intptr_t)raw;
	char command[64], text[64], expected[64];
	snprintf(command, sizeof command, "exit %d", index);
	IS(WEXITSTATUS(system(command)), index);
	snprintf(command, sizeof command, "echo from %d; exit %d", index, index);
	snprintf(expected, sizeof expected, "from %d\n", index);
	FILE *pipe = popen(command, "r");
	CHECK(pipe != NULL);
	CHECK(fgets(text, sizeof text, pipe) != NULL);
	CHECK(!strcmp(text, expected));
	CHECK(fgets(text, sizeof text, pipe) == NULL);
	IS(WEXITSTATUS(pclose(pipe)), index);
	pipe = popen("read line; test \"$line\" = hello", "w");
	CHECK(pipe != NULL);
	fputs("hello\n", pipe);
	IS(pclose(pipe), 0);
	return NULL;
}

int main(void)
{
	struct ticker ticker;
	pthread_t threads[8];
	runs((void *)1);
	for (intptr_t i = 0; i < 8; i++)
		threads[i] = start(runs, (void *)(i + 1));
	for (int i = 0; i < 8; i++)
		join(threads[i]);
	puts("each its own status");
	ticker_start(&ticker);
	IS(system("sleep 0.3"), 0);
	ticker_check(&ticker, "system");
	ticker_start(&ticker);
	FILE *pipe = popen("sleep 0.3; echo x", "r");
	IS(getc(pipe), 'x');
	IS(pclose(pipe), 0);
	ticker_check(&ticker, "popen");
	CHECK(system(NULL) != 0);
	IS(WEXITSTATUS(system("exit 300")), 300 % 256);
	IS(WTERMSIG(system("kill -9 $$")), 9);
	return 0;
}
