/*
 * The first process of a virtual machine: runs the programs that /plan names, tells each one's output
 * and end on the console, and switches the machine off.
 *
 * A line of the plan is a program's name, a mode, and variables of its environment. What it wrote
 * comes behind "@begin NAME MODE", a bar before each line, then "@end NAME MODE STATUS", as waitpid(2)
 * has it.
 */
#include <fcntl.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Seconds that one program may take on an emulated processor. */
enum { LIMIT = 120, WORDS = 16 };

static void run(char *words[], int count)
{
	const char *output = "/tmp/output";
	pid_t child = fork();
	if (child == 0) {
		char path[256];
		snprintf(path, sizeof path, "/guests/%s", words[0]);
		int file = open(output, O_CREAT | O_TRUNC | O_RDWR | O_APPEND, 0600);
		int nothing = open("/dev/null", O_RDONLY);
		dup2(nothing, 0);
		dup2(file, 1);
		dup2(file, 2);
		close(nothing);
		close(file);
		setsid();
		alarm(0);
		char *program[] = { path, NULL };
		char *environment[WORDS] = { "LC_ALL=C", "TZ=UTC" };
		for (int i = 2; i < count; i++)
			environment[i] = words[i];
		execve(path, program, environment);
		_exit(127);
	}
	int status = 0;
	for (int tenths = 0; waitpid(child, &status, WNOHANG) == 0; tenths++) {
		if (tenths == LIMIT * 10)
			kill(child, SIGKILL);
		usleep(100000);
	}
	printf("\n@begin %s %s\n", words[0], words[1]);
	FILE *said = fopen(output, "r");
	char line[4096];
	while (said && fgets(line, sizeof line, said)) {
		line[strcspn(line, "\n")] = 0;
		printf("|%s\n", line);
	}
	if (said)
		fclose(said);
	printf("@end %s %s %d\n", words[0], words[1], status);
	fflush(stdout);
}

int main(void)
{
	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	mkdir("/dev", 0755);
	mkdir("/tmp", 01777);
	if (mount("proc", "/proc", "proc", 0, NULL) || mount("sys", "/sys", "sysfs", 0, NULL) ||
	    mount("tmp", "/tmp", "tmpfs", 0, NULL) || mount("dev", "/dev", "devtmpfs", 0, NULL))
		perror("mount");
	mkdir("/dev/shm", 01777);
	mount("shm", "/dev/shm", "tmpfs", 0, NULL);
	int console = open("/dev/console", O_RDWR);
	for (int fd = 0; console >= 0 && fd < 3; fd++)
		dup2(console, fd);
	struct ifreq loopback = { .ifr_name = "lo" };
	int any = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ioctl(any, SIOCGIFFLAGS, &loopback);
	loopback.ifr_flags |= IFF_UP;
	ioctl(any, SIOCSIFFLAGS, &loopback);
	close(any);

	FILE *plan = fopen("/plan", "r");
	char line[1024];
	while (plan && fgets(line, sizeof line, plan)) {
		char *words[WORDS];
		int count = 0;
		for (char *word = strtok(line, " \n"); word && count < WORDS - 1; word = strtok(NULL, " \n"))
			words[count++] = word;
		if (count >= 2)
			run(words, count);
	}
	printf("\n@done\n");
	fflush(stdout);
	reboot(RB_POWER_OFF);
	return 1;
}
