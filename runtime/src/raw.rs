//! Small words for talking to the kernel: error values, clocks, descriptors.
//!
//! Everything here is allocation-free, keeps no lock and touches no
//! thread-local storage: it may run in guest mode.
#![allow(unsafe_code)]

use crate::arch::{self, syscall, syscall1, syscall2, syscall3, syscall4};
use crate::vdso;

/// `-errno`, as the kernel returns it.
#[inline(always)]
pub const fn err(errno: i32) -> i64 {
    -(errno as i64)
}

/// The kernel's internal result for "restart if every handler that runs has
/// SA_RESTART, else EINTR" (include/linux/errno.h). Never leaves dispatch.
pub const ERESTARTSYS: i64 = -512;
/// "EINTR if a handler runs, else restart". Never leaves dispatch.
pub const ERESTARTNOHAND: i64 = -514;

/// "Restart whatever the handler's flags say". Never leaves dispatch.
pub const ERESTARTNOINTR: i64 = -513;

/// True for the three results above.
#[inline]
pub const fn is_restart(ret: i64) -> bool {
    ret == ERESTARTSYS || ret == ERESTARTNOHAND || ret == ERESTARTNOINTR
}

/// Nanoseconds in a second.
pub const NS_PER_S: u64 = 1_000_000_000;

/// CLOCK_MONOTONIC in nanoseconds.
#[inline]
pub fn now() -> u64 {
    clock(libc::CLOCK_MONOTONIC)
}

/// Reads a clock that cannot fail, in nanoseconds.
#[inline]
pub fn clock(id: libc::clockid_t) -> u64 {
    let mut ts = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    vdso::clock_gettime(id, &mut ts);
    ts.tv_sec as u64 * NS_PER_S + ts.tv_nsec as u64
}

/// Nanoseconds of a time span; `None` when it is not normalised or negative,
/// which the kernel answers with EINVAL. Saturates after 584 years.
pub fn timespec_ns(ts: &libc::timespec) -> Option<u64> {
    if ts.tv_sec < 0 || ts.tv_nsec < 0 || ts.tv_nsec >= NS_PER_S as i64 {
        return None;
    }
    Some(
        (ts.tv_sec as u64)
            .saturating_mul(NS_PER_S)
            .saturating_add(ts.tv_nsec as u64),
    )
}

/// A time span of `ns` nanoseconds.
pub fn ns_timespec(ns: u64) -> libc::timespec {
    libc::timespec {
        tv_sec: (ns / NS_PER_S) as i64,
        tv_nsec: (ns % NS_PER_S) as i64,
    }
}

/// Reads a `T` at an address the program gave. `Err(-EFAULT)` where the kernel would
/// say so.
///
/// # Safety
/// A `T` must be valid with any bytes, and the address one that the kernel would be
/// told to read.
pub unsafe fn get<T: Copy>(address: u64) -> Result<T, i64> {
    let mut value = core::mem::MaybeUninit::<T>::uninit();
    let to = value.as_mut_ptr();
    if size_of::<T>().is_multiple_of(8) && size_of::<T>() <= WORDS * 8 {
        for i in 0..size_of::<T>() / 8 {
            // SAFETY: the caller's contract; word `i` of `value` is ours.
            unsafe {
                let word = arch::read_word(address.wrapping_add(i as u64 * 8));
                let word = word.ok_or(err(libc::EFAULT))?;
                core::ptr::write_unaligned(to.cast::<u64>().add(i), word);
            }
        }
        // SAFETY: all of its words were written; the caller's contract.
        return Ok(unsafe { value.assume_init() });
    }
    // SAFETY: as above, with the bytes of `value`.
    unsafe {
        if !arch::copy(to.cast(), address as *const u8, size_of::<T>()) {
            return Err(err(libc::EFAULT));
        }
        Ok(value.assume_init())
    }
}

/// Writes a `T` at an address the program gave; as [`get`].
///
/// # Safety
/// As [`get`], for writing; a `T` must have no padding.
pub unsafe fn put<T: Copy>(address: u64, value: T) -> Result<(), i64> {
    let from = &raw const value;
    if size_of::<T>().is_multiple_of(8) && size_of::<T>() <= WORDS * 8 {
        for i in 0..size_of::<T>() / 8 {
            // SAFETY: word `i` of `value` is ours; the caller's contract.
            let written = unsafe {
                let word = core::ptr::read_unaligned(from.cast::<u64>().add(i));
                arch::write_word(address.wrapping_add(i as u64 * 8), word)
            };
            if !written {
                return Err(err(libc::EFAULT));
            }
        }
        return Ok(());
    }
    // SAFETY: as above, with the bytes of `value`.
    if unsafe { arch::copy(address as *mut u8, from.cast(), size_of::<T>()) } {
        Ok(())
    } else {
        Err(err(libc::EFAULT))
    }
}

/// Values of so many words are copied word by word, which is quicker.
const WORDS: usize = 8;

/// Whether an address may be the program's.
pub fn plausible(address: u64) -> bool {
    (0x1_0000..0x7fff_ffff_f000).contains(&address)
}

