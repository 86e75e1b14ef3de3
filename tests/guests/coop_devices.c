// Less common descriptors block their own thread only: netlink, raw sockets, inotify, fanotify,
// userfaultfd, nested and exclusive epoll sets, deferred accepts, and POSIX asynchronous I/O.
// guest: compile=-lrt limit=60
#include "guest.h"
#include "net.h"
#include <aio.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/userfaultfd.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

static int fd;
static char path[] = "/tmp/coop_devices_XXXXXX";
static char bytes[8192];

static void touch(void *unused)
{
	(void)unused;
	char name[100];
	snprintf(name, sizeof name, "%s/new", path);
	IS(close(open(name, O_CREAT | O_WRONLY, 0600)), 0);
}

static void notified(void)
{
	struct release release;
	fd = inotify_init1(IN_CLOEXEC);
	CHECK(inotify_add_watch(fd, path, IN_CREATE) >= 0);
	release_start(&release, touch, NULL);
	CHECK(read(fd, bytes, sizeof bytes) > (ssize_t)sizeof(struct inotify_event));
	release_check(&release, "read of an inotify descriptor");
	CHECK(strcmp(((struct inotify_event *)bytes)->name, "new") == 0);
	IS(close(fd), 0);

	fd = fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC, O_RDONLY);
	if (fd < 0 || fanotify_mark(fd, FAN_MARK_ADD, FAN_OPEN | FAN_EVENT_ON_CHILD, AT_FDCWD, path)) {
		puts("no fanotify here");
	} else {
		release_start(&release, touch, NULL);
		CHECK(read(fd, bytes, sizeof bytes) >= (ssize_t)sizeof(struct fanotify_event_metadata));
		release_check(&release, "read of a fanotify descriptor");
		struct fanotify_event_metadata *event = (void *)bytes;
		CHECK(event->mask & FAN_OPEN);
		IS(close(event->fd), 0);
	}
	if (fd >= 0)
		IS(close(fd), 0);
	char name[100];
	snprintf(name, sizeof name, "%s/new", path);
	IS(unlink(name), 0);
}

static char *missing;

/* The fault is another process's: one of a guest's own stops the hub that would serve it. */
static void userfault(void)
{
	fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	if (fd < 0) {
		puts("no userfaultfd here");
		return;
	}
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_EVENT_UNMAP };
	if (ioctl(fd, UFFDIO_API, &api) != 0) {
		puts("no events of userfaultfd here");
		IS(close(fd), 0);
		return;
	}
	missing = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct uffdio_register range = { .range = { (uintptr_t)missing, 4096 },
					 .mode = UFFDIO_REGISTER_MODE_MISSING };
	IS(ioctl(fd, UFFDIO_REGISTER, &range), 0);
	struct ticker ticker;
	ticker_start(&ticker);
	struct pollfd set = { fd, POLLIN, 0 };
	IS(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	IS(poll(&set, 1, 200), 0);
	ticker_check(&ticker, "poll of a userfaultfd");
	IS(close(fd), 0);
	IS(munmap(missing, 4096), 0);
}

static void ask_for_links(void *unused)
{
	(void)unused;
	struct {
		struct nlmsghdr header;
		struct rtgenmsg body;
	} request = { { sizeof request, RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, 1, 0 }, { AF_UNSPEC } };
	IS(send(fd, &request, sizeof request, 0), sizeof request);
}

static uint16_t checksum(const void *data, size_t length)
{
	uint32_t sum = 0;
	for (size_t i = 0; i < length / 2; i++)
		sum += ((const uint16_t *)data)[i];
	sum = (sum >> 16) + (sum & 0xffff);
	return (uint16_t)~(sum + (sum >> 16));
}

static void ping(void *unused)
{
	(void)unused;
	struct icmphdr echo = { .type = ICMP_ECHO, .un.echo.id = (uint16_t)getpid() };
	echo.checksum = checksum(&echo, sizeof echo);
	struct sockaddr_in to = loopback(0);
	IS(sendto(fd, &echo, sizeof echo, 0, (void *)&to, sizeof to), sizeof echo);
}

static struct sockaddr_in address;
static int client;

static void connect_and_write(void *unused)
{
	(void)unused;
	client = tcp_connected(&address);
	sleep_ms(1);
	IS(write(client, "x", 1), 1);
}

static void networks(void)
{
	struct release release;
	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	CHECK(fd >= 0);
	release_start(&release, ask_for_links, NULL);
	CHECK(recv(fd, bytes, sizeof bytes, 0) > 0);
	release_check(&release, "recv of a netlink socket");
	IS(close(fd), 0);
	fd = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
	if (fd < 0) {
		puts("no raw sockets here");
	} else {
		release_start(&release, ping, NULL);
		/* A raw socket also sees what other programs send. */
		const struct icmphdr *echo = (const void *)(bytes + 20);
		do {
			CHECK(recv(fd, bytes, sizeof bytes, 0) >= 20 + 8);
		} while (echo->un.echo.id != (uint16_t)getpid());
		release_check(&release, "recv of a raw socket");
		IS(close(fd), 0);
	}
	fd = tcp_listener(&address, 4);
	int seconds = 5;
	IS(setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof seconds), 0);
	release_start(&release, connect_and_write, NULL);
	int accepted = accept(fd, NULL, NULL);
	release_check(&release, "accept with TCP_DEFER_ACCEPT");
	CHECK(accepted >= 0);
	IS(recv(accepted, bytes, 1, MSG_DONTWAIT), 1);
	IS(close(accepted), 0);
	IS(close(client), 0);
	IS(close(fd), 0);
}

