/* Objects of POSIX that processes share. */
#ifndef SHARED_H
#define SHARED_H

#include "guest.h"
#include <sys/mman.h>

/* Memory that a forked child shares. */
UNUSED static void *map_shared(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(memory != MAP_FAILED);
	return memory;
}

UNUSED static void init_shared_mutex(pthread_mutex_t *mutex, int type, int robust)
{
	pthread_mutexattr_t attributes;
	OK(pthread_mutexattr_init(&attributes));
	OK(pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED));
	OK(pthread_mutexattr_settype(&attributes, type));
	OK(pthread_mutexattr_setrobust(&attributes, robust));
	OK(pthread_mutex_init(mutex, &attributes));
	OK(pthread_mutexattr_destroy(&attributes));
}

UNUSED static void init_shared_condition(pthread_cond_t *condition)
{
	pthread_condattr_t attributes;
	OK(pthread_condattr_init(&attributes));
	OK(pthread_condattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED));
	OK(pthread_cond_init(condition, &attributes));
	OK(pthread_condattr_destroy(&attributes));
}

UNUSED static void init_shared_barrier(pthread_barrier_t *barrier, unsigned count)
{
	pthread_barrierattr_t attributes;
	OK(pthread_barrierattr_init(&attributes));
	OK(pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED));
	OK(pthread_barrier_init(barrier, &attributes, count));
	OK(pthread_barrierattr_destroy(&attributes));
}

#endif
