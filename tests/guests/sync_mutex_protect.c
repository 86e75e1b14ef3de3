// Priority-protect mutexes and ceilings, with real-time priorities where the system gives them.
#include "guest.h"
#include <sched.h>

static pthread_mutex_t mutex;

static int priority(void)
{
	struct sched_param parameters;
	IS(sched_getparam(gettid(), &parameters), 0);
	return parameters.sched_priority;
}

static void *contends(void *unused)
{
	struct sched_param parameters = { 2 };
	printf("real time: %d\n", pthread_setschedparam(pthread_self(), SCHED_FIFO, &parameters));
	int before = priority();
	int error = pthread_mutex_lock(&mutex);
	printf("lock: %d, priority %d", error, before);
	if (!error) {
		printf(" then %d", priority());
		OK(pthread_mutex_unlock(&mutex));
		printf(" then %d", priority());
	}
	puts("");
	parameters.sched_priority = 40;
	error = pthread_setschedparam(pthread_self(), SCHED_FIFO, &parameters);
	printf("real time: %d, ", error);
	error = pthread_mutex_lock(&mutex);
	printf("lock: %d\n", error);
	if (!error)
		OK(pthread_mutex_unlock(&mutex));
	return unused;
}

static void *releases(void *unused)
{
	sleep_ms(10);
	int error = pthread_mutex_lock(&mutex);
	printf("another: %d\n", error);
	if (!error)
		OK(pthread_mutex_unlock(&mutex));
	return unused;
}

int main(void)
{
	pthread_mutexattr_t attributes;
	int ceiling, protocol;
	OK(pthread_mutexattr_init(&attributes));
	OK(pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_PROTECT));
	IS(pthread_mutexattr_setprotocol(&attributes, 77), EINVAL);
	OK(pthread_mutexattr_getprotocol(&attributes, &protocol));
	IS(protocol, PTHREAD_PRIO_PROTECT);
	IS(pthread_mutexattr_setprioceiling(&attributes, 1000), EINVAL);
	OK(pthread_mutexattr_setprioceiling(&attributes, 10));
	OK(pthread_mutexattr_getprioceiling(&attributes, &ceiling));
	IS(ceiling, 10);
	OK(pthread_mutex_init(&mutex, &attributes));
	OK(pthread_mutex_getprioceiling(&mutex, &ceiling));
	IS(ceiling, 10);
	join(start(contends, NULL));
	pthread_t thread = start(releases, NULL);
	int old, error = pthread_mutex_lock(&mutex);
	printf("main: %d\n", error);
	if (!error) {
		sleep_ms(30);
		OK(pthread_mutex_unlock(&mutex));
	}
	join(thread);
	error = pthread_mutex_setprioceiling(&mutex, 20, &old);
	printf("ceiling: %d, was %d\n", error, error ? 10 : old);
	IS(pthread_mutex_setprioceiling(&mutex, 1000, &old), EINVAL);
	OK(pthread_mutex_destroy(&mutex));
	return 0;
}
