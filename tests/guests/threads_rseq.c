// A second area for restartable sequences is refused to every thread, beside libc's own.
#include "guest.h"
#include <sys/rseq.h>
#include <sys/syscall.h>

static void *registers(void *unused)
{
	static _Thread_local struct rseq mine __attribute__((aligned(32)));
	mine.cpu_id = (uint32_t)RSEQ_CPU_ID_UNINITIALIZED;
	IS(syscall(SYS_rseq, &mine, 32, 0, RSEQ_SIG), -1);
	CHECK(mine.cpu_id == (uint32_t)RSEQ_CPU_ID_UNINITIALIZED);
	CHECK(sched_getcpu() >= 0);
	return unused;
}

int main(void)
{
	join(start(registers, NULL));
	registers(NULL);
	puts("refused");
	return 0;
}
