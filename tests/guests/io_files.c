// Regular files from many threads: read, write, readv, writev, pread, pwrite, preadv, append, seek, sync.
#include "guest.h"
#include <fcntl.h>
#include <sys/uio.h>

enum { THREADS = 16, BLOCK = 4096 };

static int fd, log_fd;

static void *own_block(void *raw)
{
	int index = (int)(intptr_t)raw;
	char text[BLOCK], back[BLOCK];
	off_t offset = (off_t)index * BLOCK;
	memset(text, 'A' + index, sizeof text);
	for (int i = 0; i < 20; i++) {
		IS(pwrite(fd, text, BLOCK, offset), BLOCK);
		IS(pread(fd, back, BLOCK, offset), BLOCK);
		CHECK(!memcmp(text, back, BLOCK));
		struct iovec parts[2] = { { back, 1000 }, { back + 1000, BLOCK - 1000 } };
		IS(pwritev(fd, parts, 2, offset), BLOCK);
		memset(back, 0, sizeof back);
		IS(preadv(fd, parts, 2, offset), BLOCK);
		CHECK(!memcmp(text, back, BLOCK));
		char line[32];
		int length = snprintf(line, sizeof line, "%02d %02d\n", index, i);
		IS(write(log_fd, line, (size_t)length), length);
	}
	IS(fdatasync(fd), 0);
	return NULL;
}

int main(void)
{
	char path[] = "/tmp/guest-file-XXXXXX", log[] = "/tmp/guest-log-XXXXXX", text[BLOCK];
	fd = mkstemp(path);
	log_fd = mkostemp(log, O_APPEND);
	CHECK(fd >= 0 && log_fd >= 0);
	pthread_t threads[THREADS];
	for (intptr_t i = 0; i < THREADS; i++)
		threads[i] = start(own_block, (void *)i);
	for (int i = 0; i < THREADS; i++)
		join(threads[i]);
	IS(lseek(fd, 0, SEEK_CUR), 0); /* nobody moved the position */
	for (int i = 0; i < THREADS; i++) {
		struct iovec parts[2] = { { text, 96 }, { text + 96, BLOCK - 96 } };
		IS(readv(fd, parts, 2), BLOCK);
		CHECK(text[0] == 'A' + i && text[BLOCK - 1] == 'A' + i);
	}
	IS(read(fd, text, BLOCK), 0);
	IS(lseek(fd, -BLOCK, SEEK_END), (THREADS - 1) * BLOCK);
	IS(write(fd, "end", 3), 3);
	IS(fsync(fd), 0);
	struct stat about;
	IS(fstat(fd, &about), 0);
	IS(about.st_size, THREADS * BLOCK);
	IS(fstat(log_fd, &about), 0);
	IS(about.st_size, THREADS * 20 * 6);
	FAILS(pread(fd, text, 1, -1), EINVAL);
	FAILS(read(fd, unmapped, 1), EFAULT);
	FAILS(pwrite(-1, text, 1, 0), EBADF);
	int dir = open("/tmp", O_RDONLY | O_DIRECTORY);
	FAILS(read(dir, text, 1), EISDIR);
	IS(unlink(path), 0);
	IS(unlink(log), 0);
	puts("every block is right");
	return 0;
}
