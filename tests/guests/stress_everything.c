// 1,000 threads move checksummed bytes by sockets, pipes, files and queues under a storm of signals, cancellation, fork, dlopen, reused descriptors and time-outs: nothing is lost.
// guest: limit=180
#include "net.h"
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/wait.h>

enum { BLOCK = 256, WAIT_MS = 60000 };

/* The signal that is counted. */
enum { QUEUED = 40 };

static atomic_bool stop;

/* A kind of transport: what was moved, and the least that is to have been. */
struct kind {
	const char *name;
	int least;
	atomic_int moved;
};

enum { SOCKETS, TCP, PIPES, FILES, QUEUES, MESSAGES, EVENTS, CANCELLED, FORKS, LIBRARIES, REUSED, TIMEOUTS, KINDS };

static struct kind kinds[KINDS] = {
	[SOCKETS] = { "socket pairs", 200, 0 },  [TCP] = { "connections", 40, 0 },
	[PIPES] = { "pipes", 100, 0 },		 [FILES] = { "files", 40, 0 },
	[QUEUES] = { "queues", 100, 0 },	 [MESSAGES] = { "messages", 20, 0 },
	[EVENTS] = { "event counters", 10, 0 },	 [CANCELLED] = { "cancelled readers", 3, 0 },
	[FORKS] = { "children", 2, 0 },		 [LIBRARIES] = { "libraries", 2, 0 },
	[REUSED] = { "reused descriptors", 20, 0 }, [TIMEOUTS] = { "time-outs", 20, 0 },
};

static void count(int kind)
{
	atomic_fetch_add(&kinds[kind].moved, 1);
}

/* Bytes that depend on who moves them and how often it did; the last four are their sum. */
static void fill(unsigned char *block, unsigned who, unsigned round)
{
	uint32_t sum = who ^ round, state = who * 2654435761u + round;
	for (int i = 0; i < BLOCK - 4; i++) {
		state = state * 1664525 + 1013904223;
		block[i] = (unsigned char)(state >> 24);
		sum = sum * 31 + block[i];
	}
	memcpy(block + BLOCK - 4, &sum, 4);
}

static void check(const unsigned char *block, unsigned who, unsigned round)
{
	unsigned char expected[BLOCK];
	fill(expected, who, round);
	CHECK(memcmp(block, expected, BLOCK) == 0);
}

/* All of it, however often a signal interrupts. False: the end before the first byte. */
static bool read_all(int fd, void *to, size_t length)
{
	for (size_t done = 0; done < length;) {
		ssize_t got = read(fd, (char *)to + done, length - done);
		if (got < 0 && errno == EINTR)
			continue;
		CHECK(got >= 0);
		if (got == 0) {
			IS(done, 0);
			return false;
		}
		done += (size_t)got;
	}
	return true;
}

static void write_all(int fd, const void *from, size_t length)
{
	for (size_t done = 0; done < length;) {
		ssize_t put = write(fd, (const char *)from + done, length - done);
		if (put < 0 && errno == EINTR)
			continue;
		CHECK(put > 0);
		done += (size_t)put;
	}
}

static bool stopped(void)
{
	return atomic_load(&stop);
}

/* --- socket pairs and connections: one end asks, the other echoes --- */

enum { PAIRS = 160, CONNECTIONS = 40, LINKS = PAIRS + CONNECTIONS };
static int ends[LINKS][2];

static void *echoes(void *raw)
{
	int fd = ends[(intptr_t)raw][1];
	unsigned char block[BLOCK];
	while (read_all(fd, block, BLOCK))
		write_all(fd, block, BLOCK);
	IS(close(fd), 0);
	return NULL;
}

static void *asks(void *raw)
{
	int which = (int)(intptr_t)raw, fd = ends[which][0];
	unsigned char block[BLOCK];
	for (unsigned round = 0; !stopped(); round++) {
		fill(block, (unsigned)which, round);
		write_all(fd, block, BLOCK);
		memset(block, 0, BLOCK);
		CHECK(read_all(fd, block, BLOCK));
		check(block, (unsigned)which, round);
		count(which < PAIRS ? SOCKETS : TCP);
	}
	IS(close(fd), 0);
	return NULL;
}

