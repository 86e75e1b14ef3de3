//! The file of a program that is about to be started.
//!
//! Whoever asks may be a guest, or a child of vfork on its parent's memory and a small stack:
//! nothing here allocates, and a script's line is read to memory of its own. Without a free descriptor, or where a filter of system calls denies reading,
//! nothing is known. A child of vfork has a limit of descriptors of its own, so the limit is not
//! raised for this.
#![allow(unsafe_code)]

use core::ffi::CStr;
use core::mem::MaybeUninit;

use crate::arch::{syscall, syscall4};
use crate::exec_memory::ExecMemory;
use crate::executable::{self, Source, Why};
use crate::frame::Frame;
use crate::raw;

/// The working directory, for a call.
const HERE: u64 = libc::AT_FDCWD as i64 as u64;

/// Interpreters of interpreters that are followed: more than the kernel does.
const MOST_SCRIPTS: u32 = 6;

/// Bytes of a script's first line that the kernel looks at (BINPRM_BUF_SIZE).
const LINE: usize = 256;

/// Why nothing is loaded beside a program, or beside the interpreter of a script.
/// `None` as well if that can't be told.
pub fn why_not(directory: u64, path: u64) -> Option<Why> {
    let file = Open::at(directory, path)?.behind_scripts()?;
    executable::why_not(&file).or_else(|| file.why_distrusted())
}

/// Why the dynamic linker distrusts the environment of the program at `path` (secure
/// execution). `None` as well if that can't be told.
pub fn why_distrusted(path: &CStr) -> Option<Why> {
    Open::at(HERE, path.as_ptr() as u64)?.why_distrusted()
}

/// Whether the program that the call in `frame`, execve(2) or execveat(2), starts is known to be
/// for another processor or of another class, or a script's interpreter is.
pub fn is_foreign(frame: &Frame) -> bool {
    let file = match frame.rax as i64 {
        libc::SYS_execve => Open::at(HERE, frame.rdi),
        libc::SYS_execveat => Open::at(frame.rdi, frame.rsi).or_else(|| {
            let is_descriptor = frame.r8 & libc::AT_EMPTY_PATH as u64 != 0;
            is_descriptor
                .then(|| Open::again(frame.rdi as i32))
                .flatten()
        }),
        _ => None,
    };
    file.and_then(Open::behind_scripts)
        .is_some_and(|file| executable::is_foreign(&file))
}

/// An open file.
struct Open {
    fd: i32,
    /// It is closed at the end.
    is_ours: bool,
}

impl Open {
    fn at(directory: u64, path: u64) -> Option<Open> {
        let flags = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY;
        // SAFETY: the kernel reads a path, or finds the address bad.
        let fd = unsafe { syscall4(libc::SYS_openat, directory, path, flags as u64, 0) };
        (fd >= 0).then_some(Open {
            fd: fd as i32,
            is_ours: true,
        })
    }

