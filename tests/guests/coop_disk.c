// Calls that wait for a disk answer as bare, and none of them loses or repeats a byte.
#include "guest.h"
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/membarrier.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>

static char directory[] = "/tmp/coop_disk_XXXXXX";

static const char *in_directory(const char *name)
{
	static _Thread_local char paths[4][100];
	static _Thread_local int next;
	char *path = paths[next++ % 4];
	snprintf(path, sizeof paths[0], "%s/%s", directory, name);
	return path;
}

static void *nothing(void *argument)
{
	return argument;
}

static void synchronised(void)
{
	int fd = open(in_directory("sync"), O_RDWR | O_CREAT | O_DSYNC, 0600);
	CHECK(fd >= 0);
	IS(write(fd, "one", 3), 3);
	IS(pwrite(fd, "two", 3, 3), 3);
	struct iovec iov[2] = { { "th", 2 }, { "ree", 3 } };
	IS(pwritev(fd, iov, 2, 6), 5);
	IS(pwritev2(fd, iov, 2, 11, RWF_DSYNC), 5);
	IS(lseek(fd, 0, SEEK_CUR), 3);
	IS(writev(fd, iov, 2), 5);
	FAILS(write(fd, unmapped, 10), EFAULT);
	FAILS(pwrite(fd, "x", 1, -1), EINVAL);
	char text[32] = { 0 };
	IS(pread(fd, text, sizeof text, 0), 16);
	printf("%s\n", text);
	IS(fsync(fd), 0);
	IS(fdatasync(fd), 0);
	IS(sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER), 0);
	IS(syncfs(fd), 0);
	IS(fallocate(fd, 0, 0, 100000), 0);
	struct stat about;
	IS(fstat(fd, &about), 0);
	IS(about.st_size, 100000);
	IS(ftruncate(fd, 10), 0);
	IS(truncate(in_directory("sync"), 8192), 0);
	char *memory = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(memory != MAP_FAILED);
	memory[4096] = 'm';
	IS(msync(memory, 8192, MS_SYNC), 0);
	IS(msync(memory, 8192, MS_ASYNC), 0);
	IS(munmap(memory, 8192), 0);
	FAILS(msync(memory, 8192, MS_SYNC), ENOMEM);
	int copy = open(in_directory("copy"), O_RDWR | O_CREAT, 0600);
	IS(copy_file_range(fd, &(loff_t){ 0 }, copy, NULL, 8192, 0), 8192);
	IS(readahead(fd, 0, 8192), 0);
	IS(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	IS(close(fd), 0);
	IS(close(copy), 0);
	FAILS(fsync(fd), EBADF);
	FAILS(fallocate(fd, 0, 0, 1), EBADF);
	FAILS(ftruncate(fd, 1), EBADF);
	int ends[2];
	IS(pipe(ends), 0);
	FAILS(fsync(ends[0]), EINVAL);
	FAILS(fallocate(ends[1], 0, 0, 1), ESPIPE);
	FAILS(ftruncate(ends[1], 0), EINVAL);
	FAILS(pwrite(ends[1], "x", 1, 0), ESPIPE);
	IS(close(ends[0]), 0);
	IS(close(ends[1]), 0);
}

static void names(void)
{
	IS(rename(in_directory("copy"), in_directory("renamed")), 0);
	FAILS(rename(in_directory("copy"), in_directory("x")), ENOENT);
	FAILS(renameat2(AT_FDCWD, in_directory("renamed"), AT_FDCWD, in_directory("sync"),
			RENAME_NOREPLACE),
	      EEXIST);
	IS(renameat(AT_FDCWD, in_directory("renamed"), AT_FDCWD, in_directory("again")), 0);
	FAILS(unlink(in_directory("renamed")), ENOENT);
	FAILS(unlink(unmapped), EFAULT);
	FAILS(unlink(directory), EISDIR);
	IS(unlink(in_directory("again")), 0);
	IS(mkdir(in_directory("sub"), 0700), 0);
	FAILS(unlinkat(AT_FDCWD, in_directory("sub"), 0), EISDIR);
	IS(unlinkat(AT_FDCWD, in_directory("sub"), AT_REMOVEDIR), 0);
	/* Relative to where the process is now. */
	char before[1000];
	CHECK(getcwd(before, sizeof before));
	IS(chdir(directory), 0);
	IS(close(open("here", O_CREAT | O_WRONLY, 0600)), 0);
	IS(rename("here", "there"), 0);
	IS(unlink("there"), 0);
	IS(chdir(before), 0);
	mode_t mask = umask(027);
	IS(close(open(in_directory("masked"), O_CREAT | O_WRONLY, 0666)), 0);
	umask(mask);
	struct stat about;
	IS(stat(in_directory("masked"), &about), 0);
	printf("%o\n", about.st_mode & 0777);
	IS(unlink(in_directory("masked")), 0);
}

/* Eight threads read one description to its end: each byte comes to one of them. */
enum { RECORDS = 20000, READERS = 8 };
static int shared;
static atomic_uchar seen[RECORDS];

