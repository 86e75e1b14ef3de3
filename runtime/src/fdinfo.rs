//! What the kernel tells of this process (proc_pid_status(5)) and of a descriptor of it
//! (proc_pid_fdinfo(5)).
#![allow(unsafe_code)]

use crate::arch::{syscall2, syscall3, syscall4};
use crate::private;
use crate::raw;

/// Bytes that are read of it.
const MAX: usize = 512;

/// The text.
pub struct FdInfo {
    text: [u8; MAX],
    len: usize,
}

impl FdInfo {
    /// Reads it; `None` if there is none, or no descriptor to read it with.
    pub fn of(fd: i32) -> Option<Self> {
        let mut path = *b"/proc/self/fdinfo/\0\0\0\0\0\0\0\0\0\0\0";
        let prefix = b"/proc/self/fdinfo/".len();
        let mut digits = 1;
        while digits < 10 && fd as u64 >= 10u64.pow(digits) {
            digits += 1;
        }
        for at in 0..digits {
            path[prefix + at as usize] = b'0' + (fd as u64 / 10u64.pow(digits - 1 - at) % 10) as u8;
        }
        let mut text = [0u8; MAX];
        let flags = (libc::O_RDONLY | libc::O_CLOEXEC) as u64;
        // SAFETY: a path of ours.
        let file = private::open_briefly(|| unsafe {
            syscall2(libc::SYS_open, path.as_ptr() as u64, flags)
        });
        if file < 0 {
            return None;
        }
        // SAFETY: a buffer of ours.
        let n = unsafe {
            let to = text.as_mut_ptr() as u64;
            let n = syscall3(libc::SYS_read, file as u64, to, MAX as u64);
            raw::close(file as i32);
            n
        };
        let len = usize::try_from(n).ok()?;
        Some(FdInfo { text, len })
    }

    /// The number that follows `name`.
    pub fn field(&self, name: &[u8], base: u32) -> Option<u64> {
        field(&self.text[..self.len], name, base)
    }
}

/// The number that follows `name`, a line's beginning with the line's end before it, in what the
/// kernel tells of the process. `None` too without a descriptor to read it with.
pub fn of_process(name: &[u8]) -> Option<u64> {
    /// What follows a name.
    const DIGITS: usize = 21;
    let _room = private::room();
    let path = c"/proc/self/status";
    // SAFETY: a path of ours.
    let file = unsafe {
        let flags = (libc::O_RDONLY | libc::O_CLOEXEC) as u64;
        syscall2(libc::SYS_open, path.as_ptr() as u64, flags)
    };
    if file < 0 {
        return None;
    }
    let overlap = name.len() + DIGITS;
    let mut text = [0u8; MAX];
    let mut from = 0;
    let found = loop {
        let to = text.as_mut_ptr() as u64;
        // SAFETY: a buffer of ours.
        let n = unsafe { syscall4(libc::SYS_pread64, file as u64, to, MAX as u64, from as u64) };
        let Some(read) = usize::try_from(n).ok().and_then(|n| text.get(..n)) else {
            break None;
        };
        let whole = |at: usize| at + overlap <= read.len() || read.len() < MAX;
        let at = read.windows(name.len()).position(|part| part == name);
        if at.is_some_and(whole) || read.len() <= overlap {
            break at.and_then(|_| field(read, name, 10));
        }
        from += read.len() - overlap;
    };
    raw::close(file as i32);
    found
}

fn field(text: &[u8], name: &[u8], base: u32) -> Option<u64> {
    let at = text.windows(name.len()).position(|part| part == name)?;
    let digits = text[at + name.len()..]
        .iter()
        .map_while(|&byte| (byte as char).to_digit(base));
    Some(digits.fold(0, |number, digit| number * base as u64 + digit as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn numbers_are_found_by_their_names() {
        let text = b"pos:\t0\nCqMask:\t0x1f\nCqHead:\t4\nCqTail:\t4294967295\n";
        assert_eq!(field(text, b"\nCqMask:\t0x", 16), Some(31));
        assert_eq!(field(text, b"\nCqHead:\t", 10), Some(4));
        assert_eq!(field(text, b"\nCqTail:\t", 10), Some(u32::MAX as u64));
        assert_eq!(field(text, b"\nSqTail:\t", 10), None);
    }

    #[test]
    fn lines_of_the_process_are_found() {
        let text = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.parse().ok())
        };
        assert_eq!(of_process(b"\nFDSize:\t"), line("FDSize:\t"));
        assert_eq!(of_process(b"\nSeccomp:\t"), line("Seccomp:\t"));
        assert!(of_process(b"\nSigQ:\t").is_some());
        assert_eq!(of_process(b"\nno such line"), None);
    }

    #[test]
    fn fields_are_read() {
        let file = std::fs::File::open("/proc/self/status").unwrap();
        let info = FdInfo::of(file.as_raw_fd()).unwrap();
        assert_eq!(info.field(b"pos:\t", 10), Some(0));
        let flags = info.field(b"\nflags:\t", 8).unwrap();
        assert_eq!(flags as i32 & libc::O_ACCMODE, libc::O_RDONLY);
        assert_eq!(info.field(b"no field", 10), None);
        assert!(FdInfo::of(1_234_567_890).is_none());
    }
}