    /// The file of a descriptor, which may be one that nothing can be read from (O_PATH).
    #[cold]
    #[inline(never)]
    fn again(fd: i32) -> Option<Open> {
        let is_ours = false;
        let file = Open { fd, is_ours };
        if file.bytes::<2>(0).is_some() {
            return Some(file);
        }
        let (mut path, start) = (*b"/proc/self/fd/\0\0\0\0\0\0\0\0\0\0\0", 14);
        let mut rest = u32::try_from(fd).ok()?;
        let digits = rest.checked_ilog10().unwrap_or(0) as usize + 1;
        for place in path[start..start + digits].iter_mut().rev() {
            *place = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        Open::at(HERE, path.as_ptr() as u64)
    }

    /// The file itself, or the interpreter that the kernel starts for a script.
    fn behind_scripts(mut self) -> Option<Open> {
        for _ in 0..MOST_SCRIPTS {
            if self.bytes::<2>(0)? != *b"#!" {
                return Some(self);
            }
            self = self.interpreter()?;
        }
        None
    }

    /// The interpreter in a script's first line.
    #[cold]
    #[inline(never)]
    fn interpreter(&self) -> Option<Open> {
        let mut memory = ExecMemory::new(LINE + 1)?;
        let line = memory.bytes();
        // A script may be shorter.
        for (at, byte) in line.iter_mut().enumerate().take(LINE - 2) {
            match self.bytes::<1>(2 + at as u64) {
                Some([b'\n']) | None => break,
                Some([read]) => *byte = read,
            }
        }
        let start = line.iter().position(|byte| !b" \t".contains(byte))?;
        let len = line[start..]
            .iter()
            .position(|byte| b" \t\0".contains(byte))?;
        line[start + len] = 0;
        Open::at(HERE, line[start..].as_ptr() as u64)
    }

    /// Why the dynamic linker distrusts the environment of a program made from the file (secure
    /// execution).
    fn why_distrusted(&self) -> Option<Why> {
        let fd = self.fd as u64;
        let mut stat = MaybeUninit::<libc::stat>::zeroed();
        // SAFETY: our own structure, of which all zero is a value; the other two have no
        // arguments.
        let (stat, uid, gid) = unsafe {
            let a = [fd, stat.as_mut_ptr() as u64, 0, 0, 0, 0];
            if syscall(libc::SYS_fstat as u64, a) != 0 {
                return None;
            }
            (
                stat.assume_init(),
                syscall(libc::SYS_getuid as u64, [0; 6]) as u32,
                syscall(libc::SYS_getgid as u64, [0; 6]) as u32,
            )
        };
        if stat.st_mode & libc::S_ISUID != 0 && stat.st_uid != uid
            || stat.st_mode & libc::S_ISGID != 0 && stat.st_gid != gid
        {
            return Some(Why::OtherUser);
        }
        let name = c"security.capability".as_ptr() as u64;
        // SAFETY: a C string, and no buffer: the size alone is asked for.
        let size = unsafe { syscall(libc::SYS_fgetxattr as u64, [fd, name, 0, 0, 0, 0]) };
        // Root has every capability already.
        (size > 0 && uid != 0).then_some(Why::Capabilities)
    }
}

impl Source for Open {
    #[inline(always)] // the caller's stack may be small
    fn fill(&self, at: u64, into: &mut [u8]) -> bool {
        // SAFETY: our own buffer.
        let got = unsafe {
            let (to, len) = (into.as_mut_ptr() as u64, into.len() as u64);
            syscall4(libc::SYS_pread64, self.fd as u64, to, len, at)
        };
        got == into.len() as i64
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.is_ours {
            raw::close(self.fd);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::OpenOptionsExt;

    #[test]
    fn what_is_loaded_by_the_dynamic_linker_is_fine() {
        let why = |path: &CStr| why_not(HERE, path.as_ptr() as u64);
        assert_eq!(why(c"/bin/sh"), None);
        assert_eq!(why(c"/nonexistent"), None);
        assert_eq!(why(c"/"), None);
        assert_eq!(why(c"/etc/passwd"), None);
    }

    fn call(nr: i64, a: [u64; 5]) -> Frame {
        // SAFETY: a structure of numbers and addresses, which may be zero.
        let mut frame: Frame = unsafe { core::mem::zeroed() };
        frame.rax = nr as u64;
        [frame.rdi, frame.rsi, frame.rdx, frame.r10, frame.r8] = a;
        frame
    }

    /// Writes a file, and says whether it is foreign, by each way to name it.
    fn foreign(directory: &std::path::Path, name: &str, bytes: &[u8]) -> bool {
        let path = directory.join(name);
        std::fs::write(&path, bytes).unwrap();
        let text = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        let at = text.as_ptr() as u64;
        let by_path = is_foreign(&call(libc::SYS_execve, [at, 0, 0, 0, 0]));
        let mut options = std::fs::OpenOptions::new();
        for flags in [0, libc::O_PATH] {
            let file = options.read(true).custom_flags(flags).open(&path).unwrap();
            let (fd, empty) = (file.as_raw_fd() as u64, c"".as_ptr() as u64);
            let a = [fd, empty, 0, 0, libc::AT_EMPTY_PATH as u64];
            assert_eq!(is_foreign(&call(libc::SYS_execveat, a)), by_path, "{name}");
            let a = [fd, at, 0, 0, 0];
            assert_eq!(is_foreign(&call(libc::SYS_execveat, a)), by_path, "{name}");
        }
        by_path
    }

    #[test]
    fn programs_of_other_kinds_are_foreign() {
        let id = std::process::id();
        let directory = std::env::temp_dir().join(format!("gevent-shim-program-file-{id}"));
        std::fs::create_dir_all(&directory).unwrap();
        let path = |name: &str| directory.join(name).display().to_string();
        let is = |name: &str, bytes: &[u8]| foreign(&directory, name, bytes);
        let own = std::fs::read("/proc/self/exe").unwrap();
        assert!(!is("own", &own[..4096]));
        assert!(!is("text", b"text"));
        assert!(!is("short", b"\x7fELF\x01"));
        let mut small = own[..64].to_vec();
        small[4] = 1;
        assert!(is("small", &small));
        let mut other = own[..64].to_vec();
        other[18] = 0xb7;
        assert!(is("other", &other));
        let script = |name: &str| format!("#! {} -x\nrest", path(name));
        assert!(is("script", script("small").as_bytes()));
        assert!(is("nested", script("script").as_bytes()));
        assert!(!is("plain", script("own").as_bytes()));
        assert!(!is("endless", script("endless").as_bytes()));
        assert!(!is("absent", script("nowhere").as_bytes()));
        let line = format!("#!{}", path("small"));
        assert!(is("no_newline", line.as_bytes()));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
