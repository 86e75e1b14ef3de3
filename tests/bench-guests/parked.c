/* Parks N threads and prints what each of them costs in resident memory.
 *
 * usage: parked N [cond|pipe]
 * The threads wait for one condition variable, or read one empty pipe. Prints
 *   created=N rss_kib_per_thread=X kernel_threads=K error=E
 * where E is the error number at which pthread_create stopped before N, or 0.
 * All threads are then woken and joined; a thread that doesn't end hangs the
 * program, which is for the caller's time limit to see.
 *
 * RSS is the Rss of /proc/self/smaps_rollup: page tables and the kernel's own
 * stack of a kernel thread are not part of it.
 */
#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "bench.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t all_there = PTHREAD_COND_INITIALIZER;
static pthread_cond_t go = PTHREAD_COND_INITIALIZER;
static long there; /* threads that have parked or are about to; under the mutex */
static long expected = -1; /* how many `there` must reach; under the mutex */
static int open_door; /* under the mutex */
static int pipe_ends[2];
static int use_pipe;

/* The number after a name in a file of "name: number" lines. */
static long field(const char *path, const char *name)
{
	char line[256];
	long value = -1;
	FILE *file = fopen(path, "r");

	if (file == NULL) {
		perror(path);
		exit(1);
	}
	while (fgets(line, sizeof line, file) != NULL)
		if (strncmp(line, name, strlen(name)) == 0) {
			value = atol(line + strlen(name));
			break;
		}
	fclose(file);
	if (value < 0) {
		fprintf(stderr, "parked: no %s in %s\n", name, path);
		exit(1);
	}
	return value;
}

static void *park(void *arg)
{
	must("pthread_mutex_lock", pthread_mutex_lock(&mutex));
	if (++there == expected)
		must("pthread_cond_signal", pthread_cond_signal(&all_there));
	while (!use_pipe && !open_door)
		must("pthread_cond_wait", pthread_cond_wait(&go, &mutex));
	must("pthread_mutex_unlock", pthread_mutex_unlock(&mutex));
	if (use_pipe) {
		char byte;
		if (read(pipe_ends[0], &byte, 1) != 0) {
			perror("parked: read");
			exit(1);
		}
	}
	return arg;
}

int main(int argc, char **argv)
{
	long wanted = count_argument(argc, argv, 1, 10000);
	long created = 0;
	int error = 0;

	use_pipe = argc > 2 && strcmp(argv[2], "pipe") == 0;
	if (pipe(pipe_ends) != 0) {
		perror("parked: pipe");
		return 1;
	}
	pthread_t *threads = malloc(wanted * sizeof *threads);
	if (threads == NULL) {
		perror("parked: malloc");
		return 1;
	}
	/* Resident before the threads come, so that it isn't counted as theirs. */
	memset(threads, 0, wanted * sizeof *threads);
	long before = field("/proc/self/smaps_rollup", "Rss:");

	while (created < wanted) {
		error = pthread_create(&threads[created], NULL, park, NULL);
		if (error != 0)
			break;
		created++;
	}
	must("pthread_mutex_lock", pthread_mutex_lock(&mutex));
	expected = created;
	while (there < expected)
		must("pthread_cond_wait", pthread_cond_wait(&all_there, &mutex));
	must("pthread_mutex_unlock", pthread_mutex_unlock(&mutex));
	if (use_pipe)
		/* Nothing can tell that a thread is inside its read; give them
		 * the time. One that isn't there yet only lowers the number. */
		usleep(300000);

	long rss = field("/proc/self/smaps_rollup", "Rss:") - before;
	printf("created=%ld rss_kib_per_thread=%.2f kernel_threads=%ld error=%d\n", created,
	       (double)rss / (created ? created : 1), field("/proc/self/status", "Threads:"), error);
	fflush(stdout);

	close(pipe_ends[1]);
	must("pthread_mutex_lock", pthread_mutex_lock(&mutex));
	open_door = 1;
	must("pthread_cond_broadcast", pthread_cond_broadcast(&go));
	must("pthread_mutex_unlock", pthread_mutex_unlock(&mutex));
	for (long i = 0; i < created; i++)
		must("pthread_join", pthread_join(threads[i], NULL));
	return 0;
}
