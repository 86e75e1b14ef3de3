/* The cost of a system call that never waits: getppid, or a recv that finds nothing.
 *
 * usage: passthrough [calls [direct|syscall|recv]]
 * direct: by libc's getppid(). syscall: by libc's syscall(), whose one
 * instruction serves every call, so that the number is only known as it runs.
 * recv: with MSG_DONTWAIT on an empty socket, which the group socket wants.
 * One more thread exists meanwhile, parked in a read. Prints "ns_per_call=X",
 * the least of 1001 runs of that many calls: whatever else the machine does only
 * ever adds.
 */
#include <pthread.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"

#define RUNS 1001

static int pipe_ends[2];

static void *park(void *arg)
{
	char byte;
	if (read(pipe_ends[0], &byte, 1) != 0) {
		perror("passthrough: read");
		exit(1);
	}
	return arg;
}

int main(int argc, char **argv)
{
	long calls = count_argument(argc, argv, 1, 2000);
	int receives = argc > 2 && strcmp(argv[2], "recv") == 0;
	int by_number = argc > 2 && strcmp(argv[2], "syscall") == 0;
	double least = 0;
	pthread_t thread;

	int sockets[2];
	char byte;
	if (pipe(pipe_ends) != 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) != 0) {
		perror("passthrough: pipe, socketpair");
		return 1;
	}
	must("pthread_create", pthread_create(&thread, NULL, park, NULL));
	for (int run = 0; run < RUNS; run++) {
		double start = now_ns();
		if (by_number)
			for (long i = 0; i < calls; i++)
				syscall(SYS_getppid);
		else if (receives)
			for (long i = 0; i < calls; i++)
				recv(sockets[0], &byte, 1, MSG_DONTWAIT);
		else
			for (long i = 0; i < calls; i++)
				getppid();
		double each = (now_ns() - start) / calls;
		if (run == 0 || each < least)
			least = each;
	}
	printf("ns_per_call=%.2f\n", least);
	close(pipe_ends[1]);
	must("pthread_join", pthread_join(thread, NULL));
	return 0;
}
