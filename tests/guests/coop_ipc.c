// System V semaphores and queues and POSIX queues block their own thread only.
// guest: compile=-lrt limit=60
#include "guest.h"
#include <fcntl.h>
#include <mqueue.h>
#include <signal.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/wait.h>

struct message {
	long type;
	char text[64];
};

static int queue;

static void send_message(void *unused)
{
	(void)unused;
	struct message message = { 7, "hello" };
	IS(msgsnd(queue, &message, 6, 0), 0);
}

static void receive_message(void *unused)
{
	(void)unused;
	struct message message;
	IS(msgrcv(queue, &message, sizeof message.text, 0, 0), 64);
}

static void remove_queue(void *unused)
{
	(void)unused;
	IS(msgctl(queue, IPC_RMID, NULL), 0);
}

static void system_v_queue(void)
{
	queue = msgget(IPC_PRIVATE, 0600);
	CHECK(queue >= 0);
	struct message message = { .type = 1 };
	struct release release;
	FAILS(msgrcv(queue, &message, 64, 0, IPC_NOWAIT), ENOMSG);
	release_start(&release, send_message, NULL);
	IS(msgrcv(queue, &message, 64, 7, 0), 6);
	release_check(&release, "msgrcv");
	CHECK(message.type == 7 && strcmp(message.text, "hello") == 0);
	FAILS(msgrcv(queue, unmapped, 64, 7, IPC_NOWAIT), ENOMSG);
	while (msgsnd(queue, &message, 64, IPC_NOWAIT) == 0)
		;
	IS(errno, EAGAIN);
	release_start(&release, receive_message, NULL);
	IS(msgsnd(queue, &message, 64, 0), 0);
	release_check(&release, "msgsnd");
	while (msgrcv(queue, &message, 64, 0, IPC_NOWAIT) >= 0)
		;
	release_start(&release, remove_queue, NULL);
	errno = 0;
	IS(msgrcv(queue, &message, 64, 0, 0), -1);
	IS(errno, EIDRM);
	release_check(&release, "msgrcv of a queue that is removed");
	FAILS(msgrcv(queue, &message, 64, 0, 0), EINVAL);
}

static int set;

static void change(int by)
{
	struct sembuf operation = { 0, (short)by, 0 };
	IS(semop(set, &operation, 1), 0);
}

static void raise_semaphore(void *unused)
{
	(void)unused;
	change(1);
}

static atomic_int passed;

static void *down(void *unused)
{
	change(-1);
	atomic_fetch_add(&passed, 1);
	return unused;
}

static void semaphores(void)
{
	set = semget(IPC_PRIVATE, 2, 0600);
	CHECK(set >= 0);
	struct release release;
	release_start(&release, raise_semaphore, NULL);
	change(-1);
	release_check(&release, "semop");

	struct sembuf down_one = { 0, -1, 0 }, nowait = { 0, -1, IPC_NOWAIT };
	FAILS(semop(set, &nowait, 1), EAGAIN);
	struct timespec soon = timespec_of(200 * MS), bad = { 0, 2000000000 };
	struct ticker ticker;
	ticker_start(&ticker);
	int64_t before = now_ns(CLOCK_MONOTONIC);
	FAILS(semtimedop(set, &down_one, 1, &soon), EAGAIN);
	CHECK(now_ns(CLOCK_MONOTONIC) - before >= 200 * MS);
	ticker_check(&ticker, "semtimedop");
	FAILS(semtimedop(set, &down_one, 1, &bad), EINVAL);
	FAILS(semop(set, unmapped, 1), EFAULT);
	FAILS(semop(set, &down_one, 0), EINVAL);
	FAILS(semop(-1, &down_one, 1), EINVAL);

	/* One of the two does not want to wait, the other is what is waited for. */
	struct sembuf two[2] = { { 0, -1, 0 }, { 1, 0, IPC_NOWAIT } };
	release_start(&release, raise_semaphore, NULL);
	IS(semop(set, two, 2), 0);
	release_check(&release, "semop of two");

	/* More than there are threads to wait for them. */
	enum { MANY = 300 };
	pthread_t threads[MANY];
	for (int i = 0; i < MANY; i++)
		threads[i] = start(down, NULL);
	sleep_ms(50);
	IS(atomic_load(&passed), 0);
	for (int i = 0; i < MANY; i++)
		change(1);
	for (int i = 0; i < MANY; i++)
		join(threads[i]);
	IS(atomic_load(&passed), MANY);
	puts("300 threads wait for one semaphore");

	/* What SEM_UNDO took is given back by the process's end, not a thread's. */
	change(1);
	pid_t child = fork();
	if (child == 0) {
		struct sembuf undo = { 0, -1, SEM_UNDO };
		_exit(semop(set, &undo, 1) != 0);
	}
	int status;
	IS(waitpid(child, &status, 0), child);
	IS(status, 0);
	IS(semctl(set, 0, GETVAL), 1);
	IS(semctl(set, 0, IPC_RMID), 0);
}

static mqd_t posix;

