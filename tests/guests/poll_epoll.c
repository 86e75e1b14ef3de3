// epoll: level, edge, one-shot, exclusive, nested; changes while another thread waits; errors.
#include "net.h"
#include <poll.h>
#include <sys/epoll.h>

static int epoll, ends[2];

static void add(int set, int fd, uint32_t events)
{
	struct epoll_event event = { events, { .fd = fd } };
	IS(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event), 0);
}

static int wait_for(int set, int ms)
{
	struct epoll_event events[8];
	int count = epoll_wait(set, events, 8, ms);
	return count == 1 ? events[0].data.fd : -count;
}

static void write_one(void *fd)
{
	IS(write(*(int *)fd, "x", 1), 1);
}

static void add_reader(void *fd)
{
	add(epoll, *(int *)fd, EPOLLIN);
}

static void rearm(void *fd)
{
	struct epoll_event event = { EPOLLIN | EPOLLONESHOT, { .fd = *(int *)fd } };
	IS(epoll_ctl(epoll, EPOLL_CTL_MOD, *(int *)fd, &event), 0);
}

static atomic_int served;
static atomic_bool all_done;

static void *worker(void *unused)
{
	struct epoll_event event;
	(void)unused;
	while (epoll_wait(epoll, &event, 1, -1) == 1) {
		char byte;
		if (atomic_load(&all_done))
			return NULL;
		IS(read(event.data.fd, &byte, 1), 1);
		atomic_fetch_add(&served, 1);
		rearm(&event.data.fd);
	}
	CHECK(false);
	return NULL;
}

int main(void)
{
	char byte;
	epoll = epoll_create1(EPOLL_CLOEXEC);
	IS(pipe(ends), 0);
	add(epoll, ends[0], EPOLLIN);
	IS(wait_for(epoll, 0), 0);
	IS(write(ends[1], "ab", 2), 2);
	IS(wait_for(epoll, -1), ends[0]);
	IS(wait_for(epoll, -1), ends[0]); /* level: still there */
	struct epoll_event event = { EPOLLIN | EPOLLET, { .fd = ends[0] } };
	IS(epoll_ctl(epoll, EPOLL_CTL_MOD, ends[0], &event), 0);
	IS(wait_for(epoll, -1), ends[0]);
	IS(wait_for(epoll, 20), 0); /* edge: told once */
	BLOCKS("edge", write_one, &ends[1], ends[0], wait_for(epoll, -1));
	IS(wait_for(epoll, 20), 0);
	for (int i = 0; i < 3; i++)
		IS(read(ends[0], &byte, 1), 1);
	rearm(&ends[0]);
	BLOCKS("one-shot", write_one, &ends[1], ends[0], wait_for(epoll, -1));
	IS(wait_for(epoll, 20), 0);
	BLOCKS("one-shot armed again", rearm, &ends[0], ends[0], wait_for(epoll, -1));
	IS(read(ends[0], &byte, 1), 1);
	IS(epoll_ctl(epoll, EPOLL_CTL_DEL, ends[0], NULL), 0);
	IS(write(ends[1], "x", 1), 1);
	BLOCKS("added while waiting", add_reader, &ends[0], ends[0], wait_for(epoll, -1));
	IS(read(ends[0], &byte, 1), 1);

	int outer = epoll_create1(0);
	add(outer, epoll, EPOLLIN);
	BLOCKS("nested", write_one, &ends[1], epoll, wait_for(outer, -1));
	IS(wait_for(epoll, 0), ends[0]);
	struct pollfd wanted = { epoll, POLLIN, 0 };
	IS(poll(&wanted, 1, -1), 1);
	IS(read(ends[0], &byte, 1), 1);
	BLOCKS("polled", write_one, &ends[1], 1, poll(&wanted, 1, -1));
	IS(read(ends[0], &byte, 1), 1);
	close(outer);

	struct epoll_event events[2] = { { .events = EPOLLIN } };
	FAILS(epoll_wait(epoll, events, 0, 0), EINVAL);
	FAILS(epoll_wait(ends[0], events, 2, 0), EINVAL);
	FAILS(epoll_wait(-1, events, 2, -1), EBADF);
	FAILS(epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], events), EEXIST);
	FAILS(epoll_ctl(epoll, EPOLL_CTL_DEL, ends[1], NULL), ENOENT);
	int file = open("/proc/self/exe", O_RDONLY);
	FAILS(epoll_ctl(epoll, EPOLL_CTL_ADD, file, events), EPERM);
	IS(close(ends[1]), 0);
	IS(epoll_wait(epoll, events, 2, -1), 1);
	IS(events[0].events, EPOLLHUP);
	IS(close(ends[0]), 0); /* leaves the set with its last descriptor */
	IS(wait_for(epoll, 20), 0);
	puts("errors");

	int pipes[20][2];
	pthread_t workers[4];
	for (int i = 0; i < 20; i++) {
		IS(pipe(pipes[i]), 0);
		add(epoll, pipes[i][0], EPOLLIN | EPOLLONESHOT);
	}
	for (int i = 0; i < 4; i++)
		workers[i] = start(worker, NULL);
	for (int round = 0; round < 10; round++)
		for (int i = 0; i < 20; i++)
			IS(write(pipes[i][1], "x", 1), 1);
	while (atomic_load(&served) < 200)
		sleep_ms(1);
	IS(pipe(ends), 0);
	add(epoll, ends[0], EPOLLIN);
	atomic_store(&all_done, true);
	IS(write(ends[1], "x", 1), 1); /* level: wakes every worker */
	for (int i = 0; i < 4; i++)
		join(workers[i]);
	printf("%d served by four workers\n", atomic_load(&served));
	return 0;
}
