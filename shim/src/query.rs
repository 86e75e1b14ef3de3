//! What a program or a plugin may ask about patching: gevent's `is_module_patched` and
//! `get_original`.
#![allow(unsafe_code)]

use core::ffi::{CStr, c_char, c_int, c_void};

use gevent_runtime::arch;
use gevent_runtime::patching;
use gevent_runtime::syscalls;

/// Whether the group or the system call of this name is cooperative now: 1 or 0, or -1 if
/// there is neither of the name. Any thread.
///
/// # Safety
/// `name` must be a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_is_patched(name: *const c_char) -> c_int {
    if name.is_null() {
        return -1;
    }
    // SAFETY: the caller's string.
    let name = unsafe { CStr::from_ptr(name) };
    let known = name.to_str().ok().and_then(patching::is_patched);
    known.map_or(-1, c_int::from)
}

/// The system call of this name as the kernel carries it out, whatever is patched: a
/// function with the arguments of libc's, which returns -1 and sets errno on failure.
/// Calling it stops every thread while it waits. Null if there is none: the name is no
/// call's, only libc can make the call (a new thread or process, an end), or the call is
/// handed over as it is, so that libc's function does the same. Any thread.
///
/// # Safety
/// `name` must be a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_get_original(name: *const c_char) -> *const c_void {
    if name.is_null() {
        return core::ptr::null();
    }
    // SAFETY: the caller's string.
    let name = unsafe { CStr::from_ptr(name) };
    let row = name
        .to_str()
        .ok()
        .and_then(|name| syscalls::TABLE.iter().find(|row| row.name == name));
    row.and_then(|row| original_of(row.nr as i64))
        .unwrap_or(core::ptr::null())
}

/// Makes call `NR`, with its result as libc returns it.
unsafe extern "C" fn original<const NR: i64>(
    a: u64,
    b: u64,
    c: u64,
    d: u64,
    e: u64,
    f: u64,
) -> i64 {
    // SAFETY: the caller's own call.
    let ret = unsafe { arch::syscall(NR as u64, [a, b, c, d, e, f]) };
    if (-4095..0).contains(&ret) {
        // SAFETY: the calling thread's errno.
        unsafe { *libc::__errno_location() = -ret as c_int };
        return -1;
    }
    ret
}

macro_rules! originals {
    ($($nr:ident)*) => {
        fn original_of(nr: i64) -> Option<*const c_void> {
            match nr {
                $(libc::$nr => Some(original::<{ libc::$nr }> as *const c_void),)*
                _ => None,
            }
        }
    };
}

originals! {
    SYS_read SYS_write SYS_readv SYS_writev SYS_pread64 SYS_pwrite64 SYS_preadv SYS_preadv2
    SYS_pwritev2 SYS_close SYS_close_range SYS_dup2 SYS_dup3 SYS_fcntl SYS_ioctl
    SYS_recvfrom SYS_recvmsg SYS_recvmmsg SYS_sendto SYS_sendmsg SYS_sendmmsg SYS_accept
    SYS_accept4 SYS_connect SYS_setsockopt SYS_poll SYS_ppoll SYS_select SYS_pselect6
    SYS_epoll_wait SYS_epoll_pwait SYS_epoll_pwait2 SYS_nanosleep SYS_clock_nanosleep
    SYS_sched_yield SYS_wait4 SYS_waitid SYS_futex SYS_futex_waitv SYS_gettid SYS_prctl
    SYS_mmap SYS_mprotect SYS_munmap SYS_pause SYS_flock SYS_fsync SYS_fdatasync SYS_open
    SYS_openat SYS_semop SYS_semtimedop SYS_msgsnd SYS_msgrcv SYS_getpriority
    SYS_setpriority SYS_sched_getaffinity SYS_sched_setaffinity SYS_msync SYS_sendfile
    SYS_creat SYS_mount SYS_umount2 SYS_io_getevents SYS_mq_timedsend SYS_mq_timedreceive
    SYS_splice SYS_tee SYS_vmsplice SYS_pwritev SYS_membarrier SYS_move_mount SYS_openat2
    SYS_madvise SYS_process_madvise SYS_mlockall SYS_mbind SYS_getsockopt SYS_getrandom
    SYS_pivot_root SYS_bpf
}

#[cfg(test)]
mod tests {
    use super::*;

    fn original_named(name: &CStr) -> *const c_void {
        // SAFETY: a string.
        unsafe { gevent_get_original(name.as_ptr()) }
    }

    #[test]
    fn an_original_is_the_kernels_call_with_errno() {
        let read = original_named(c"read");
        assert!(!read.is_null());
        // SAFETY: a function of these arguments.
        let read: unsafe extern "C" fn(c_int, *mut u8, usize) -> isize =
            unsafe { core::mem::transmute(read) };
        // SAFETY: no such descriptor.
        assert_eq!(unsafe { read(-1, core::ptr::null_mut(), 0) }, -1);
        assert_eq!(
            std::io::Error::last_os_error().raw_os_error(),
            Some(libc::EBADF)
        );
        for none in [c"clone", c"nosuch", c"socket group", c""] {
            assert!(original_named(none).is_null());
        }
        // SAFETY: null is allowed.
        unsafe {
            assert!(gevent_get_original(core::ptr::null()).is_null());
            assert_eq!(gevent_is_patched(core::ptr::null()), -1);
            assert_eq!(gevent_is_patched(c"nosuch".as_ptr()), -1);
            // No hub runs here.
            assert_eq!(gevent_is_patched(c"socket".as_ptr()), 0);
            assert_eq!(gevent_is_patched(c"connect".as_ptr()), 0);
        }
    }

    #[test]
    fn every_call_with_a_way_of_its_own_to_wait_has_an_original() {
        // Libc does more than the call, or has no name for its number.
        let special = [
            "exit",
            "rt_sigtimedwait",
            "rt_sigsuspend",
            "io_uring_enter",
            "io_pgetevents",
            "futex_wait",
            "migrate_pages",
            "move_pages",
        ];
        let missing: Vec<_> = syscalls::TABLE
            .iter()
            .filter(|row| row.op.is_some() && row.parks && !special.contains(&row.name))
            .filter(|row| original_of(row.nr as i64).is_none())
            .map(|row| row.name)
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