static int bell, inner, outer;

static void ring(void *unused)
{
	(void)unused;
	IS(eventfd_write(bell, 1), 0);
}

static atomic_int woken;

static void *wait_exclusively(void *unused)
{
	int set = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = { .events = EPOLLIN | EPOLLEXCLUSIVE };
	IS(epoll_ctl(set, EPOLL_CTL_ADD, bell, &event), 0);
	IS(epoll_wait(set, &event, 1, -1), 1);
	eventfd_t value;
	IS(eventfd_read(bell, &value), 0);
	atomic_fetch_add(&woken, 1);
	IS(close(set), 0);
	return unused;
}

static void *wait_for_edge(void *unused)
{
	struct epoll_event event;
	IS(epoll_wait(inner, &event, 1, -1), 1);
	atomic_fetch_add(&woken, 1);
	return unused;
}

static void sets(void)
{
	bell = eventfd(0, 0);
	inner = epoll_create1(0);
	outer = epoll_create1(0);
	struct epoll_event event = { .events = EPOLLIN, .data.u32 = 1 };
	IS(epoll_ctl(inner, EPOLL_CTL_ADD, bell, &event), 0);
	event.data.u32 = 2;
	IS(epoll_ctl(outer, EPOLL_CTL_ADD, inner, &event), 0);
	FAILS(epoll_ctl(inner, EPOLL_CTL_ADD, outer, &event), ELOOP);
	struct release release;
	release_start(&release, ring, NULL);
	IS(epoll_wait(outer, &event, 1, -1), 1);
	release_check(&release, "epoll_wait of a set in a set");
	IS(event.data.u32, 2);
	eventfd_t value;
	IS(eventfd_read(bell, &value), 0);

	enum { THREADS = 5 };
	pthread_t threads[THREADS];
	for (int i = 0; i < THREADS; i++)
		threads[i] = start(wait_exclusively, NULL);
	for (int i = 0; i < THREADS; i++) {
		sleep_ms(2);
		ring(NULL);
		while (atomic_load(&woken) <= i)
			sleep_ms(1);
	}
	for (int i = 0; i < THREADS; i++)
		join(threads[i]);
	printf("%d exclusive waiters woken\n", atomic_load(&woken));

	/* One edge, two waiters of one set: one of them. */
	event = (struct epoll_event){ .events = EPOLLIN | EPOLLET };
	IS(epoll_ctl(inner, EPOLL_CTL_MOD, bell, &event), 0);
	atomic_store(&woken, 0);
	for (int i = 0; i < 2; i++)
		threads[i] = start(wait_for_edge, NULL);
	sleep_ms(20);
	ring(NULL);
	while (!atomic_load(&woken))
		sleep_ms(1);
	sleep_ms(20);
	printf("an edge wakes %d\n", atomic_load(&woken));
	ring(NULL);
	for (int i = 0; i < 2; i++)
		join(threads[i]);
	IS(close(outer), 0);
	IS(close(inner), 0);
	IS(close(bell), 0);
}

static int ends[2];

static void feed(void *unused)
{
	(void)unused;
	IS(write(ends[1], "fed", 3), 3);
}

static void posix_aio(void)
{
	IS(pipe(ends), 0);
	char text[8] = { 0 };
	struct aiocb block = { .aio_fildes = ends[0], .aio_buf = text, .aio_nbytes = 3 };
	const struct aiocb *list[] = { &block };
	IS(aio_read(&block), 0);
	IS(aio_error(&block), EINPROGRESS);
	struct release release;
	release_start(&release, feed, NULL);
	IS(aio_suspend(list, 1, NULL), 0);
	release_check(&release, "aio_suspend");
	IS(aio_error(&block), 0);
	IS(aio_return(&block), 3);
	CHECK(strcmp(text, "fed") == 0);
	struct timespec soon = timespec_of(50 * MS);
	IS(aio_read(&block), 0);
	FAILS(aio_suspend(list, 1, &soon), EAGAIN);
	feed(NULL);
	struct aiocb *both[] = { &block };
	IS(aio_suspend(list, 1, NULL), 0);
	IS(aio_return(&block), 3);
	block.aio_lio_opcode = LIO_READ;
	release_start(&release, feed, NULL);
	IS(lio_listio(LIO_WAIT, both, 1, NULL), 0);
	release_check(&release, "lio_listio");
	IS(aio_return(&block), 3);
}

int main(void)
{
	CHECK(mkdtemp(path));
	notified();
	userfault();
	networks();
	sets();
	posix_aio();
	IS(rmdir(path), 0);
	return 0;
}
