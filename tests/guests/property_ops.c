// guest: limit=90
// Random operations on sockets, pipes and sets from several threads, in an order that the seed alone decides.
#include "net.h"
#include <poll.h>

enum { SEEDS = 64, STEPS = 60, CHANNELS = 6, WORKERS = 3, MOST = 200 };

/* Two descriptors and how many bytes or messages are on their way from the second to the first. */
struct channel {
	enum { PIPE, UNIX_STREAM, TCP, UNIX_DATAGRAM, SEQPACKET, KINDS } kind;
	int ends[2];
	int queued[MOST], first, last; /* sizes of what was sent; a stream's are one heap */
	bool ended, timed;
};

struct job {
	enum { SEND, RECEIVE, RECEIVE_ALL, PEEK, TRY, POLL, VECTORS } what;
	struct channel *channel;
	int size, timeout;
	struct pollfd *fds;
	/* What came of it. */
	long result;
	int error;
	unsigned sum;
};

static struct worker {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct job *job;
	bool stop;
} workers[WORKERS];

static uint32_t state;

static uint32_t number(uint32_t below)
{
	state ^= state << 13;
	state ^= state >> 17;
	state ^= state << 5;
	return state % below;
}

static bool is_stream(const struct channel *channel)
{
	return channel->kind <= TCP;
}

static void perform(struct job *job)
{
	static __thread unsigned char bytes[4096];
	struct channel *channel = job->channel;
	bool pipe = channel && channel->kind == PIPE;
	int fd = channel ? channel->ends[job->what == SEND] : -1;
	size_t size = (size_t)job->size;
	errno = 0;
	memset(bytes, job->what == SEND ? job->size : 0, sizeof bytes);
	struct iovec parts[2] = { { bytes, size / 2 }, { bytes + size / 2, size - size / 2 } };
	struct pollfd ready = { fd, POLLIN, 0 };
	switch (job->what) {
	case SEND:
		job->result = pipe ? write(fd, bytes, size) : send(fd, bytes, size, MSG_NOSIGNAL);
		break;
	case RECEIVE:
		job->result = pipe ? read(fd, bytes, size) : recv(fd, bytes, size, 0);
		break;
	case RECEIVE_ALL:
		if (pipe)
			for (job->result = 0; job->result < (long)size;)
				job->result += read(fd, bytes + job->result, size - (size_t)job->result);
		else
			job->result = recv(fd, bytes, size, MSG_WAITALL);
		break;
	case PEEK:
		job->result = recv(fd, bytes, size, MSG_PEEK);
		break;
	case TRY:
		if (pipe)
			job->result = poll(&ready, 1, 0) ? read(fd, bytes, size) : -1;
		else
			job->result = recv(fd, bytes, size, MSG_DONTWAIT);
		break;
	case VECTORS:
		job->result = readv(fd, parts, 2);
		break;
	case POLL:
		job->result = poll(job->fds, CHANNELS, job->timeout);
		break;
	}
	job->error = job->result < 0 ? errno : 0;
	job->sum = 0;
	if (job->what == POLL)
		for (int i = 0; i < CHANNELS; i++)
			job->sum = job->sum * 31 + (unsigned)job->fds[i].revents;
	else if (job->what != SEND)
		for (long i = 0; i < job->result; i++)
			job->sum = job->sum * 31 + bytes[i];
}

static void *work(void *raw)
{
	struct worker *worker = raw;
	OK(pthread_mutex_lock(&worker->lock));
	for (;;) {
		while (!worker->job && !worker->stop)
			OK(pthread_cond_wait(&worker->changed, &worker->lock));
		if (worker->stop)
			break;
		struct job *job = worker->job;
		OK(pthread_mutex_unlock(&worker->lock));
		perform(job);
		OK(pthread_mutex_lock(&worker->lock));
		worker->job = NULL;
		OK(pthread_cond_broadcast(&worker->changed));
	}
	OK(pthread_mutex_unlock(&worker->lock));
	return NULL;
}

