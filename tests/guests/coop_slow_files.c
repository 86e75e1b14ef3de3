// Calls on a file system whose server takes its time block their own thread only.
// guest: limit=120
#include "guest.h"
#include <dirent.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <signal.h>

/* How long the server takes for each answer. */
enum { DELAY_MS = 150 };

static char directory[] = "/tmp/coop_slow_XXXXXX";

/* A file system with one directory of one file, "file", of five bytes. */
static struct fuse_attr attributes_of(uint64_t node)
{
	return (struct fuse_attr){
		.ino = node,
		.size = node == 2 ? 5 : 0,
		.mode = node == 2 ? S_IFREG | 0644 : S_IFDIR | 0755,
		.nlink = 1,
	};
}

static void answer(int fd, uint64_t unique, int error, const void *body, size_t length)
{
	struct fuse_out_header header = { (uint32_t)(sizeof header + length), -error, unique };
	struct iovec parts[2] = { { &header, sizeof header }, { (void *)body, length } };
	/* The asker may be gone. */
	if (writev(fd, parts, 2) < 0 && errno != ENOENT)
		_exit(1);
}

static void serve(int fd)
{
	static char request[1 << 18];
	for (;;) {
		ssize_t n = read(fd, request, sizeof request);
		if (n < 0 && (errno == EINTR || errno == ENOENT))
			continue;
		if (n < (ssize_t)sizeof(struct fuse_in_header))
			_exit(0);
		struct fuse_in_header *in = (void *)request;
		const char *body = request + sizeof *in;
		if (in->opcode != FUSE_INIT && in->opcode != FUSE_FORGET && in->opcode != FUSE_INTERRUPT)
			usleep(DELAY_MS * 1000);
		switch (in->opcode) {
		case FUSE_INIT: {
			struct fuse_init_out out = { .major = 7, .minor = 31, .max_write = 4096 };
			answer(fd, in->unique, 0, &out, sizeof out);
			break;
		}
		case FUSE_LOOKUP: {
			struct fuse_entry_out out = { .nodeid = 2, .attr = attributes_of(2) };
			if (strcmp(body, "file") == 0)
				answer(fd, in->unique, 0, &out, sizeof out);
			else
				answer(fd, in->unique, ENOENT, NULL, 0);
			break;
		}
		case FUSE_GETATTR: {
			struct fuse_attr_out out = { .attr = attributes_of(in->nodeid) };
			answer(fd, in->unique, 0, &out, sizeof out);
			break;
		}
		case FUSE_SETATTR: {
			struct fuse_attr_out out = { .attr = attributes_of(in->nodeid) };
			answer(fd, in->unique, 0, &out, sizeof out);
			break;
		}
		case FUSE_OPEN:
		case FUSE_OPENDIR: {
			struct fuse_open_out out = { .open_flags = FOPEN_DIRECT_IO };
			answer(fd, in->unique, 0, &out, sizeof out);
			break;
		}
		case FUSE_READ:
			answer(fd, in->unique, 0, "hello",
			       ((const struct fuse_read_in *)body)->offset == 0 ? 5 : 0);
			break;
		case FUSE_WRITE: {
			struct fuse_write_out out = { ((const struct fuse_write_in *)body)->size, 0 };
			answer(fd, in->unique, 0, &out, sizeof out);
			break;
		}
		case FUSE_STATFS: {
			struct fuse_statfs_out out = { .st = { .bsize = 4096, .namelen = 255 } };
			answer(fd, in->unique, 0, &out, sizeof out);
			break;
		}
		case FUSE_READDIR:
		case FUSE_RELEASE:
		case FUSE_RELEASEDIR:
		case FUSE_FLUSH:
		case FUSE_FSYNC:
		case FUSE_ACCESS:
			answer(fd, in->unique, 0, NULL, 0);
			break;
		case FUSE_UNLINK:
		case FUSE_RENAME:
		case FUSE_RENAME2:
		case FUSE_MKDIR:
		case FUSE_LINK:
		case FUSE_SYMLINK:
			answer(fd, in->unique, EROFS, NULL, 0);
			break;
		case FUSE_FORGET:
		case FUSE_BATCH_FORGET:
		case FUSE_INTERRUPT:
			break;
		default:
			answer(fd, in->unique, ENOSYS, NULL, 0);
		}
	}
}

