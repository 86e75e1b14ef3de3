// guest: limit=60
// Calls that bring pages in, while the one who serves their faults ticks for a while first.
// covers: mlock mlock2 mlockall madvise
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include "matrix.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

enum { LENGTH = 16 * 4096 };

static int faults = -1;
static char *range;

static bool can_serve(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	faults = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	return faults >= 0 && ioctl(faults, UFFDIO_API, &api) == 0;
}

static void missing(void)
{
	if (range)
		IS(munmap(range, LENGTH), 0);
	range = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(range != MAP_FAILED);
	struct uffdio_register all = { .range = { (uintptr_t)range, LENGTH },
				       .mode = UFFDIO_REGISTER_MODE_MISSING };
	IS(ioctl(faults, UFFDIO_REGISTER, &all), 0);
}

static void serve(void)
{
	struct uffdio_zeropage all = { .range = { (uintptr_t)range, LENGTH } };
	IS(ioctl(faults, UFFDIO_ZEROPAGE, &all), 0);
}

static void do_mlock(void) { IS(syscall(SYS_mlock, range, (size_t)LENGTH), 0); }
static void do_mlock2(void) { IS(syscall(SYS_mlock2, range, (size_t)LENGTH, 0), 0); }
static void do_madvise(void) { IS(syscall(SYS_madvise, range, (size_t)LENGTH, MADV_POPULATE_WRITE), 0); }

static void do_mlockall(void)
{
	IS(syscall(SYS_mlockall, MCL_CURRENT), 0);
	IS(munlockall(), 0);
}

static const struct cell cells[] = {
	{ "mlock", missing, do_mlock, serve },
	{ "mlock2", missing, do_mlock2, serve },
	{ "madvise", missing, do_madvise, serve },
	{ "mlockall", missing, do_mlockall, serve },
};

int main(void)
{
	if (!can_serve()) {
		printf("nobody may serve faults here: %s\n", strerrorname_np(errno));
		return 0;
	}
	run_cells(cells, COUNT(cells));
	return 0;
}
