// The kernel watches no more descriptors for epoll sets: threads that wait for one go on all the same.
#include "limit.h"

static void *nothing(void *unused)
{
	return unused;
}

int main(void)
{
	prepare();
	join(start(nothing, NULL));
	/* EPOLL_CTL_ADD is 1, and the only operation with that bit beside EPOLL_CTL_MOD, which is 3. */
	refuse(SYS_epoll_ctl, 1, EPOLL_CTL_ADD, ENOSPC);
	everything();
	puts("everything goes on");
	return 0;
}
