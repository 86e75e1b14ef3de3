// sched_setattr(2) in a thread: what it refuses, and what sched_getattr(2) tells afterwards.
#include "guest.h"
#include <sched.h>
#include <stddef.h>
#include <sys/syscall.h>

struct attr {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
	uint32_t clamp[2];
};

enum { FIRST = offsetof(struct attr, clamp), DEADLINE = 6, EXTENSIBLE = 7, UNKNOWN = 99 };
enum { RESET = 1, RECLAIM = 2, OVERRUN = 4, KEEP_POLICY = 8, KEEP_PARAMETERS = 16, CLAMPS = 0x60 };

static const char *error_of(long result)
{
	return result ? strerrorname_np(errno) : "0";
}

static void set(const char *what, struct attr attr)
{
	attr.size = attr.size ? attr.size : sizeof attr;
	printf("%s: %s, ", what, error_of(syscall(SYS_sched_setattr, 0, &attr, 0)));
	memset(&attr, 0, sizeof attr);
	IS(syscall(SYS_sched_getattr, 0, &attr, FIRST, 0), 0);
	printf("policy %u flags %llx nice %d priority %u runtime %llu deadline %llu period %llu\n", attr.policy,
	       (unsigned long long)attr.flags, attr.nice, attr.priority, (unsigned long long)attr.runtime,
	       (unsigned long long)attr.deadline, (unsigned long long)attr.period);
}

static void of_size(const char *what, uint32_t size, int last)
{
	char bytes[100] = { 0 };
	memcpy(bytes, &size, sizeof size);
	bytes[sizeof bytes - 1] = (char)last;
	const char *error = error_of(syscall(SYS_sched_setattr, 0, bytes, 0));
	memcpy(&size, bytes, sizeof size);
	printf("%s: %s, size %u\n", what, error, size);
}

static void *is_new(void *unused)
{
	struct attr attr = { 0 };
	IS(syscall(SYS_sched_getattr, 0, &attr, FIRST, 0), 0);
	printf("  its new thread: policy %u flags %llx nice %d runtime %llu\n", attr.policy,
	       (unsigned long long)attr.flags, attr.nice, (unsigned long long)attr.runtime);
	return unused;
}

static void sizes(void)
{
	of_size("none", 0, 0);
	of_size("small", 20, 0);
	of_size("first", FIRST, 0);
	of_size("large", 100, 0);
	of_size("large and not zero", 100, 1);
	of_size("vast", 1 << 20, 0);
	FAILS(syscall(SYS_sched_setattr, 0, NULL, 0), EINVAL);
	FAILS(syscall(SYS_sched_setattr, 0, unmapped, 0), EFAULT);
	struct attr attr = { .size = sizeof attr };
	FAILS(syscall(SYS_sched_setattr, 0, &attr, 1), EINVAL);
	FAILS(syscall(SYS_sched_setattr, -1, &attr, 0), EINVAL);
	FAILS(syscall(SYS_sched_getattr, 0, &attr, 20, 0), EINVAL);
	FAILS(syscall(SYS_sched_getattr, 0, &attr, sizeof attr, 1), EINVAL);
}

static void deadlines(void)
{
	set("no deadline", (struct attr){ .policy = DEADLINE });
	set("short runtime", (struct attr){ .policy = DEADLINE, .runtime = 1000, .deadline = 100 * MS });
	set("short period",
	    (struct attr){ .policy = DEADLINE, .runtime = 10 * MS, .deadline = 100 * MS, .period = 50 * MS });
	set("long period", (struct attr){ .policy = DEADLINE, .runtime = 10 * MS, .deadline = 5000 * MS });
	set("deadline and priority",
	    (struct attr){ .policy = DEADLINE, .priority = 3, .runtime = 10 * MS, .deadline = 100 * MS });
	cpu_set_t all, one;
	IS(sched_getaffinity(0, sizeof all, &all), 0);
	one = all;
	for (int i = 0, seen = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &one) && seen++)
			CPU_CLR(i, &one);
	IS(sched_setaffinity(0, sizeof one, &one), 0);
	if (!CPU_EQUAL(&one, &all))
		set("deadline on one processor",
		    (struct attr){ .policy = DEADLINE, .runtime = 10 * MS, .deadline = 100 * MS });
	IS(sched_setaffinity(0, sizeof all, &all), 0);
}

static void *body(void *unused)
{
	sizes();
	deadlines();
	set("extensible with a priority", (struct attr){ .policy = EXTENSIBLE, .priority = 1 });
	printf("extensible: %s\n", error_of(sched_setscheduler(0, EXTENSIBLE, &(struct sched_param){ 0 })));
	set("back", (struct attr){ 0 });
	set("priority without real time", (struct attr){ .priority = 5 });
	set("too high a priority", (struct attr){ .policy = SCHED_FIFO, .priority = 100 });
	set("unknown policy", (struct attr){ .policy = UNKNOWN });
	set("unknown policy, kept", (struct attr){ .policy = UNKNOWN, .flags = KEEP_POLICY });
	set("unknown flag", (struct attr){ .flags = 0x80 });
	set("flags of deadlines", (struct attr){ .flags = RECLAIM | OVERRUN });
	set("clamps in the first size", (struct attr){ .size = FIRST, .flags = CLAMPS });
	set("clamps", (struct attr){ .flags = CLAMPS | KEEP_POLICY | KEEP_PARAMETERS, .clamp = { 0, 1024 } });

	set("slice", (struct attr){ .runtime = 5 * MS });
	join(start(is_new, NULL));
	set("long slice", (struct attr){ .runtime = 5000 * MS });
	set("short slice", (struct attr){ .runtime = 5 });
	IS(sched_setscheduler(0, SCHED_BATCH, &(struct sched_param){ 0 }), 0);
	set("parameters kept", (struct attr){ .flags = KEEP_PARAMETERS, .nice = 4 });
	set("policy kept", (struct attr){ .flags = KEEP_POLICY, .nice = 4, .runtime = 7 * MS });
	set("niceness of idle", (struct attr){ .policy = SCHED_IDLE, .nice = 9 });
	set("back", (struct attr){ .nice = 5 });
	set("real time", (struct attr){ .policy = SCHED_RR, .priority = 7, .runtime = 3 * MS });
	set("back", (struct attr){ .nice = 6 });
	set("batch and reset", (struct attr){ .policy = SCHED_BATCH, .flags = RESET, .nice = 7, .runtime = 7 * MS });
	join(start(is_new, NULL));
	set("kept without reset", (struct attr){ .flags = KEEP_POLICY | KEEP_PARAMETERS });
	set("no reset", (struct attr){ .nice = 8 });
	return unused;
}

int main(void)
{
	join(start(body, NULL));
	puts("done");
	return 0;
}
