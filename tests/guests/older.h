/* What the headers of Debian 11 lack: glibc 2.31, Linux 5.10. */
#ifndef OLDER_H
#define OLDER_H

#include <linux/futex.h>
#include <stdint.h>
#include <sys/syscall.h>

#if !__GLIBC_PREREQ(2, 32)
#define strerrorname_np(error) strerror(error)
#endif

#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#ifndef SYS_process_madvise
#define SYS_process_madvise 440
#endif
#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif
#ifndef SYS_process_mrelease
#define SYS_process_mrelease 448
#endif
#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

#if !__GLIBC_PREREQ(2, 36)
#define P_PIDFD 3
#endif
#if !__GLIBC_PREREQ(2, 35)
#define epoll_pwait2(epoll, events, room, time, mask) \
	(int)syscall(SYS_epoll_pwait2, epoll, events, room, time, mask, 8)
#endif

#ifndef FUTEX_32
#define FUTEX_32 2
struct futex_waitv {
	uint64_t val;
	uint64_t uaddr;
	uint32_t flags;
	uint32_t __reserved;
};
#endif

#endif
