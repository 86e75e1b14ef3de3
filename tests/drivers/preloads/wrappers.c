// A library that takes functions of libc's, as socket wrappers and the like do: each takes a lock that
// pthread_atfork holds, and none may be called by the library under test.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static void lock(void) { pthread_mutex_lock(&mutex); }
static void unlock(void) { pthread_mutex_unlock(&mutex); }
__attribute__((constructor)) static void begin(void) { pthread_atfork(lock, unlock, unlock); }

static struct { unsigned long from, to; } own;

static int look(struct dl_phdr_info *info, size_t size, void *unused)
{
	if (!strstr(info->dlpi_name, "libgevent_shim"))
		return 0;
	for (int i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_LOAD && info->dlpi_phdr[i].p_flags & PF_X) {
			own.from = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
			own.to = own.from + info->dlpi_phdr[i].p_memsz;
		}
	return 1;
}

static void check(void *caller, const char *name)
{
	if (!own.to)
		dl_iterate_phdr(look, 0);
	if ((unsigned long)caller - own.from < own.to - own.from) {
		syscall(SYS_write, 2, "called by the library: ", 23);
		syscall(SYS_write, 2, name, strlen(name));
		syscall(SYS_write, 2, "\n", 1);
	}
}

#define TAKEN(type, name, number, arguments, ...) \
	type name arguments \
	{ \
		check(__builtin_return_address(0), #name); \
		lock(); \
		type result = (type)syscall(number, __VA_ARGS__); \
		unlock(); \
		return result; \
	}

TAKEN(int, close, SYS_close, (int fd), fd)
TAKEN(int, dup2, SYS_dup2, (int fd, int to), fd, to)
TAKEN(void *, mmap, SYS_mmap, (void *at, size_t n, int prot, int flags, int fd, off_t off), at, n, prot, flags, fd, off)
TAKEN(void *, mmap64, SYS_mmap, (void *at, size_t n, int prot, int flags, int fd, off_t off), at, n, prot, flags, fd, off)
TAKEN(int, munmap, SYS_munmap, (void *at, size_t n), at, n)
TAKEN(int, mprotect, SYS_mprotect, (void *at, size_t n, int prot), at, n, prot)
TAKEN(ssize_t, write, SYS_write, (int fd, const void *from, size_t n), fd, from, n)
TAKEN(ssize_t, readlink, SYS_readlink, (const char *path, char *to, size_t n), path, to, n)
TAKEN(int, open64, SYS_open, (const char *path, int flags, int mode), path, flags, mode)
TAKEN(int, open, SYS_open, (const char *path, int flags, int mode), path, flags, mode)
TAKEN(pid_t, getpid, SYS_getpid, (void), 0)
TAKEN(int, clock_gettime, SYS_clock_gettime, (clockid_t clock, struct timespec *to), clock, to)

/* Waits, so without the lock. */
ssize_t read(int fd, void *to, size_t n) { check(__builtin_return_address(0), "read"); return syscall(SYS_read, fd, to, n); }
int poll(struct pollfd *fds, nfds_t n, int ms) { check(__builtin_return_address(0), "poll"); return syscall(SYS_poll, fds, n, ms); }
