// guest: limit=60
// A program's own io_uring: its waits for completions, their numbers, time-outs and interruptions.
#include "guest.h"
#include <linux/io_uring.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>

struct ring {
	int fd;
	unsigned *sq_tail, *sq_mask, *sq_array, *cq_head, *cq_tail, *cq_mask;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
};

static bool open_ring(struct ring *ring, unsigned flags)
{
	struct io_uring_params about = { .flags = flags };
	char *sq, *cq;
	ring->fd = (int)syscall(SYS_io_uring_setup, 8, &about);
	if (ring->fd < 0)
		return false;
	sq = mmap(NULL, about.sq_off.array + about.sq_entries * sizeof(unsigned),
		  PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, IORING_OFF_SQ_RING);
	cq = mmap(NULL, about.cq_off.cqes + about.cq_entries * sizeof(struct io_uring_cqe),
		  PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, IORING_OFF_CQ_RING);
	ring->sqes = mmap(NULL, about.sq_entries * sizeof(struct io_uring_sqe),
			  PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, IORING_OFF_SQES);
	CHECK(sq != MAP_FAILED && cq != MAP_FAILED && ring->sqes != MAP_FAILED);
	ring->sq_tail = (unsigned *)(sq + about.sq_off.tail);
	ring->sq_mask = (unsigned *)(sq + about.sq_off.ring_mask);
	ring->sq_array = (unsigned *)(sq + about.sq_off.array);
	ring->cq_head = (unsigned *)(cq + about.cq_off.head);
	ring->cq_tail = (unsigned *)(cq + about.cq_off.tail);
	ring->cq_mask = (unsigned *)(cq + about.cq_off.ring_mask);
	ring->cqes = (struct io_uring_cqe *)(cq + about.cq_off.cqes);
	return true;
}

static void prepare_read(struct ring *ring, int fd, char *byte, uint64_t name)
{
	unsigned tail = *ring->sq_tail, index = tail & *ring->sq_mask;
	ring->sqes[index] = (struct io_uring_sqe){
		.opcode = IORING_OP_READ, .fd = fd, .addr = (uintptr_t)byte, .len = 1,
		.off = UINT64_MAX, .user_data = name,
	};
	ring->sq_array[index] = index;
	__atomic_store_n(ring->sq_tail, tail + 1, __ATOMIC_RELEASE);
}

static long enter(struct ring *ring, unsigned submit, unsigned least, unsigned flags, void *argument,
		  size_t size)
{
	return syscall(SYS_io_uring_enter, ring->fd, submit, least, flags, argument, size);
}

static int waiting(struct ring *ring)
{
	return (int)(__atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE) - *ring->cq_head);
}

static uint64_t take(struct ring *ring)
{
	unsigned head = *ring->cq_head;
	struct io_uring_cqe done = ring->cqes[head & *ring->cq_mask];
	CHECK(waiting(ring) > 0);
	IS(done.res, 1);
	__atomic_store_n(ring->cq_head, head + 1, __ATOMIC_RELEASE);
	return done.user_data;
}

static int pipes[2][2];

static void write_one(void *raw)
{
	IS(write(pipes[(intptr_t)raw][1], "x", 1), 1);
}

static void write_both(void *unused)
{
	(void)unused;
	write_one((void *)0);
	sleep_ms(5);
	write_one((void *)1);
}

static atomic_int handled;

static void handler(int signal)
{
	(void)signal;
	atomic_fetch_add(&handled, 1);
}

static pthread_t waiter;

static void interrupt(void *unused)
{
	(void)unused;
	/* Again and again: the first may come before the wait. */
	while (!atomic_load(&handled)) {
		OK(pthread_kill(waiter, SIGUSR1));
		sleep_ms(1);
	}
}

