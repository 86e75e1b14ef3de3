// guest: limit=60
// Waiting calls on pipes, files and locks, each of which blocks one thread while another ticks.
// covers: read write readv writev preadv2 pwritev2 splice tee vmsplice sendfile
// covers: open openat openat2 creat fcntl flock
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/file.h>
#include <sys/uio.h>
#include "matrix.h"

static int in[2] = { -1, -1 }, out[2] = { -1, -1 }, files[2], opened;
static char text[1 << 16], directory[] = "/tmp/guest-matrix-XXXXXX", fifo[64], file[64];
static struct iovec part = { text, 1 };

static void pipes(void)
{
	for (int i = 0; i < 2; i++) {
		close(in[i]);
		close(out[i]);
	}
	IS(pipe(in), 0);
	IS(pipe(out), 0);
}

static void full_pipe(void)
{
	pipes();
	IS(fcntl(out[1], F_SETFL, O_NONBLOCK), 0);
	while (write(out[1], text, sizeof text) > 0)
		;
	IS(fcntl(out[1], F_SETFL, 0), 0);
}

static void feed(void) { IS(write(in[1], "x", 1), 1); }
static void drain(void) { CHECK(read(out[0], text, sizeof text) > 0); }
static void do_read(void) { IS(syscall(SYS_read, in[0], text, 1), 1); }
static void do_readv(void) { IS(syscall(SYS_readv, in[0], &part, 1), 1); }
static void do_preadv2(void) { IS(syscall(SYS_preadv2, in[0], &part, 1, -1L, 0L, 0), 1); }
static void do_write(void) { IS(syscall(SYS_write, out[1], text, 1), 1); }
static void do_writev(void) { IS(syscall(SYS_writev, out[1], &part, 1), 1); }
static void do_pwritev2(void) { IS(syscall(SYS_pwritev2, out[1], &part, 1, -1L, 0L, 0), 1); }
static void do_splice(void) { IS(syscall(SYS_splice, in[0], NULL, out[1], NULL, 1, 0), 1); }
static void do_tee(void) { IS(syscall(SYS_tee, in[0], out[1], 1, 0), 1); }
static void do_vmsplice(void) { IS(syscall(SYS_vmsplice, out[1], &part, 1, 0), 1); }
static void do_sendfile(void) { off_t at = 0; IS(syscall(SYS_sendfile, out[1], files[0], &at, 1), 1); }

static void open_other(void)
{
	opened = open(fifo, O_WRONLY);
	CHECK(opened >= 0);
}

static void open_reader(void)
{
	opened = open(fifo, O_RDONLY);
	CHECK(opened >= 0);
}

static void close_opened(long fd)
{
	CHECK(fd >= 0);
	close((int)fd);
}

static void close_other(void)
{
	if (opened >= 0)
		close(opened);
	opened = -1;
}

static void do_open(void) { close_opened(syscall(SYS_open, fifo, O_RDONLY)); }
static void do_openat(void) { close_opened(syscall(SYS_openat, AT_FDCWD, fifo, O_RDONLY, 0)); }
static void do_creat(void) { close_opened(syscall(SYS_creat, fifo, 0600)); }

static void do_openat2(void)
{
	struct open_how how = { .flags = O_RDONLY };
	close_opened(syscall(SYS_openat2, AT_FDCWD, fifo, &how, sizeof how));
}

static void lock_ofd(void)
{
	struct flock lock = { .l_type = F_WRLCK };
	IS(fcntl(files[0], F_OFD_SETLK, &lock), 0);
}

static void unlock_ofd(void)
{
	struct flock lock = { .l_type = F_UNLCK };
	IS(fcntl(files[0], F_OFD_SETLK, &lock), 0);
}

static void do_fcntl(void)
{
	struct flock lock = { .l_type = F_WRLCK };
	IS(syscall(SYS_fcntl, files[1], F_OFD_SETLKW, &lock), 0);
	lock.l_type = F_UNLCK;
	IS(fcntl(files[1], F_OFD_SETLK, &lock), 0);
}

static void lock_file(void) { IS(flock(files[0], LOCK_EX), 0); }
static void unlock_file(void) { IS(flock(files[0], LOCK_UN), 0); }

static void do_flock(void)
{
	IS(syscall(SYS_flock, files[1], LOCK_EX), 0);
	IS(flock(files[1], LOCK_UN), 0);
}

int main(void)
{
	static const struct cell cells[] = {
		{ "read", pipes, do_read, feed },
		{ "readv", pipes, do_readv, feed },
		{ "preadv2", pipes, do_preadv2, feed },
		{ "write", full_pipe, do_write, drain },
		{ "writev", full_pipe, do_writev, drain },
		{ "pwritev2", full_pipe, do_pwritev2, drain },
		{ "splice", pipes, do_splice, feed },
		{ "tee", pipes, do_tee, feed },
		{ "vmsplice", full_pipe, do_vmsplice, drain },
		{ "sendfile", full_pipe, do_sendfile, drain },
		{ "open", close_other, do_open, open_other },
		{ "openat", close_other, do_openat, open_other },
		{ "openat2", close_other, do_openat2, open_other },
		{ "creat", close_other, do_creat, open_reader },
		{ "fcntl", lock_ofd, do_fcntl, unlock_ofd },
		{ "flock", lock_file, do_flock, unlock_file },
	};
	opened = -1;
	CHECK(mkdtemp(directory) != NULL);
	snprintf(fifo, sizeof fifo, "%s/fifo", directory);
	snprintf(file, sizeof file, "%s/file", directory);
	IS(mkfifo(fifo, 0600), 0);
	for (int i = 0; i < 2; i++) {
		files[i] = open(file, O_RDWR | O_CREAT, 0600);
		CHECK(files[i] >= 0);
	}
	IS(write(files[0], "abc", 3), 3);
	run_cells(cells, COUNT(cells));
	unlink(fifo);
	unlink(file);
	rmdir(directory);
	return 0;
}