static void begin(int which, struct job *job)
{
	OK(pthread_mutex_lock(&workers[which].lock));
	workers[which].job = job;
	OK(pthread_cond_broadcast(&workers[which].changed));
	OK(pthread_mutex_unlock(&workers[which].lock));
}

static unsigned digest;

static void finish(int which, const struct job *job)
{
	struct worker *worker = &workers[which];
	OK(pthread_mutex_lock(&worker->lock));
	while (worker->job)
		OK(pthread_cond_wait(&worker->changed, &worker->lock));
	OK(pthread_mutex_unlock(&worker->lock));
	digest = digest * 31 + (unsigned)job->what;
	digest = digest * 31 + (unsigned)job->result;
	digest = digest * 31 + (unsigned)job->error;
	digest = digest * 31 + job->sum;
}

static void make(struct channel *channel)
{
	static const int types[] = { [UNIX_STREAM] = SOCK_STREAM, [UNIX_DATAGRAM] = SOCK_DGRAM,
				     [SEQPACKET] = SOCK_SEQPACKET };
	*channel = (struct channel){ .kind = number(KINDS) };
	if (channel->kind == PIPE)
		IS(pipe(channel->ends), 0);
	else if (channel->kind == TCP)
		tcp_pair(channel->ends);
	else
		IS(socketpair(AF_UNIX, types[channel->kind], 0, channel->ends), 0);
}

static void close_both(struct channel *channel)
{
	for (int i = 0; i < 2; i++)
		if (channel->ends[i] >= 0)
			close(channel->ends[i]);
}

static int available(const struct channel *channel)
{
	int total = 0;
	for (int i = channel->first; i < channel->last; i++)
		total += channel->queued[i];
	return total;
}

/* Takes what a receive of `size` takes. */
static void taken(struct channel *channel, int size)
{
	if (!is_stream(channel)) {
		channel->first++;
		return;
	}
	while (size > 0 && channel->first < channel->last) {
		int *head = &channel->queued[channel->first];
		int part = *head < size ? *head : size;
		*head -= part;
		size -= part;
		channel->first += *head == 0;
	}
}

static void send_now(struct channel *channel, int which)
{
	struct job job = { .what = SEND, .channel = channel, .size = 1 + (int)number(100) };
	if (channel->ended || channel->last == MOST)
		return;
	if (!is_stream(channel) && channel->last - channel->first > 5)
		return; /* its queue is short */
	begin(which, &job);
	finish(which, &job);
	channel->queued[channel->last++] = job.size;
}

/* One receives, and then another sends what it waits for. */
static void receive_then_send(struct channel *channel)
{
	if (channel->ended || channel->first != channel->last || channel->last == MOST)
		return;
	bool all = is_stream(channel) && number(2);
	struct job receive = { .what = all ? RECEIVE_ALL : RECEIVE, .channel = channel };
	struct job send = { .what = SEND, .channel = channel, .size = 1 + (int)number(100) };
	receive.size = all ? send.size * 2 : 1 + (int)number(200);
	if (channel->kind != PIPE && channel->timed) {
		/* Nothing comes: the time-out passes. */
		begin(0, &receive);
		finish(0, &receive);
		return;
	}
	begin(0, &receive);
	for (int i = 0; i < 1 + all; i++) {
		begin(1, &send);
		finish(1, &send);
		channel->queued[channel->last++] = send.size;
		if (channel->last == MOST && i == 0 && all) {
			begin(1, &send);
			finish(1, &send);
			channel->last--;
			channel->queued[channel->last - 1] = send.size;
			break;
		}
	}
	finish(0, &receive);
	if (all)
		channel->first = channel->last;
	else
		taken(channel, receive.size);
}