static void post_message(void *unused)
{
	(void)unused;
	IS(mq_send(posix, "low", 4, 1), 0);
	IS(mq_send(posix, "high", 5, 9), 0);
}

static void take_message(void *unused)
{
	(void)unused;
	char text[16];
	CHECK(mq_receive(posix, text, sizeof text, NULL) > 0);
}

static void posix_queue(void)
{
	char name[64];
	snprintf(name, sizeof name, "/coop_ipc_%d", getpid());
	struct mq_attr attributes = { .mq_maxmsg = 4, .mq_msgsize = 16 };
	posix = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attributes);
	CHECK(posix >= 0);
	IS(mq_unlink(name), 0);
	struct release release;
	char text[16];
	unsigned priority;
	release_start(&release, post_message, NULL);
	ssize_t length = mq_receive(posix, text, sizeof text, &priority);
	release_check(&release, "mq_receive");
	printf("%zd bytes of priority %u\n", length, priority);
	IS(mq_receive(posix, text, sizeof text, &priority), length == 4 ? 5 : 4);

	struct timespec soon = in_ms(CLOCK_REALTIME, 200), bad = { 0, -1 }, past = { 1, 0 };
	struct ticker ticker;
	ticker_start(&ticker);
	FAILS(mq_timedreceive(posix, text, sizeof text, NULL, &soon), ETIMEDOUT);
	CHECK(now_ns(CLOCK_REALTIME) >= soon.tv_sec * INT64_C(1000000000) + soon.tv_nsec);
	ticker_check(&ticker, "mq_timedreceive");
	FAILS(mq_timedreceive(posix, text, sizeof text, NULL, &past), ETIMEDOUT);
	FAILS(mq_timedreceive(posix, text, sizeof text, NULL, &bad), EINVAL);
	FAILS(mq_receive(posix, text, 1, NULL), EMSGSIZE);
	FAILS(mq_receive(-1, text, 16, NULL), EBADF);

	for (int i = 0; i < 4; i++)
		IS(mq_send(posix, "x", 1, 0), 0);
	release_start(&release, take_message, NULL);
	IS(mq_send(posix, "y", 1, 0), 0);
	release_check(&release, "mq_send");
	soon = in_ms(CLOCK_REALTIME, 50);
	FAILS(mq_timedsend(posix, "z", 1, 0, &soon), ETIMEDOUT);
	attributes.mq_flags = O_NONBLOCK;
	IS(mq_setattr(posix, &attributes, NULL), 0);
	FAILS(mq_send(posix, "z", 1, 0), EAGAIN);
	IS(mq_close(posix), 0);
}

static void noted(union sigval value)
{
	atomic_int *times = value.sival_ptr;
	atomic_fetch_add(times, 1);
}

static void notification(void)
{
	char name[64];
	snprintf(name, sizeof name, "/coop_ipc_n_%d", getpid());
	posix = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, NULL);
	CHECK(posix >= 0);
	IS(mq_unlink(name), 0);
	atomic_int times = 0;
	struct sigevent event = { .sigev_notify = SIGEV_THREAD,
				  .sigev_value.sival_ptr = &times,
				  .sigev_notify_function = noted };
	IS(mq_notify(posix, &event), 0);
	IS(mq_send(posix, "x", 1, 0), 0);
	while (!atomic_load(&times))
		sleep_ms(1);
	puts("mq_notify starts a thread");
	IS(mq_close(posix), 0);
}

static void handler(int signal)
{
	(void)signal;
}

static atomic_int waits;

static void *wait_for_semaphore(void *unused)
{
	(void)unused;
	atomic_store(&waits, 1);
	struct sembuf operation = { 0, -1, 0 };
	int ret = semop(set, &operation, 1);
	return (void *)(intptr_t)(ret == 0 ? 0 : errno);
}

static void *wait_for_message(void *unused)
{
	(void)unused;
	atomic_store(&waits, 1);
	struct message message;
	ssize_t ret = msgrcv(queue, &message, 64, 0, 0);
	return (void *)(intptr_t)(ret == 0 ? 0 : errno);
}

static void interrupt(const char *call, void *(*body)(void *))
{
	atomic_store(&waits, 0);
	pthread_t thread = start(body, NULL);
	while (!atomic_load(&waits))
		sleep_ms(1);
	void *value;
	while (pthread_tryjoin_np(thread, &value) == EBUSY) {
		OK(pthread_kill(thread, SIGUSR1));
		sleep_ms(1);
	}
	printf("%s interrupted: %s\n", call, strerrorname_np((int)(intptr_t)value));
}

int main(void)
{
	system_v_queue();
	semaphores();
	posix_queue();
	notification();
	/* Even with SA_RESTART. */
	struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART };
	IS(sigaction(SIGUSR1, &action, NULL), 0);
	set = semget(IPC_PRIVATE, 1, 0600);
	queue = msgget(IPC_PRIVATE, 0600);
	interrupt("semop", wait_for_semaphore);
	interrupt("msgrcv", wait_for_message);
	IS(semctl(set, 0, IPC_RMID), 0);
	IS(msgctl(queue, IPC_RMID, NULL), 0);
	return 0;
}
