// Opening a FIFO and waiting for a lock of a file block their own thread only.
#include "guest.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>

static char fifo[] = "/tmp/coop_locks_fifo_XXXXXX";
static char file[] = "/tmp/coop_locks_file_XXXXXX";

static void open_for_reading(void *unused)
{
	(void)unused;
	int fd = open(fifo, O_RDONLY);
	CHECK(fd >= 0);
	IS(close(fd), 0);
}

static void open_for_writing(void *unused)
{
	(void)unused;
	int fd = open(fifo, O_WRONLY);
	CHECK(fd >= 0);
	IS(close(fd), 0);
}

static void fifos(void)
{
	IS(close(mkstemp(fifo)), 0);
	IS(unlink(fifo), 0);
	IS(mkfifo(fifo, 0600), 0);
	struct release release;
	release_start(&release, open_for_reading, NULL);
	int fd = open(fifo, O_WRONLY | O_CLOEXEC);
	release_check(&release, "open of a FIFO for writing");
	CHECK(fd >= 0);
	IS(fcntl(fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_WRONLY);
	IS(fcntl(fd, F_GETFD), FD_CLOEXEC);
	IS(close(fd), 0);
	release_start(&release, open_for_writing, NULL);
	fd = openat(AT_FDCWD, fifo, O_RDONLY);
	release_check(&release, "openat of a FIFO for reading");
	CHECK(fd >= 0);
	char byte;
	IS(read(fd, &byte, 1), 0);
	IS(close(fd), 0);
	FAILS(open(fifo, O_WRONLY | O_NONBLOCK), ENXIO);
	FILE *stream;
	release_start(&release, open_for_reading, NULL);
	stream = fopen(fifo, "w");
	release_check(&release, "fopen of a FIFO");
	CHECK(stream);
	IS(fclose(stream), 0);
}

/* Two descriptions of one file. */
static int one, other;

static void unlock_flock(void *unused)
{
	(void)unused;
	IS(flock(one, LOCK_UN), 0);
}

static void flocks(void)
{
	struct release release;
	IS(flock(one, LOCK_EX), 0);
	FAILS(flock(other, LOCK_SH | LOCK_NB), EWOULDBLOCK);
	release_start(&release, unlock_flock, NULL);
	IS(flock(other, LOCK_SH), 0);
	release_check(&release, "flock");
	IS(flock(other, LOCK_UN), 0);
	FAILS(flock(-1, LOCK_EX), EBADF);
	FAILS(flock(one, 77), EINVAL);
}

static struct flock whole(short type)
{
	return (struct flock){ .l_type = type, .l_whence = SEEK_SET };
}

static void unlock_description(void *unused)
{
	(void)unused;
	struct flock lock = whole(F_UNLCK);
	IS(fcntl(one, F_OFD_SETLK, &lock), 0);
}

static void descriptions(void)
{
	struct release release;
	struct flock lock = whole(F_WRLCK);
	IS(fcntl(one, F_OFD_SETLK, &lock), 0);
	FAILS(fcntl(other, F_OFD_SETLK, &lock), EAGAIN);
	release_start(&release, unlock_description, NULL);
	IS(fcntl(other, F_OFD_SETLKW, &lock), 0);
	release_check(&release, "fcntl(F_OFD_SETLKW)");
	lock = whole(F_UNLCK);
	IS(fcntl(other, F_OFD_SETLKW, &lock), 0);
}

static int to_child[2], from_child[2];

static void told(int fd)
{
	char byte;
	IS(read(fd, &byte, 1), 1);
}

static void tell(int fd)
{
	IS(write(fd, "x", 1), 1);
}

static void tell_child(void *unused)
{
	(void)unused;
	tell(to_child[1]);
}

static pid_t child_that_locks(void (*then)(int fd))
{
	IS(pipe(to_child), 0);
	IS(pipe(from_child), 0);
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		int fd = open(file, O_RDWR);
		struct flock lock = whole(F_WRLCK);
		lock.l_len = 1;
		IS(fcntl(fd, F_SETLKW, &lock), 0);
		tell(from_child[1]);
		told(to_child[0]);
		then(fd);
		_exit(0);
	}
	told(from_child[0]);
	return child;
}

static void reap(pid_t child)
{
	int status;
	IS(waitpid(child, &status, 0), child);
	IS(status, 0);
	for (int i = 0; i < 2; i++) {
		IS(close(to_child[i]), 0);
		IS(close(from_child[i]), 0);
	}
}

static void end(int fd)
{
	(void)fd;
}