static void connect_pair(int pair[2])
{
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof address;
	IS(bind(listener, (void *)&address, size), 0);
	IS(listen(listener, 1), 0);
	IS(getsockname(listener, (void *)&address, &size), 0);
	pair[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	IS(connect(pair[0], (void *)&address, size), 0);
	pair[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	CHECK(pair[1] >= 0);
	IS(close(listener), 0);
}

/* --- pipes: one writes, the other polls and reads what is there --- */

enum { PIPE_PAIRS = 100 };
static int pipes[PIPE_PAIRS][2];

static void *pours(void *raw)
{
	int which = (int)(intptr_t)raw;
	unsigned char block[BLOCK];
	for (unsigned round = 0; !stopped(); round++) {
		fill(block, (unsigned)which, round);
		write_all(pipes[which][1], block, BLOCK);
		if (round % 4 == 0)
			sched_yield();
	}
	IS(close(pipes[which][1]), 0);
	return NULL;
}

static void *drains(void *raw)
{
	int which = (int)(intptr_t)raw, fd = pipes[which][0];
	unsigned char block[BLOCK];
	size_t have = 0;
	for (unsigned round = 0;;) {
		struct pollfd ready = { .fd = fd, .events = POLLIN };
		int n = poll(&ready, 1, 3);
		CHECK(n >= 0 || errno == EINTR);
		if (n <= 0)
			continue;
		ssize_t got = read(fd, block + have, BLOCK - have);
		if (got == 0)
			break;
		CHECK(got > 0 || errno == EAGAIN || errno == EINTR);
		have += got > 0 ? (size_t)got : 0;
		if (have == BLOCK) {
			check(block, (unsigned)which, round++);
			have = 0;
			count(PIPES);
		}
	}
	IS(have, 0);
	IS(close(fd), 0);
	return NULL;
}

/* --- files: written, synced now and then, and read back at once --- */

enum { FILE_THREADS = 60, BLOCKS = 16 };
static int file;

static void *files(void *raw)
{
	unsigned which = (unsigned)(intptr_t)raw;
	unsigned char block[BLOCK];
	for (unsigned round = 0; !stopped(); round++) {
		off_t at = (off_t)(which * BLOCKS + round % BLOCKS) * BLOCK;
		fill(block, which, round);
		IS(pwrite(file, block, BLOCK, at), BLOCK);
		if (round % 64 == 0)
			IS(fdatasync(file), 0);
		memset(block, 0, BLOCK);
		IS(pread(file, block, BLOCK, at), BLOCK);
		check(block, which, round);
		count(FILES);
		sched_yield();
	}
	return NULL;
}

/* --- queues: a ring under a mutex and two conditions, with times to wait --- */

enum { QUEUE_PAIRS = 80, SLOTS = 4 };

static struct queue {
	pthread_mutex_t lock;
	pthread_cond_t filled, emptied;
	unsigned char slots[SLOTS][BLOCK];
	unsigned put, taken;
	bool ended;
} queues[QUEUE_PAIRS];

static void wait_for(struct queue *queue, pthread_cond_t *condition)
{
	struct timespec until = in_ms(CLOCK_REALTIME, 5);
	int error = pthread_cond_timedwait(condition, &queue->lock, &until);
	CHECK(error == 0 || error == ETIMEDOUT);
}

static void *puts_in(void *raw)
{
	struct queue *queue = &queues[(intptr_t)raw];
	while (!stopped()) {
		OK(pthread_mutex_lock(&queue->lock));
		while (queue->put - queue->taken == SLOTS)
			wait_for(queue, &queue->emptied);
		fill(queue->slots[queue->put % SLOTS], (unsigned)(intptr_t)raw, queue->put);
		queue->put++;
		OK(pthread_cond_signal(&queue->filled));
		OK(pthread_mutex_unlock(&queue->lock));
	}
	OK(pthread_mutex_lock(&queue->lock));
	queue->ended = true;
	OK(pthread_cond_signal(&queue->filled));
	OK(pthread_mutex_unlock(&queue->lock));
	return NULL;
}

static void *takes_out(void *raw)
{
	struct queue *queue = &queues[(intptr_t)raw];
	OK(pthread_mutex_lock(&queue->lock));
	for (;;) {
		while (queue->put == queue->taken && !queue->ended)
			wait_for(queue, &queue->filled);
		if (queue->put == queue->taken)
			break;
		check(queue->slots[queue->taken % SLOTS], (unsigned)(intptr_t)raw, queue->taken);
		queue->taken++;
		count(QUEUES);
		OK(pthread_cond_signal(&queue->emptied));
	}
	OK(pthread_mutex_unlock(&queue->lock));
	return NULL;
}

/* --- System V messages and event counters --- */

enum { MESSAGE_PAIRS = 20, EVENT_PAIRS = 20 };

struct message {
	long type;
	unsigned round;
	unsigned char block[BLOCK];
};

static int messages;

static void *sends(void *raw)
{
	long who = (long)(intptr_t)raw + 1;
	struct message message = { .type = who };
	for (; !stopped(); message.round++) {
		fill(message.block, (unsigned)who, message.round);
		while (msgsnd(messages, &message, sizeof message - sizeof message.type, 0) != 0)
			CHECK(errno == EINTR);
	}
	fill(message.block, 0, 0);
	while (msgsnd(messages, &message, sizeof message - sizeof message.type, 0) != 0)
		CHECK(errno == EINTR);
	return (void *)(intptr_t)message.round;
}

static void *receives(void *raw)
{
	long who = (long)(intptr_t)raw + 1;
	unsigned char last[BLOCK];
	fill(last, 0, 0);
	for (unsigned round = 0;; round++) {
		struct message message;
		ssize_t got;
		while ((got = msgrcv(messages, &message, sizeof message - sizeof message.type, who, 0)) < 0)
			CHECK(errno == EINTR);
		IS(got, sizeof message - sizeof message.type);
		IS(message.round, round);
		if (memcmp(message.block, last, BLOCK) == 0)
			return (void *)(intptr_t)round;
		check(message.block, (unsigned)who, round);
		count(MESSAGES);
	}
}

static int counters[EVENT_PAIRS];

static void *adds(void *raw)
{
	uint64_t sum = 0;
	for (uint64_t round = 1; !stopped(); round++) {
		uint64_t value = round % 7 + 1;
		write_all(counters[(intptr_t)raw], &value, sizeof value);
		sum += value;
		sched_yield();
	}
	/* Far more than the rest comes to: the end. */
	uint64_t end = UINT64_C(1) << 62;
	write_all(counters[(intptr_t)raw], &end, sizeof end);
	return (void *)(intptr_t)sum;
}

static void *subtracts(void *raw)
{
	uint64_t sum = 0, value;
	while (sum < UINT64_C(1) << 62) {
		CHECK(read_all(counters[(intptr_t)raw], &value, sizeof value));
		sum += value;
		count(EVENTS);
	}
	return (void *)(intptr_t)(sum - (UINT64_C(1) << 62));
}

/* --- readers that are cancelled: what one has not taken is the next one's --- */

enum { CANCELLERS = 12 };

struct cancelled {
	int fd;
	uint64_t next;
	atomic_int unlocked;
	pthread_mutex_t lock;
};

static void unlocks(void *raw)
{
	struct cancelled *state = raw;
	atomic_fetch_add(&state->unlocked, 1);
	OK(pthread_mutex_unlock(&state->lock));
}

static void *reads_until_cancelled(void *raw)
{
	struct cancelled *state = raw;
	OK(pthread_mutex_lock(&state->lock));
	pthread_cleanup_push(unlocks, state);
	for (;;) {
		/* glibc's read may be cancelled after it has taken bytes. */
		struct pollfd ready = { .fd = state->fd, .events = POLLIN };
		int n = poll(&ready, 1, -1), old;
		CHECK(n == 1 || errno == EINTR);
		if (n < 0)
			continue;
		uint64_t record;
		OK(pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old));
		CHECK(read_all(state->fd, &record, sizeof record));
		OK(pthread_setcancelstate(old, NULL));
		IS(record, state->next);
		state->next++;
	}
	pthread_cleanup_pop(0);
}

static void *cancels(void *raw)
{
	struct cancelled state = { .lock = PTHREAD_MUTEX_INITIALIZER };
	int pair[2];
	uint64_t record = 0;
	/* A reader may be cancelled within a handler, before that has counted. */
	sigset_t counted;
	sigemptyset(&counted);
	sigaddset(&counted, QUEUED);
	OK(pthread_sigmask(SIG_BLOCK, &counted, NULL));
	IS(pipe2(pair, O_CLOEXEC), 0);
	state.fd = pair[0];
	for (int round = 1; !stopped(); round++) {
		pthread_t reader = start(reads_until_cancelled, &state);
		for (int i = 0; i < 20; i++, record++)
			write_all(pair[1], &record, sizeof record);
		sleep_ms(round % 3);
		OK(pthread_cancel(reader));
		CHECK(join(reader) == PTHREAD_CANCELED);
		/* Cancelled before it began to clean up, it has not run at all. */
		OK(pthread_mutex_trylock(&state.lock));
		OK(pthread_mutex_unlock(&state.lock));
		CHECK(atomic_load(&state.unlocked) <= round);
		while (state.next < record) {
			uint64_t left;
			CHECK(read_all(pair[0], &left, sizeof left));
			IS(left, state.next);
			state.next++;
		}
		count(CANCELLED);
	}
	IS(close(pair[0]), 0);
	IS(close(pair[1]), 0);
	return raw;
}

/* --- children, with the bytes they send back --- */

enum { FORKERS = 4, BLOCKS_OF_CHILD = 4 };

static void *forks(void *raw)
{
	unsigned who = (unsigned)(intptr_t)raw;
	for (unsigned round = 0; !stopped(); round++) {
		unsigned char block[BLOCK];
		int pair[2];
		IS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
		pid_t child = fork();
		CHECK(child >= 0);
		if (child == 0) {
			/* Other children have this pair too: its end is not waited for. */
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (unsigned i = 0; i < BLOCKS_OF_CHILD && read_all(pair[1], block, BLOCK); i++)
				write_all(pair[1], block, BLOCK);
			_exit((int)who + 1);
		}
		IS(close(pair[1]), 0);
		for (unsigned i = 0; i < BLOCKS_OF_CHILD; i++) {
			fill(block, who, round + i);
			write_all(pair[0], block, BLOCK);
			memset(block, 0, BLOCK);
			CHECK(read_all(pair[0], block, BLOCK));
			check(block, who, round + i);
		}
		IS(close(pair[0]), 0);
		int status;
		while (waitpid(child, &status, 0) != child)
			CHECK(errno == EINTR);
		IS(status, (int)(who + 1) << 8);
		count(FORKS);
		sleep_ms(20);
	}
	return NULL;
}

/* --- libraries that come and go --- */

enum { LOADERS = 4 };

static void *loads(void *raw)
{
	while (!stopped()) {
		void *library = dlopen("libresolv.so.2", RTLD_NOW | RTLD_LOCAL);
		CHECK(library != NULL);
		CHECK(dlsym(library, "ns_parse_ttl") != NULL);
		CHECK(dlsym(library, "no_such_symbol") == NULL);
		IS(dlclose(library), 0);
		count(LIBRARIES);
		sleep_ms(5);
	}
	return raw;
}

/* --- descriptors: closed while others open, so that numbers are used again at once --- */

enum { REUSERS = 24 };

static void *answers_once(void *raw)
{
	int fd = (int)(intptr_t)raw;
	unsigned char block[BLOCK];
	if (read_all(fd, block, BLOCK))
		write_all(fd, block, BLOCK);
	IS(close(fd), 0);
	return NULL;
}

static void *reuses(void *raw)
{
	unsigned who = (unsigned)(intptr_t)raw;
	for (unsigned round = 0; !stopped(); round++) {
		unsigned char block[BLOCK];
		int pair[2];
		IS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
		pthread_t answer = start(answers_once, (void *)(intptr_t)pair[1]);
		/* A second number for the same socket, and the first one given back. */
		int fd = pair[0];
		if (round % 2) {
			fd = fcntl(pair[0], F_DUPFD_CLOEXEC, 0);
			CHECK(fd >= 0);
			IS(close(pair[0]), 0);
		}
		if (round % 5 != 0) {
			fill(block, who, round);
			write_all(fd, block, BLOCK);
			memset(block, 0, BLOCK);
			CHECK(read_all(fd, block, BLOCK));
			check(block, who, round);
			CHECK(!read_all(fd, block, 1));
		}
		IS(close(fd), 0);
		join(answer);
		count(REUSED);
	}
	return NULL;
}

/* --- waits that time out --- */

enum { TIMERS = 40 };

static void *times_out(void *raw)
{
	int pair[2];
	sem_t never;
	IS(sem_init(&never, 0, 0), 0);
	IS(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair), 0);
	struct timeval patience = { .tv_usec = 20000 };
	IS(setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
	for (unsigned round = 0; !stopped(); round++) {
		char byte = (char)round;
		int64_t begin = now_ns(CLOCK_MONOTONIC);
		if (round % 2) {
			ssize_t got = recv(pair[0], &byte, 1, 0);
			CHECK(got == -1 && (errno == EAGAIN || errno == EINTR));
			CHECK(errno == EINTR || now_ns(CLOCK_MONOTONIC) - begin >= 10 * MS);
			IS(send(pair[1], &byte, 1, 0), 1);
			while ((got = recv(pair[0], &byte, 1, 0)) < 0)
				CHECK(errno == EINTR);
			CHECK(got == 1 && byte == (char)round);
		} else {
			struct timespec until = in_ms(CLOCK_REALTIME, 5);
			IS(sem_timedwait(&never, &until), -1);
			CHECK(errno == ETIMEDOUT || errno == EINTR);
		}
		count(TIMEOUTS);
	}
	IS(close(pair[0]), 0);
	IS(close(pair[1]), 0);
	IS(sem_destroy(&never), 0);
	return raw;
}

/* --- the storm --- */

/* Written by the child alone: signals that the kernel accepted, which are all to be handled. */
static atomic_long *accepted;
static atomic_long queued, others;

static void handler(int number)
{
	atomic_fetch_add(number == QUEUED ? &queued : &others, 1);
}

static pid_t begin_storm(int *control)
{
	int pair[2];
	pid_t target = getpid();
	IS(pipe2(pair, O_CLOEXEC | O_NONBLOCK), 0);
	pid_t storm = fork();
	CHECK(storm >= 0);
	if (storm == 0) {
		char byte;
		close(pair[1]);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* 20 every 2 ms, until the other end is closed. */
		while (read(pair[0], &byte, 1) != 0) {
			for (int i = 0; i < 20; i++) {
				if (i % 3 == 2 && sigqueue(target, QUEUED, (union sigval){ .sival_int = i }) == 0)
					atomic_fetch_add(accepted, 1);
				else if (kill(target, i % 2 ? SIGUSR1 : SIGUSR2) != 0)
					_exit(1);
			}
			sleep_ms(2);
		}
		_exit(0);
	}
	IS(close(pair[0]), 0);
	*control = pair[1];
	return storm;
}

/* --- all of it --- */

enum { MAX_THREADS = 1100 };

static struct {
	pthread_t id;
	const char *name;
} threads[MAX_THREADS];
static int thread_count;

static pthread_t begin(const char *name, void *(*body)(void *), int which)
{
	static pthread_attr_t attributes;
	if (thread_count == 0) {
		OK(pthread_attr_init(&attributes));
		OK(pthread_attr_setstacksize(&attributes, 64 << 10));
	}
	CHECK(thread_count < MAX_THREADS);
	OK(pthread_create(&threads[thread_count].id, &attributes, body, (void *)(intptr_t)which));
	threads[thread_count].name = name;
	return threads[thread_count++].id;
}

static void begin_both(const char *name, void *(*one)(void *), void *(*other)(void *), int count)
{
	for (int i = 0; i < count; i++) {
		begin(name, one, i);
		begin(name, other, i);
	}
}

/* Whose thread does not end says so, instead of the driver's time limit. */
static void *end(int which)
{
	struct timespec until = in_ms(CLOCK_REALTIME, WAIT_MS);
	void *value;
	int error = pthread_timedjoin_np(threads[which].id, &value, &until);
	if (error) {
		fprintf(stderr, "thread %d, of the %s, does not end\n", which, threads[which].name);
		_exit(97);
	}
	return value;
}

int main(int argc, char **arguments)
{
	const char *variable = getenv("STRESS_SECONDS");
	int seconds = argc > 1 ? atoi(arguments[1]) : variable ? atoi(variable) : 3;
	accepted = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(accepted != MAP_FAILED);
	struct sigaction action = { .sa_handler = handler };
	IS(sigaction(SIGUSR1, &action, NULL), 0);
	action.sa_flags = SA_RESTART;
	IS(sigaction(SIGUSR2, &action, NULL), 0);
	IS(sigaction(QUEUED, &action, NULL), 0);
	/* Before there are other descriptors, whose ends it would keep open. */
	int control;
	pid_t storm = begin_storm(&control);
	char path[] = "/tmp/stress_everything.XXXXXX";
	file = mkostemp(path, O_CLOEXEC);
	CHECK(file >= 0);
	IS(unlink(path), 0);
	messages = msgget(IPC_PRIVATE, 0600);
	CHECK(messages >= 0);

	for (int i = 0; i < LINKS; i++) {
		if (i < PAIRS)
			IS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends[i]), 0);
		else
			connect_pair(ends[i]);
	}
	for (int i = 0; i < PIPE_PAIRS; i++)
		IS(pipe2(pipes[i], O_CLOEXEC), 0);
	for (int i = 0; i < QUEUE_PAIRS; i++) {
		OK(pthread_mutex_init(&queues[i].lock, NULL));
		OK(pthread_cond_init(&queues[i].filled, NULL));
		OK(pthread_cond_init(&queues[i].emptied, NULL));
	}
	for (int i = 0; i < EVENT_PAIRS; i++) {
		counters[i] = eventfd(0, EFD_CLOEXEC);
		CHECK(counters[i] >= 0);
	}

	begin_both("links", asks, echoes, LINKS);
	begin_both("pipes", pours, drains, PIPE_PAIRS);
	begin_both("queues", puts_in, takes_out, QUEUE_PAIRS);
	int first_message = thread_count;
	begin_both("messages", sends, receives, MESSAGE_PAIRS);
	int first_event = thread_count;
	begin_both("event counters", adds, subtracts, EVENT_PAIRS);
	for (int i = 0; i < FILE_THREADS; i++)
		begin("files", files, i);
	for (int i = 0; i < CANCELLERS; i++)
		begin("cancelled readers", cancels, i);
	for (int i = 0; i < FORKERS; i++)
		begin("children", forks, i);
	for (int i = 0; i < LOADERS; i++)
		begin("libraries", loads, i);
	for (int i = 0; i < REUSERS; i++)
		begin("reused descriptors", reuses, i);
	for (int i = 0; i < TIMERS; i++)
		begin("time-outs", times_out, i);
	CHECK(thread_count > 950);

	/* As long as it is to be, and until each kind has moved what it is to. */
	int64_t until = now_ns(CLOCK_MONOTONIC) + seconds * 1000 * MS, last = until + WAIT_MS * MS;
	for (int kind = 0; kind < KINDS || now_ns(CLOCK_MONOTONIC) < until;) {
		if (kind < KINDS && atomic_load(&kinds[kind].moved) >= kinds[kind].least)
			kind++;
		else
			sleep_ms(10);
		if (now_ns(CLOCK_MONOTONIC) > last && kind < KINDS) {
			fprintf(stderr, "%s: only %d\n", kinds[kind].name, atomic_load(&kinds[kind].moved));
			_exit(96);
		}
	}
	atomic_store(&stop, true);
	void *values[MAX_THREADS];
	for (int i = 0; i < thread_count; i++)
		values[i] = end(i);
	for (int i = first_message; i < first_event + 2 * EVENT_PAIRS; i += 2)
		CHECK(values[i] == values[i + 1]);
	for (int kind = 0; kind < KINDS; kind++)
		printf("%s: nothing lost\n", kinds[kind].name);

	IS(close(control), 0);
	int status;
	while (waitpid(storm, &status, 0) != storm)
		CHECK(errno == EINTR);
	IS(status, 0);
	last = now_ns(CLOCK_MONOTONIC) + WAIT_MS * MS;
	while (atomic_load(&queued) != atomic_load(accepted) && now_ns(CLOCK_MONOTONIC) < last)
		sleep_ms(1);
	IS(atomic_load(&queued), atomic_load(accepted));
	CHECK(atomic_load(&others) > 10 && atomic_load(accepted) > 10);
	puts("signals: nothing lost");
	if (getenv("STRESS_VERBOSE"))
		for (int kind = 0; kind < KINDS; kind++)
			fprintf(stderr, "%s: %d\n", kinds[kind].name, atomic_load(&kinds[kind].moved));
	IS(msgctl(messages, IPC_RMID, NULL), 0);
	return 0;
}