static void waits(struct ring ring)
{
	struct release release;
	struct ticker ticker;
	char bytes[2];
	sigset_t only_usr2;
	struct __kernel_timespec quarter = { 0, 250 * MS };
	struct io_uring_getevents_arg timed = { .ts = (uintptr_t)&quarter };
	unsigned flags = IORING_ENTER_GETEVENTS;

	prepare_read(&ring, pipes[0][0], &bytes[0], 10);
	release_start(&release, write_one, (void *)0);
	IS(enter(&ring, 1, 1, flags, NULL, 8), 1);
	release_check(&release, "io_uring_enter, one of one,");
	IS(take(&ring), 10);
	IS(waiting(&ring), 0);

	prepare_read(&ring, pipes[0][0], &bytes[0], 20);
	prepare_read(&ring, pipes[1][0], &bytes[1], 21);
	IS(enter(&ring, 2, 0, 0, NULL, 0), 2);
	release_start(&release, write_both, NULL);
	IS(enter(&ring, 0, 2, flags, NULL, 8), 0);
	IS(waiting(&ring), 2);
	release_check(&release, "io_uring_enter, two of two,");
	IS(take(&ring), 20);
	IS(take(&ring), 21);

	ticker_start(&ticker);
	FAILS(enter(&ring, 0, 1, flags | IORING_ENTER_EXT_ARG, &timed, sizeof timed), ETIME);
	ticker_check(&ticker, "io_uring_enter with a time-out");

	prepare_read(&ring, pipes[0][0], &bytes[0], 30);
	IS(enter(&ring, 1, 1, flags | IORING_ENTER_EXT_ARG, &timed, sizeof timed), 1);
	IS(waiting(&ring), 0);
	write_one((void *)0);
	IS(enter(&ring, 0, 1, flags, NULL, 8), 0);
	IS(take(&ring), 30);
	puts("a time-out hides behind submissions");

	prepare_read(&ring, pipes[0][0], &bytes[0], 40);
	IS(enter(&ring, 1, 0, 0, NULL, 0), 1);
	write_one((void *)0);
	IS(enter(&ring, 0, 2, flags | IORING_ENTER_EXT_ARG, &timed, sizeof timed), 0);
	IS(waiting(&ring), 1);
	IS(take(&ring), 40);
	puts("a time-out with one of two is no failure");

	FAILS(enter(&ring, 0, 1, flags | IORING_ENTER_EXT_ARG, &timed, 8), EINVAL);
	FAILS(enter(&ring, 0, 1, flags | IORING_ENTER_EXT_ARG, unmapped, sizeof timed), EFAULT);
	sigemptyset(&only_usr2);
	FAILS(enter(&ring, 0, 1, flags, &only_usr2, 4), EINVAL);

	atomic_store(&handled, 0);
	waiter = pthread_self();
	release_start(&release, interrupt, NULL);
	FAILS(enter(&ring, 0, 1, flags, NULL, 8), EINTR);
	release_check(&release, "io_uring_enter until a signal");

	sigaddset(&only_usr2, SIGUSR1);
	OK(pthread_sigmask(SIG_BLOCK, &only_usr2, NULL));
	sigemptyset(&only_usr2);
	atomic_store(&handled, 0);
	OK(pthread_kill(waiter, SIGUSR1));
	IS(atomic_load(&handled), 0);
	FAILS(enter(&ring, 0, 1, flags, &only_usr2, 8), EINTR);
	CHECK(atomic_load(&handled) == 1);
	OK(pthread_sigmask(SIG_BLOCK, NULL, &only_usr2));
	CHECK(sigismember(&only_usr2, SIGUSR1));
	puts("a mask for the wait alone");
	sigemptyset(&only_usr2);
	OK(pthread_sigmask(SIG_SETMASK, &only_usr2, NULL));
	IS(close(ring.fd), 0);
}

/* Made before there is another thread. */
static struct ring early;

static void *body(void *unused)
{
	struct ring ring;
	struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART };
	IS(sigaction(SIGUSR1, &action, NULL), 0);
	IS(pipe(pipes[0]), 0);
	IS(pipe(pipes[1]), 0);
	waits(early);
	CHECK(open_ring(&ring, 0));
	waits(ring);
	CHECK(open_ring(&ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN));
	waits(ring);
	return unused;
}

int main(void)
{
	if (!open_ring(&early, 0)) {
		puts("no io_uring here");
		return 0;
	}
	join(start(body, NULL));
	return 0;
}
