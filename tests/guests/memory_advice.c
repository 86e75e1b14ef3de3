// Rare calls that are handed over answer as bare: advice, policies, modules, programs, random bytes.
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/mempolicy.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include "guest.h"

#define SAY(call)                                                                                  \
	do {                                                                                       \
		errno = 0;                                                                         \
		long say_result = (long)(call);                                                    \
		printf("%s: %s\n", #call, say_result >= 0 ? "done" : strerrorname_np(errno));      \
	} while (0)

enum { LENGTH = 64 << 20, LITTLE = 1 << 20 };

static char *large;

static void fill(void)
{
	for (size_t i = 0; i < LENGTH; i += 4096)
		large[i] = (char)(i >> 12 | 1);
}

static bool is_zero(size_t from, size_t length)
{
	for (size_t i = from; i < from + length; i += 4096)
		if (large[i] != 0)
			return false;
	return true;
}

static void advice(void)
{
	large = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(large != MAP_FAILED);
	fill();
	IS(madvise(large, LITTLE, MADV_DONTNEED), 0);
	CHECK(is_zero(0, LITTLE) && large[LITTLE] != 0);
	IS(madvise(large, LENGTH, MADV_DONTNEED), 0);
	CHECK(is_zero(0, LENGTH));
	fill();
	SAY(madvise(large, LENGTH, MADV_FREE));
	SAY(madvise(large, LENGTH, MADV_COLD));
	SAY(madvise(large, LITTLE, MADV_PAGEOUT));
	SAY(madvise(large, LITTLE, MADV_WILLNEED));
	SAY(madvise(large, LITTLE, 22 /* MADV_POPULATE_READ */));
	SAY(madvise(large + 1, LITTLE, 23 /* MADV_POPULATE_WRITE */));
	SAY(madvise(large, LITTLE, 12345));
	IS(munmap(large, LENGTH), 0);
	SAY(madvise(large, LENGTH, MADV_DONTNEED));
	SAY(madvise(large, LENGTH, 23));

	char *populated = mmap(NULL, LITTLE, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	unsigned char there[LITTLE / 4096];
	CHECK(populated != MAP_FAILED);
	IS(mincore(populated, LITTLE, there), 0);
	for (size_t i = 0; i < COUNT(there); i++)
		CHECK(there[i] & 1);
	SAY(mmap((void *)1, LITTLE, PROT_READ, MAP_FIXED | MAP_POPULATE | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0);
	SAY(mmap(NULL, LITTLE, PROT_READ, MAP_POPULATE | MAP_SHARED, -1, 0) == MAP_FAILED ? -1 : 0);

	int self = (int)syscall(SYS_pidfd_open, getpid(), 0);
	struct iovec range = { populated, LITTLE };
	SAY(syscall(SYS_process_madvise, self, &range, 1, MADV_COLD, 0));
	SAY(syscall(SYS_process_madvise, self, &range, 1, MADV_WILLNEED, 0));
	SAY(syscall(SYS_process_madvise, self, unmapped, 1, MADV_COLD, 0));
	SAY(syscall(SYS_process_madvise, -1, &range, 1, MADV_PAGEOUT, 0));
	SAY(syscall(SYS_process_mrelease, self, 0));
	IS(close(self), 0);

	unsigned long nodes = 1;
	SAY(syscall(SYS_mbind, populated, LITTLE, MPOL_BIND, &nodes, 8, MPOL_MF_MOVE));
	SAY(syscall(SYS_mbind, populated, LITTLE, MPOL_BIND, &nodes, 8, 0));
	SAY(syscall(SYS_mbind, populated, LITTLE, 99, &nodes, 8, MPOL_MF_STRICT));
	void *page = populated;
	int status = -1, node = 0;
	SAY(syscall(SYS_move_pages, 0, 1, &page, NULL, &status, 0));
	SAY(syscall(SYS_move_pages, 0, 1, &page, &node, &status, MPOL_MF_MOVE));
	SAY(syscall(SYS_migrate_pages, 0, 8, &nodes, &nodes));
	SAY(mlock(populated, LITTLE));
	SAY(mlock2(populated, LITTLE, 99));
	SAY(mlock(unmapped, LITTLE));
	SAY(syscall(SYS_remap_file_pages, populated, LITTLE, 0, 0, 0));
}

static void system_calls(void)
{
	char file_system[32];
	SAY(syscall(SYS_ustat, 0xfffffL, file_system));
	SAY(syscall(SYS_pivot_root, "/nonexistent", "/nonexistent"));
	SAY(syscall(SYS_init_module, unmapped, 1, ""));
	SAY(syscall(SYS_finit_module, -1, "", 0));
	SAY(syscall(SYS_delete_module, "no_such_module", O_NONBLOCK));
	SAY(syscall(SYS_kexec_load, 0, 0, NULL, 0xfffL));
	SAY(syscall(SYS_kexec_file_load, -1, -1, 0, NULL, 0));
	struct bpf_insn nothing[] = { { .code = BPF_ALU64 | BPF_MOV | BPF_K }, { .code = BPF_JMP | BPF_EXIT } };
	union bpf_attr load = { .prog_type = BPF_PROG_TYPE_SOCKET_FILTER,
				.insns = (uintptr_t)nothing,
				.insn_cnt = COUNT(nothing),
				.license = (uintptr_t) "GPL" };
	SAY(syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof load));
	load.insn_cnt = 0;
	SAY(syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof load));
	SAY(syscall(SYS_bpf, 12345, &load, sizeof load));
	int tcp = socket(AF_INET, SOCK_STREAM, 0), value;
	socklen_t length = sizeof value;
	SAY(getsockopt(tcp, IPPROTO_SCTP, 111, &value, &length));
	SAY(setsockopt(tcp, IPPROTO_SCTP, 110, &value, length));
	SAY(getsockopt(tcp, SOL_SOCKET, SO_TYPE, &value, &length));
	IS(value, SOCK_STREAM);
}

static void random_bytes(void)
{
	static unsigned char bytes[4 << 20], zeros[64];
	IS(getrandom(bytes, 64, 0), 64);
	CHECK(memcmp(bytes, zeros, 64) != 0);
	IS(getrandom(bytes, 64, GRND_RANDOM), 64);
	IS(getrandom(bytes, 0, 0), 0);
	SAY(getrandom(bytes, 64, 0xff00));
	// libc's own writes there itself where the kernel's page has getrandom.
	SAY(syscall(SYS_getrandom, unmapped, 64, 0));
	for (size_t have = 0; have < sizeof bytes;) {
		ssize_t part = getrandom(bytes + have, sizeof bytes - have, 0);
		CHECK(part > 0);
		have += (size_t)part;
	}
	CHECK(memcmp(bytes + sizeof bytes - 64, zeros, 64) != 0);
}

static void *all(void *unused)
{
	advice();
	system_calls();
	random_bytes();
	return unused;
}

int main(void)
{
	join(start(all, NULL));
	return 0;
}