static void *read_records(void *unused)
{
	uint32_t record;
	ssize_t n;
	while ((n = read(shared, &record, sizeof record)) == sizeof record) {
		CHECK(record < RECORDS);
		atomic_fetch_add(&seen[record], 1);
	}
	IS(n, 0);
	return unused;
}

static void *write_records(void *unused)
{
	uint32_t record = UINT32_C(0xabcdef01);
	for (int i = 0; i < 200; i++)
		IS(write(shared, &record, sizeof record), sizeof record);
	return unused;
}

static void one_position(void)
{
	const char *path = in_directory("records");
	shared = open(path, O_RDWR | O_CREAT, 0600);
	static uint32_t records[RECORDS];
	for (uint32_t i = 0; i < RECORDS; i++)
		records[i] = i;
	IS(write(shared, records, sizeof records), sizeof records);
	IS(fdatasync(shared), 0);
	/* Out of the page cache, so that the reads must wait. */
	IS(posix_fadvise(shared, 0, 0, POSIX_FADV_DONTNEED), 0);
	IS(lseek(shared, 0, SEEK_SET), 0);
	pthread_t threads[READERS];
	for (int i = 0; i < READERS; i++)
		threads[i] = start(read_records, NULL);
	for (int i = 0; i < READERS; i++)
		join(threads[i]);
	for (int i = 0; i < RECORDS; i++)
		IS(atomic_load(&seen[i]), 1);
	IS(close(shared), 0);
	shared = open(path, O_RDWR | O_TRUNC | O_SYNC);
	for (int i = 0; i < READERS; i++)
		threads[i] = start(write_records, NULL);
	for (int i = 0; i < READERS; i++)
		join(threads[i]);
	struct stat about;
	IS(fstat(shared, &about), 0);
	IS(about.st_size, READERS * 200 * 4);
	IS(close(shared), 0);
	IS(unlink(path), 0);
	puts("no record is read twice, and none is overwritten");
}

static atomic_int too_large;

static void count(int signal)
{
	(void)signal;
	atomic_fetch_add(&too_large, 1);
}

static void file_size(void)
{
	struct rlimit old, limit;
	IS(getrlimit(RLIMIT_FSIZE, &old), 0);
	limit = old;
	limit.rlim_cur = 4096;
	struct sigaction action = { .sa_handler = count };
	IS(sigaction(SIGXFSZ, &action, NULL), 0);
	int fd = open(in_directory("limited"), O_RDWR | O_CREAT | O_DSYNC, 0600);
	IS(setrlimit(RLIMIT_FSIZE, &limit), 0);
	FAILS(ftruncate(fd, 5000), EFBIG);
	FAILS(pwrite(fd, "x", 1, 4096), EFBIG);
	FAILS(fallocate(fd, 0, 0, 5000), EFBIG);
	IS(setrlimit(RLIMIT_FSIZE, &old), 0);
	printf("%d signals for files that are too large\n", atomic_load(&too_large));
	IS(close(fd), 0);
	IS(unlink(in_directory("limited")), 0);
}

static int bell;

static void ring(void *unused)
{
	(void)unused;
	IS(eventfd_write(bell, 1), 0);
}

static void native_aio(void)
{
	aio_context_t context = 0;
	IS(syscall(SYS_io_setup, 8, &context), 0);
	bell = eventfd(0, 0);
	struct iocb poll = { .aio_lio_opcode = IOCB_CMD_POLL,
			     .aio_fildes = (uint32_t)bell,
			     .aio_buf = POLLIN,
			     .aio_data = 42 };
	struct iocb *list[] = { &poll };
	IS(syscall(SYS_io_submit, context, 1, list), 1);
	struct io_event events[2];
	struct timespec none = { 0, 0 }, soon = timespec_of(200 * MS);
	IS(syscall(SYS_io_getevents, context, 1, 2, events, &none), 0);
	struct release release;
	release_start(&release, ring, NULL);
	IS(syscall(SYS_io_getevents, context, 1, 2, events, NULL), 1);
	release_check(&release, "io_getevents");
	IS(events[0].data, 42);
	struct ticker ticker;
	ticker_start(&ticker);
	IS(syscall(SYS_io_pgetevents, context, 1, 2, events, &soon, NULL), 0);
	ticker_check(&ticker, "io_pgetevents");
	FAILS(syscall(SYS_io_getevents, context, 3, 2, events, NULL), EINVAL);
	FAILS(syscall(SYS_io_getevents, 0L, 1, 2, events, NULL), EINVAL);
	IS(syscall(SYS_io_destroy, context), 0);
	IS(close(bell), 0);
}

int main(void)
{
	CHECK(mkdtemp(directory));
	join(start(nothing, NULL));
	synchronised();
	names();
	one_position();
	file_size();
	native_aio();
	IS(syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0), 0);
	IS(unlink(in_directory("sync")), 0);
	sync();
	IS(rmdir(directory), 0);
	return 0;
}
