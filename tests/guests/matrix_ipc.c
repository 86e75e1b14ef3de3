// guest: limit=60 compile=-lrt
// Waits for System V and POSIX queues and semaphores and for completions, by one thread while another ticks.
// covers: semop semtimedop msgsnd msgrcv mq_timedsend mq_timedreceive io_getevents io_pgetevents io_uring_enter
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <mqueue.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include "matrix.h"

static int semaphores, messages, ring;
static mqd_t queue;
static aio_context_t context;
static struct timespec block_time = { 0, BLOCK_MS * MS };
static struct { long type; char text[8]; } message = { 1, "x" };

static void take(void)
{
	struct sembuf down = { 0, -1, 0 };
	IS(syscall(SYS_semop, semaphores, &down, 1), 0);
}

static void take_timed(void)
{
	struct sembuf down = { 0, -1, 0 };
	FAILS(syscall(SYS_semtimedop, semaphores, &down, 1, &block_time), EAGAIN);
}

static void give(void)
{
	struct sembuf up = { 0, 1, 0 };
	IS(semop(semaphores, &up, 1), 0);
}

static void send_message(void) { IS(msgsnd(messages, &message, 8, 0), 0); }
static void take_message(void) { IS(msgrcv(messages, &message, 8, 0, 0), 8); }
static void do_msgrcv(void) { IS(syscall(SYS_msgrcv, messages, &message, 8, 0, 0), 8); }

static void fill_messages(void)
{
	while (msgsnd(messages, &message, 8, IPC_NOWAIT) == 0)
		;
	IS(errno, EAGAIN);
}

static void do_msgsnd(void)
{
	IS(syscall(SYS_msgsnd, messages, &message, 8, 0), 0);
	while (msgrcv(messages, &message, 8, 0, IPC_NOWAIT) == 8)
		;
}

static void mq_give(void) { IS(mq_send(queue, "x", 1, 0), 0); }
static void mq_take(void) { char byte; IS(mq_receive(queue, &byte, 1, NULL), 1); }
static void do_mq_receive(void) { char byte; IS(syscall(SYS_mq_timedreceive, queue, &byte, 1, NULL, NULL), 1); }

static void do_mq_send(void)
{
	IS(syscall(SYS_mq_timedsend, queue, "x", 1, 0, NULL), 0);
	mq_take();
}

static void do_getevents(void)
{
	struct io_event event;
	IS(syscall(SYS_io_getevents, context, 1, 1, &event, &block_time), 0);
}

static void do_pgetevents(void)
{
	struct io_event event;
	IS(syscall(SYS_io_pgetevents, context, 1, 1, &event, &block_time, NULL), 0);
}

static void do_uring_enter(void)
{
	struct io_uring_getevents_arg wait = { .sigmask_sz = 8, .ts = (uintptr_t)&block_time };
	if (ring < 0) {
		sleep_ms(BLOCK_MS); /* not allowed here */
		return;
	}
	FAILS(syscall(SYS_io_uring_enter, ring, 0, 1, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &wait,
		      sizeof wait),
	      ETIME);
}

int main(void)
{
	static const struct cell cells[] = {
		{ "semop", NULL, take, give },
		{ "semtimedop", NULL, take_timed, NULL },
		{ "msgrcv", NULL, do_msgrcv, send_message },
		{ "msgsnd", fill_messages, do_msgsnd, take_message },
		{ "mq_timedreceive", NULL, do_mq_receive, mq_give },
		{ "mq_timedsend", mq_give, do_mq_send, mq_take },
		{ "io_getevents", NULL, do_getevents, NULL },
		{ "io_pgetevents", NULL, do_pgetevents, NULL },
		{ "io_uring_enter", NULL, do_uring_enter, NULL },
	};
	struct mq_attr one = { .mq_maxmsg = 1, .mq_msgsize = 1 };
	struct io_uring_params about = { 0 };
	char name[64];
	snprintf(name, sizeof name, "/guest-matrix-%d", getpid());
	queue = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &one);
	CHECK(queue != (mqd_t)-1);
	IS(mq_unlink(name), 0);
	semaphores = semget(IPC_PRIVATE, 1, 0600);
	messages = msgget(IPC_PRIVATE, 0600);
	CHECK(semaphores >= 0 && messages >= 0);
	IS(syscall(SYS_io_setup, 4, &context), 0);
	ring = (int)syscall(SYS_io_uring_setup, 4, &about);
	run_cells(cells, COUNT(cells));
	IS(semctl(semaphores, 0, IPC_RMID), 0);
	IS(msgctl(messages, IPC_RMID, NULL), 0);
	return 0;
}