static int mount_it(void)
{
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -1;
	if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
		return -1;
	char options[100];
	snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0", fd);
	if (mount("slow", directory, "fuse", 0, options) != 0)
		return -1;
	return fd;
}

static const char *slow(const char *name)
{
	static char paths[2][100];
	static int next;
	char *path = paths[next++ % 2];
	snprintf(path, sizeof paths[0], "%s/%s", directory, name);
	return path;
}

static struct ticker ticker;

/* The call took its time, and the ticker went on. */
#define SLOWLY(call, result, error)                                                                \
	do {                                                                                       \
		ticker_start(&ticker);                                                             \
		int64_t begin = now_ns(CLOCK_MONOTONIC);                                           \
		errno = 0;                                                                         \
		long slowly_result = (long)(call);                                                 \
		int slowly_error = slowly_result < 0 ? errno : 0;                                  \
		bool took = now_ns(CLOCK_MONOTONIC) - begin >= (DELAY_MS - 10) * MS;                \
		printf("%s: %s\n", #call, strerrorname_np(slowly_error));                         \
		CHECK(slowly_error == (error) && (slowly_error || slowly_result == (long)(result))); \
		CHECK(took);                                                                       \
		ticker_check(&ticker, #call);                                                      \
	} while (0)

static int opened(int fd)
{
	CHECK(fd >= 0);
	return fd;
}

int main(void)
{
	CHECK(mkdtemp(directory));
	int fuse = mount_it();
	if (fuse < 0) {
		puts("no FUSE file system can be mounted here");
		rmdir(directory);
		return 0;
	}
	pid_t server = fork();
	CHECK(server >= 0);
	if (server == 0) {
		/* Also when the program fails: or its mount would wait for us. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		serve(fuse);
	}
	IS(close(fuse), 0);
	struct stat about;
	struct statfs system;
	int fd;
	SLOWLY(stat(slow("file"), &about), 0, 0);
	IS(about.st_size, 5);
	SLOWLY(stat(slow("none"), &about), 0, ENOENT);
	SLOWLY(access(slow("file"), R_OK), 0, 0);
	SLOWLY(statfs(directory, &system), 0, 0);
	SLOWLY(fd = opened(open(slow("file"), O_RDWR)), fd, 0);
	char text[16] = { 0 };
	SLOWLY(read(fd, text, sizeof text), 5, 0);
	CHECK(strcmp(text, "hello") == 0);
	SLOWLY(pread(fd, text, 5, 0), 5, 0);
	SLOWLY(write(fd, "12345", 5), 5, 0);
	SLOWLY(pwrite(fd, "12345", 5, 0), 5, 0);
	SLOWLY(fstat(fd, &about), 0, 0);
	SLOWLY(fchmod(fd, 0600), 0, 0);
	SLOWLY(ftruncate(fd, 0), 0, 0);
	SLOWLY(fsync(fd), 0, 0);
	SLOWLY(getxattr(slow("file"), "user.x", text, 1), 0, EOPNOTSUPP);
	SLOWLY(unlink(slow("file")), 0, EROFS);
	SLOWLY(rename(slow("file"), slow("other")), 0, EROFS);
	SLOWLY(mkdir(slow("new"), 0700), 0, EROFS);
	SLOWLY(close(fd), 0, 0);
	DIR *list;
	SLOWLY((list = opendir(directory)) != NULL, 1, 0);
	SLOWLY(readdir(list) == NULL, 1, 0);
	IS(closedir(list), 0);
	IS(umount2(directory, MNT_DETACH), 0);
	kill(server, SIGKILL);
	IS(waitpid(server, NULL, 0), server);
	IS(rmdir(directory), 0);
	return 0;
}