static void receive_present(struct channel *channel, int which)
{
	static const int how[] = { RECEIVE, RECEIVE_ALL, PEEK, TRY, VECTORS };
	int there = available(channel);
	struct job job = { .channel = channel, .what = how[number(5)], .size = 1 + (int)number(150) };
	if (channel->kind == PIPE && job.what == PEEK)
		job.what = RECEIVE;
	if (there == 0) {
		if (!channel->ended)
			job.what = channel->kind == TCP ? POLL : TRY;
		if (job.what == POLL || (job.what == RECEIVE_ALL && channel->kind == PIPE))
			return;
	} else if (channel->kind == TCP || job.what == RECEIVE_ALL) {
		/* What was sent may still be on its way. */
		job.what = RECEIVE_ALL;
		if (is_stream(channel) && job.size > there)
			job.size = there;
	}
	begin(which, &job);
	finish(which, &job);
	if (there > 0 && job.what != PEEK)
		taken(channel, job.size);
}

static void poll_all(struct channel *channels, int which)
{
	struct pollfd fds[CHANNELS];
	for (int i = 0; i < CHANNELS; i++)
		/* What TCP has sent may still be on its way. */
		fds[i] = (struct pollfd){ channels[i].kind == TCP ? -1 : channels[i].ends[number(2)],
					  (short)(number(2) ? POLLIN : POLLIN | POLLPRI), 0 };
	struct job job = { .what = POLL, .fds = fds, .timeout = (int)number(3) };
	begin(which, &job);
	finish(which, &job);
}

static void end(struct channel *channel)
{
	if (channel->ended)
		return;
	channel->ended = true;
	if (channel->kind == PIPE || channel->kind == UNIX_STREAM || number(2)) {
		if (!is_stream(channel))
			return;
		IS(close(channel->ends[1]), 0);
		channel->ends[1] = -1;
	} else if (is_stream(channel) || channel->kind == SEQPACKET) {
		IS(shutdown(channel->ends[1], SHUT_WR), 0);
	}
}

static void set_timeout(struct channel *channel)
{
	struct timeval time = { 0, number(2) ? 3000 : 0 };
	if (channel->kind == PIPE)
		return;
	IS(setsockopt(channel->ends[0], SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time), 0);
	channel->timed = time.tv_usec != 0;
}

static void run(uint32_t seed)
{
	struct channel channels[CHANNELS];
	state = seed * 2654435761u + 1;
	digest = 0;
	for (int i = 0; i < CHANNELS; i++)
		make(&channels[i]);
	for (int step = 0; step < STEPS; step++) {
		struct channel *channel = &channels[number(CHANNELS)];
		int which = (int)number(WORKERS);
		switch (number(12)) {
		case 0: case 1: case 2:
			send_now(channel, which);
			break;
		case 3: case 4:
			receive_then_send(channel);
			break;
		case 5: case 6: case 7: case 8:
			/* Without a time-out a datagram socket whose peer is gone waits for ever. */
			if (is_stream(channel) || available(channel) || !channel->ended)
				receive_present(channel, which);
			break;
		case 9:
			poll_all(channels, which);
			break;
		case 10:
			set_timeout(channel);
			break;
		case 11:
			if (number(2))
				end(channel);
			else if (number(3) == 0) {
				close_both(channel);
				make(channel);
			}
			break;
		}
	}
	for (int i = 0; i < CHANNELS; i++)
		close_both(&channels[i]);
	printf("seed %u: %08x\n", seed, digest);
}

int main(void)
{
	for (int i = 0; i < WORKERS; i++) {
		OK(pthread_mutex_init(&workers[i].lock, NULL));
		OK(pthread_cond_init(&workers[i].changed, NULL));
		workers[i].thread = start(work, &workers[i]);
	}
	for (uint32_t seed = 1; seed <= SEEDS; seed++)
		run(seed);
	for (int i = 0; i < WORKERS; i++) {
		OK(pthread_mutex_lock(&workers[i].lock));
		workers[i].stop = true;
		OK(pthread_cond_broadcast(&workers[i].changed));
		OK(pthread_mutex_unlock(&workers[i].lock));
		join(workers[i].thread);
	}
	return 0;
}