/// close(2) without the program's view of it.
pub fn close(fd: i32) {
    // SAFETY: callers close descriptors of our own.
    unsafe { syscall1(libc::SYS_close, fd as u64) };
}

/// The status flags of a descriptor, or `-errno`.
pub fn status_flags(fd: i32) -> i64 {
    // SAFETY: F_GETFL takes no pointer.
    unsafe { syscall2(libc::SYS_fcntl, fd as u64, libc::F_GETFL as u64) }
}

/// Sets the status flags of a descriptor that is open to what [`status_flags`] gave, with
/// others set or cleared.
pub fn set_status_flags(fd: i32, flags: i64) {
    // SAFETY: F_SETFL takes no pointer.
    unsafe {
        syscall3(
            libc::SYS_fcntl,
            fd as u64,
            libc::F_SETFL as u64,
            flags as u64,
        )
    };
}

/// The S_IFMT bits of a descriptor's mode; zero if it is not open.
pub fn file_type(fd: i32) -> u32 {
    file(fd).map_or(0, |file| file.kind)
}

/// What the kernel says of a descriptor's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct File {
    /// The S_IFMT bits of its mode.
    pub kind: u32,
    /// A number that tells it from others, as far as that is known of its inode: not zero.
    pub identity: u64,
    /// Whether the kernel may make its contents, as in proc(5): it has no size, and is on no
    /// device.
    pub may_be_made_up: bool,
}

/// What the kernel says of a descriptor's file. `None` if it is not open.
pub fn file(fd: i32) -> Option<File> {
    /// Spreads the bits of a word (2^64 divided by the golden ratio).
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    let stat = stat(fd)?;
    let kind = stat.st_mode & libc::S_IFMT;
    let both = stat.st_ino ^ (stat.st_dev ^ u64::from(kind) << 32).wrapping_mul(SPREAD);
    let sized = stat.st_size != 0 || libc::major(stat.st_dev) != 0;
    Some(File {
        kind,
        identity: both | 1 << 63,
        may_be_made_up: !sized && matches!(kind, libc::S_IFREG | libc::S_IFDIR),
    })
}

/// Whether a character device is one that nobody ever waits for: /dev/null, /dev/zero,
/// /dev/full or /dev/urandom (null(4), full(4), random(4)).
pub fn is_bottomless(fd: i32) -> bool {
    /// MEM_MAJOR (linux/major.h), and the minor numbers of drivers/char/mem.c.
    const MAJOR: u32 = 1;
    const MINORS: [u32; 4] = [3, 5, 7, 9];
    stat(fd).is_some_and(|stat| {
        libc::major(stat.st_rdev) == MAJOR && MINORS.contains(&libc::minor(stat.st_rdev))
    })
}

fn stat(fd: i32) -> Option<libc::stat> {
    let mut stat = core::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the kernel fills `stat`, whose layout is its own on this target.
    let ret = unsafe { syscall2(libc::SYS_fstat, fd as u64, stat.as_mut_ptr() as u64) };
    // SAFETY: fstat succeeded.
    (ret == 0).then(|| unsafe { stat.assume_init() })
}

/// Reads a socket option of the socket's own level; as it was if there is none.
fn read_option<T: Copy>(fd: i32, name: i32, mut value: T) -> T {
    let mut len = size_of::<T>() as u32;
    // SAFETY: the kernel writes at most `len` bytes to `value`, whose type is used for
    // options that are made of ints.
    unsafe {
        syscall(
            libc::SYS_getsockopt as u64,
            [
                fd as u64,
                libc::SOL_SOCKET as u64,
                name as u64,
                &raw mut value as u64,
                &raw mut len as u64,
                0,
            ],
        )
    };
    value
}

/// An option of a socket's own level that is an int; zero if it has none.
pub fn socket_option(fd: i32, name: i32) -> i32 {
    read_option(fd, name, 0)
}

/// Seconds that the close of a socket waits (SO_LINGER); zero if it does not.
pub fn linger(fd: i32) -> i32 {
    let [on, seconds] = read_option(fd, libc::SO_LINGER, [0i32; 2]);
    if on != 0 { seconds } else { 0 }
}

/// Whether a descriptor is a terminal.
pub fn is_terminal(fd: i32) -> bool {
    let mut settings = core::mem::MaybeUninit::<libc::termios2>::uninit();
    let to = settings.as_mut_ptr() as u64;
    // SAFETY: the kernel writes one termios2.
    unsafe { syscall3(libc::SYS_ioctl, fd as u64, libc::TCGETS2, to) == 0 }
}

/// True if the program made the description non-blocking. The flag lives in the
/// description, which other processes may share: it is asked for, not cached.
pub fn is_nonblocking(fd: i32) -> bool {
    let flags = status_flags(fd);
    flags >= 0 && flags & libc::O_NONBLOCK as i64 != 0
}

/// Whether a result may mean that the kernel, or a filter of system calls, does not let us make
/// a call: one that we made in place of the program's own then gives way to that.
pub const fn is_refused(ret: i64) -> bool {
    ret == err(libc::EPERM) || ret == err(libc::ENOSYS) || ret == err(libc::EACCES)
}

