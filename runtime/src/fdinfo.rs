//! What the kernel tells of a descriptor of this process (proc_pid_fdinfo(5)).
#![allow(unsafe_code)]

use crate::arch::{syscall2, syscall3};
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
        let _room = private::room();
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
        // SAFETY: a path and a buffer of ours.
        let n = unsafe {
            let flags = (libc::O_RDONLY | libc::O_CLOEXEC) as u64;
            let file = syscall2(libc::SYS_open, path.as_ptr() as u64, flags);
            if file < 0 {
                return None;
            }
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