static void records(void)
{
	pid_t child = child_that_locks(end);
	struct flock lock = whole(F_WRLCK);
	FAILS(fcntl(one, F_SETLK, &lock), EAGAIN);
	struct flock seen = whole(F_WRLCK);
	IS(fcntl(one, F_GETLK, &seen), 0);
	IS(seen.l_pid, child);
	struct release release;
	release_start(&release, tell_child, NULL);
	IS(fcntl(one, F_SETLKW, &lock), 0);
	release_check(&release, "fcntl(F_SETLKW)");
	reap(child);
	/* The process has it: another thread takes it at once. */
	IS(fcntl(other, F_SETLKW, &lock), 0);
	lock = whole(F_UNLCK);
	IS(fcntl(other, F_SETLK, &lock), 0);
}

/* The child, which has the first byte, asks for the second, which we have. */
static void lock_second(int fd)
{
	struct flock lock = whole(F_WRLCK);
	lock.l_start = 1;
	lock.l_len = 1;
	IS(fcntl(fd, F_SETLKW, &lock), 0);
}

static void *lock_first(void *unused)
{
	(void)unused;
	struct flock lock = whole(F_WRLCK);
	lock.l_len = 1;
	int ret = fcntl(one, F_SETLKW, &lock);
	return (void *)(intptr_t)(ret == 0 ? 0 : errno);
}

static void deadlock(void)
{
	struct flock lock = whole(F_WRLCK);
	pid_t child = child_that_locks(lock_second);
	lock.l_start = 1;
	lock.l_len = 1;
	IS(fcntl(one, F_SETLKW, &lock), 0);
	/* Whichever waits second is told; the other gets the lock once that one has given up. */
	tell(to_child[1]);
	for (;;) {
		/* Until the child waits for our byte. */
		char text[4096];
		FILE *locks = fopen("/proc/locks", "r");
		bool waits = false;
		while (locks && fgets(text, sizeof text, locks))
			waits |= strstr(text, "->") && strstr(text, "POSIX");
		if (!locks)
			break;
		fclose(locks);
		if (waits)
			break;
		sleep_ms(1);
	}
	pthread_t thread = start(lock_first, NULL);
	IS((intptr_t)join(thread), EDEADLK);
	lock.l_type = F_UNLCK;
	IS(fcntl(one, F_SETLK, &lock), 0);
	reap(child);
	puts("a deadlock of record locks is told");
}

static atomic_int handled;

static void handler(int signal)
{
	(void)signal;
	atomic_fetch_add(&handled, 1);
}

static atomic_int waits;

static void *wait_for_flock(void *unused)
{
	(void)unused;
	atomic_store(&waits, 1);
	int ret = flock(other, LOCK_EX);
	return (void *)(intptr_t)(ret == 0 ? 0 : errno);
}

static void interrupted(int flags)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = flags };
	IS(sigaction(SIGUSR1, &action, NULL), 0);
	atomic_store(&handled, 0);
	atomic_store(&waits, 0);
	IS(flock(one, LOCK_EX), 0);
	pthread_t thread = start(wait_for_flock, NULL);
	while (!atomic_load(&waits))
		sleep_ms(1);
	sleep_ms(20);
	/* A signal before the wait begins is lost, bare too: again until the thread is back. */
	void *value = NULL;
	if (flags & SA_RESTART) {
		while (atomic_load(&handled) < 3) {
			OK(pthread_kill(thread, SIGUSR1));
			sleep_ms(1);
		}
		IS(pthread_tryjoin_np(thread, &value), EBUSY);
		IS(flock(one, LOCK_UN), 0);
		value = join(thread);
	} else {
		while (pthread_tryjoin_np(thread, &value) == EBUSY) {
			OK(pthread_kill(thread, SIGUSR1));
			sleep_ms(1);
		}
		IS(flock(one, LOCK_UN), 0);
	}
	printf("flock interrupted by a handler %s SA_RESTART: %s\n",
	       flags & SA_RESTART ? "with" : "without",
	       value ? strerrorname_np((int)(intptr_t)value) : "locked");
	IS(flock(other, LOCK_UN), 0);
}

int main(void)
{
	int fd = mkstemp(file);
	CHECK(fd >= 0);
	one = fd;
	other = open(file, O_RDWR);
	CHECK(other >= 0);
	fifos();
	flocks();
	descriptions();
	records();
	deadlock();
	interrupted(0);
	interrupted(SA_RESTART);
	IS(unlink(file), 0);
	IS(unlink(fifo), 0);
	return 0;
}
