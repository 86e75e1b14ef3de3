// Objects that processes share wake across them, in both directions, whoever had threads before, whichever process mapped them, and in whatever kind of memory they are.
// guest: limit=120
#include "shared.h"
#include <fcntl.h>
#include <semaphore.h>
#include <sys/shm.h>
#include <sys/wait.h>

enum object { SEMAPHORE, MUTEX, CONDITION, BARRIER, ROBUST, OBJECTS };
enum memory { ANONYMOUS, IN_FILE, MEMFD, SYSTEM_V, MEMORIES };
enum side { FIRST, SECOND };

static const char *const object_names[] = { "semaphore", "mutex", "condition", "barrier", "robust" };

/* What two processes share. Each part is for one direction. */
struct shared {
	struct part {
		sem_t semaphore;
		pthread_mutex_t mutex, robust, of_condition;
		pthread_cond_t condition;
		pthread_barrier_t barrier;
		int told;
		/* Counts what the two have done. */
		atomic_int step;
	} parts[2];
};

static struct shared *shared;

static void wait_for_step(struct part *part, int step)
{
	while (atomic_load(&part->step) < step)
		usleep(200);
}

static void init(void)
{
	for (int i = 0; i < 2; i++) {
		struct part *part = &shared->parts[i];
		IS(sem_init(&part->semaphore, 1, 0), 0);
		init_shared_mutex(&part->mutex, PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_STALLED);
		init_shared_mutex(&part->of_condition, PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_STALLED);
		init_shared_mutex(&part->robust, PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_ROBUST);
		init_shared_condition(&part->condition);
		init_shared_barrier(&part->barrier, 2);
	}
}

static void *map(enum memory memory)
{
	void *at = MAP_FAILED;
	int fd = -1;
	switch (memory) {
	case ANONYMOUS:
		return map_shared(sizeof *shared);
	case SYSTEM_V: {
		int id = shmget(IPC_PRIVATE, sizeof *shared, 0600);
		CHECK(id >= 0);
		at = shmat(id, NULL, 0);
		CHECK(at != (void *)-1);
		IS(shmctl(id, IPC_RMID, NULL), 0);
		return at;
	}
	case IN_FILE: {
		char path[] = "/tmp/sync_shared_matrix.XXXXXX";
		fd = mkstemp(path);
		CHECK(fd >= 0);
		IS(unlink(path), 0);
		break;
	}
	default:
		fd = memfd_create("shared", 0);
	}
	IS(ftruncate(fd, sizeof *shared), 0);
	at = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(at != MAP_FAILED);
	close(fd);
	return at;
}

/* Waits in a direction until the other side wakes. */
static void take(enum object object, struct part *part)
{
	switch (object) {
	case SEMAPHORE:
		atomic_store(&part->step, 1);
		IS(sem_wait(&part->semaphore), 0);
		break;
	case MUTEX:
		wait_for_step(part, 1);
		atomic_store(&part->step, 2);
		OK(pthread_mutex_lock(&part->mutex));
		OK(pthread_mutex_unlock(&part->mutex));
		break;
	case ROBUST:
		wait_for_step(part, 1);
		atomic_store(&part->step, 2);
		OK(pthread_mutex_lock(&part->robust));
		OK(pthread_mutex_unlock(&part->robust));
		break;
	case CONDITION:
		OK(pthread_mutex_lock(&part->of_condition));
		atomic_store(&part->step, 1);
		while (!part->told)
			OK(pthread_cond_wait(&part->condition, &part->of_condition));
		OK(pthread_mutex_unlock(&part->of_condition));
		break;
	default: {
		atomic_store(&part->step, 1);
		int result = pthread_barrier_wait(&part->barrier);
		CHECK(result == 0 || result == PTHREAD_BARRIER_SERIAL_THREAD);
	}
	}
}

/* Wakes who waits in a direction, most often once he sleeps. */
static void give(enum object object, struct part *part)
{
	pthread_mutex_t *mutex = object == ROBUST ? &part->robust : &part->mutex;
	switch (object) {
	case MUTEX:
	case ROBUST:
		OK(pthread_mutex_lock(mutex));
		atomic_store(&part->step, 1);
		wait_for_step(part, 2);
		usleep(500);
		OK(pthread_mutex_unlock(mutex));
		return;
	default:
		wait_for_step(part, 1);
		usleep(500);
	}
	switch (object) {
	case SEMAPHORE:
		IS(sem_post(&part->semaphore), 0);
		break;
	case CONDITION:
		OK(pthread_mutex_lock(&part->of_condition));
		part->told = 1;
		OK(pthread_cond_signal(&part->condition));
		OK(pthread_mutex_unlock(&part->of_condition));
		break;
	default: {
		int result = pthread_barrier_wait(&part->barrier);
		CHECK(result == 0 || result == PTHREAD_BARRIER_SERIAL_THREAD);
	}
	}
}

struct turn { enum object object; struct part *part; };

static void *takes(void *argument)
{
	struct turn *turn = argument;
	take(turn->object, turn->part);
	return NULL;
}

/* Both directions: what a thread waits for, another process's first thread wakes. */
static void exchange(enum object object, enum side side)
{
	struct turn turn = { object, &shared->parts[side] };
	pthread_t thread;
	OK(pthread_create(&thread, NULL, takes, &turn));
	give(object, &shared->parts[!side]);
	OK(pthread_join(thread, NULL));
}

static void *quick(void *unused)
{
	return unused;
}

static void wait_for(pid_t child)
{
	int status;
	CHECK(child > 0);
	IS(waitpid(child, &status, 0), child);
	IS(status, 0);
}

/* Two processes exchange: the caller and its child. */
static void pair(enum object object)
{
	init();
	pid_t child = fork();
	if (child == 0) {
		exchange(object, SECOND);
		_exit(0);
	}
	exchange(object, FIRST);
	wait_for(child);
}

static void have_thread(void)
{
	pthread_t thread;
	OK(pthread_create(&thread, NULL, quick, NULL));
	OK(pthread_join(thread, NULL));
}

/* In a process of its own: `depth` forks away from it the two that exchange begin. */
static void scenario(bool threads, int depth, bool before, enum object object, enum memory memory)
{
	if (threads)
		have_thread();
	if (before)
		shared = map(memory);
	for (; depth > 0; depth--) {
		pid_t child = fork();
		if (child != 0) {
			wait_for(child);
			_exit(0);
		}
	}
	if (!before)
		shared = map(memory);
	pair(object);
	_exit(0);
}

int main(void)
{
	for (enum object object = 0; object < OBJECTS; object++) {
		int count = 0;
		for (int i = 0; i < 2 * 3 * 2 * MEMORIES; i++) {
			bool threads = i & 1, before = i & 2;
			int depth = i / 4 % 3;
			enum memory memory = i / 12;
			pid_t child = fork();
			if (child == 0)
				scenario(threads, depth, before, object, memory);
			wait_for(child);
			count++;
		}
		printf("%s: %d\n", object_names[object], count);
	}
	return 0;
}