/// What poll(2) or select(2) found without waiting: nothing also where they say that they
/// were interrupted. The kernel does so if any signal is pending, and that may be one of ours.
pub fn found(ret: i64) -> i64 {
    if ret == err(libc::EINTR) { 0 } else { ret }
}

/// poll(2) of one descriptor without waiting: its events, 0 if none, `-errno`.
pub fn poll_now(fd: i32, events: i16) -> i64 {
    let mut p = libc::pollfd {
        fd,
        events,
        revents: 0,
    };
    // SAFETY: one pollfd of ours.
    let n = found(unsafe { syscall3(libc::SYS_poll, &raw mut p as u64, 1, 0) });
    if n <= 0 { n } else { p.revents as i64 }
}

/// Anonymous private memory that costs nothing until it is touched, or `None`.
pub fn reserve(len: usize) -> Option<*mut u8> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let args = [
        0,
        len as u64,
        libc::PROT_NONE as u64,
        flags as u64,
        u64::MAX,
        0,
    ];
    // SAFETY: a new mapping at an address of the kernel's choice.
    let p = unsafe { syscall(libc::SYS_mmap as u64, args) };
    if (-4095..0).contains(&p) {
        return None;
    }
    let (at, len) = (p as u64, len as u64);
    let access = (libc::PROT_READ | libc::PROT_WRITE) as u64;
    // Accessible from the first, it would be there as a whole where new memory is locked
    // (MCL_FUTURE).
    // SAFETY: our own new mapping.
    unsafe {
        syscall2(libc::SYS_munlock, at, len);
        if syscall3(libc::SYS_mprotect, at, len, access) != 0 {
            syscall2(libc::SYS_munmap, at, len);
            return None;
        }
    }
    Some(p as *mut u8)
}

/// The kernel's release, as far as its second number. `None`: it does not say.
pub fn kernel() -> Option<(u32, u32)> {
    // SAFETY: all of its fields may be zero.
    let mut name: libc::utsname = unsafe { core::mem::zeroed() };
    // SAFETY: the kernel writes into the structure alone.
    if unsafe { syscall1(libc::SYS_uname, &raw mut name as u64) } != 0 {
        return None;
    }
    release(&name.release.map(|byte| byte as u8))
}

/// The first two numbers of a text such as "6.1.0-13-amd64".
fn release(text: &[u8]) -> Option<(u32, u32)> {
    let mut numbers = text.split(|byte| !byte.is_ascii_digit()).map(|digits| {
        let digits = str::from_utf8(digits).ok()?;
        digits.parse().ok()
    });
    Some((numbers.next()??, numbers.next()??))
}

/// The lower one of the process's limits of memory (RLIMIT_AS, RLIMIT_DATA), in bytes.
pub fn memory_limit() -> u64 {
    soft_limit(libc::RLIMIT_AS).min(soft_limit(libc::RLIMIT_DATA))
}

/// A limit of getrlimit(2) as it is in force; `u64::MAX` for none.
pub fn soft_limit(resource: libc::__rlimit_resource_t) -> u64 {
    let mut limit = [u64::MAX; 2];
    // SAFETY: the kernel writes two words, or none.
    unsafe {
        syscall2(
            libc::SYS_getrlimit,
            resource as u64,
            limit.as_mut_ptr() as u64,
        )
    };
    limit[0]
}

/// The hard RLIMIT_NOFILE: how many descriptors the process may ever have.
pub fn most_descriptors() -> u64 {
    let mut limit = [u64::MAX; 2];
    let at = limit.as_mut_ptr() as u64;
    // SAFETY: the kernel writes two words, or none.
    unsafe { syscall2(libc::SYS_getrlimit, libc::RLIMIT_NOFILE as u64, at) };
    limit[1]
}

/// Whether eight bytes can be read there.
pub fn is_readable(address: u64) -> bool {
    const NO_SUCH_HOW: u64 = !0;
    // SAFETY: the kernel copies the mask, and then refuses what is to be done with it.
    unsafe { syscall4(libc::SYS_rt_sigprocmask, NO_SUCH_HOW, address, 0, 8) == err(libc::EINVAL) }
}

/// Whether the process may map that many bytes more (RLIMIT_AS, overcommit). Our heap ends
/// the process where it may not, so this is asked first.
pub fn has_room(len: usize) -> bool {
    let Some(at) = reserve(len) else {
        return false;
    };
    // SAFETY: our own new mapping.
    unsafe { syscall2(libc::SYS_munmap, at as u64, len as u64) };
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read_as_numbers() {
        assert_eq!(release(b"6.1.0-13-amd64\0"), Some((6, 1)));
        assert_eq!(release(b"4.15.0-20-generic"), Some((4, 15)));
        assert_eq!(release(b"7.0\0\0"), Some((7, 0)));
        assert_eq!(release(b"7"), None);
        assert_eq!(release(b"linux"), None);
        assert_eq!(release(b""), None);
    }

    #[test]
    fn this_kernel_has_a_release() {
        assert!(kernel().is_some_and(|release| release >= (3, 2)));
    }
}
