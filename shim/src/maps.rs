//! Which files are mapped where: the process's own `/proc/self/maps`.
//!
//! The dynamic linker's list would need its lock, which the caller of `dlopen`
//! holds while its object is mapped; the kernel's list needs none. Where that cannot be read, the
//! linker's is asked when the lock is free (`loader_maps`).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::kernel;
use crate::loader_maps;

/// One line of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// Address after the last one.
    pub end: u64,
    /// `PROT_READ`.
    pub read: bool,
    /// `PROT_WRITE`.
    pub write: bool,
    /// `PROT_EXEC`.
    pub exec: bool,
    /// Where in the file it begins, in bytes.
    pub offset: u64,
    /// Device and inode of the file; `(0, 0)` if there is none.
    pub file: (u64, u64),
    /// The file's path as the kernel knows it, or a name such as `[heap]`.
    pub path: PathBuf,
}

/// What an object is to the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// libc.so.6: everything or nothing is patched.
    Libc,
    /// The dynamic linker, and the libraries that belong to libc and share its
    /// baseline code generation.
    LibcFamily,
    /// Any other file with code.
    Other,
}

/// A file that is mapped as an ELF object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// The file.
    pub path: PathBuf,
    /// See [`Kind`].
    pub kind: Kind,
    /// Its mappings in ascending order; the first one begins with the header.
    pub mappings: Vec<Mapping>,
}

impl Object {
    /// Whether one of its mappings contains `addr`.
    pub fn contains(&self, addr: u64) -> bool {
        self.mappings
            .iter()
            .any(|m| (m.start..m.end).contains(&addr))
    }
}

/// Reads the list of this process.
///
/// # Errors
/// That of opening or reading the file.
pub fn read() -> Result<Vec<Mapping>, Errno> {
    Ok(parse(&read_file(Path::new("/proc/self/maps"))?))
}

/// Mappings of this process.
#[derive(Debug, Clone)]
pub struct Listed {
    /// In ascending order.
    pub mappings: Vec<Mapping>,
    /// All of them; else loaded objects and the stack.
    pub whole: bool,
}

/// The list of this process as far as it can be had, also where the kernel's cannot be read. For
/// the constructor and the program's first thread: it takes the dynamic linker's lock.
///
/// # Errors
/// That of the kernel's list, if the dynamic linker's does not do.
pub fn known() -> Result<Listed, Errno> {
    let kernels = read().and_then(|list| match list.is_empty() {
        // Something else is mounted there.
        true => Err(Errno::NOENT),
        false => Ok(list),
    });
    let whole = kernels.is_ok();
    let mappings = kernels.or_else(|error| loader_maps::read().ok_or(error))?;
    Ok(Listed { mappings, whole })
}

/// Reads a whole file through raw system calls.
///
/// # Errors
/// That of opening or reading the file.
pub fn read_file(path: &Path) -> Result<Vec<u8>, Errno> {
    let fd = kernel::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let (mut bytes, mut len) = (vec![0; 64 << 10], 0);
    loop {
        if bytes.len() - len < 16 << 10 {
            bytes.resize(2 * bytes.len(), 0);
        }
        match kernel::read(&fd, &mut bytes[len..]) {
            Ok(0) => {
                bytes.truncate(len);
                return Ok(bytes);
            }
            Ok(read) => len += read,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Reads the text of a `maps` file. Lines of another form are left out.
pub fn parse(text: &[u8]) -> Vec<Mapping> {
    text.split(|&b| b == b'\n').filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<Mapping> {
    let mut rest = line;
    let mut field = || {
        let from = rest.iter().position(|&b| b != b' ')?;
        let len = rest[from..]
            .iter()
            .position(|&b| b == b' ')
            .unwrap_or(rest.len() - from);
        let (word, tail) = rest[from..].split_at(len);
        rest = tail;
        std::str::from_utf8(word).ok()
    };
    let hex = |s: &str| u64::from_str_radix(s, 16).ok();
    let (start, end) = field()?.split_once('-')?;
    let perms = field()?.as_bytes();
    let offset = hex(field()?)?;
    let (major, minor) = field()?.split_once(':')?;
    let inode = field()?.parse().ok()?;
    // The path is the rest of the line; it may contain spaces.
    let path = rest.trim_ascii_start();
    if perms.len() < 4 {
        return None;
    }
    let (start, end) = (hex(start)?, hex(end)?);
    (start < end).then_some(Mapping {
        start,
        end,
        read: perms[0] == b'r',
        write: perms[1] == b'w',
        exec: perms[2] == b'x',
        offset,
        file: (hex(major)? << 32 | hex(minor)?, inode),
        path: PathBuf::from(OsStr::from_bytes(path)),
    })
}

/// Groups the mappings of files into objects that have code. A file that is
/// loaded twice (`dlmopen`) gives two objects.
pub fn objects(mappings: &[Mapping]) -> Vec<Object> {
    let mut objects: Vec<Object> = Vec::new();
    for mapping in mappings.iter().filter(|m| m.file.1 != 0) {
        if mapping.offset == 0 {
            objects.push(Object {
                path: mapping.path.clone(),
                kind: kind(&mapping.path),
                mappings: vec![mapping.clone()],
            });
        } else if let Some(object) = objects
            .iter_mut()
            .rev()
            .find(|o| o.mappings[0].file == mapping.file)
        {
            object.mappings.push(mapping.clone());
        }
    }
    objects.retain(|o| o.mappings.iter().any(|m| m.exec));
    objects
}

/// By the file's name, current (`libc.so.6`) or of before 2.34 (`libc-2.31.so`).
/// What an object is to the engine, by its path.
pub fn kind(path: &Path) -> Kind {
    let Some(name) = path.file_name().and_then(OsStr::to_str) else {
        return Kind::Other;
    };
    let is = |stem: &str| {
        name.strip_prefix(stem)
            .is_some_and(|rest| rest.starts_with(".so") || rest.starts_with("-2."))
    };
    if is("libc") {
        Kind::Libc
    } else if ["ld", "libpthread", "librt", "libresolv", "libanl"]
        .into_iter()
        .any(is)
        || name.starts_with("ld-linux")
    {
        Kind::LibcFamily
    } else {
        Kind::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &[u8] =
        b"7f0000000000-7f0000026000 r--p 00000000 fe:01 42                         /usr/lib/libc.so.6
7f0000026000-7f000017c000 r-xp 00026000 fe:01 42                         /usr/lib/libc.so.6
7f000017c000-7f00001cf000 r--p 0017c000 fe:01 42                         /usr/lib/libc.so.6
7f0000200000-7f0000201000 rw-p 00000000 00:00 0
7f0000300000-7f0000301000 r--p 00000000 fe:01 43                         /tmp/a b.so (deleted)
7f0000301000-7f0000302000 r-xp 00001000 fe:01 43                         /tmp/a b.so (deleted)
7f0000400000-7f0000401000 r--p 00000000 fe:01 44                         /etc/locale
7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0                          [stack]
";

    #[test]
    fn lists_objects_with_code() {
        let mappings = parse(TEXT);
        assert_eq!(mappings.len(), 8);
        assert_eq!(mappings[7].path, Path::new("[stack]"));
        let objects = objects(&mappings);
        assert_eq!(objects.len(), 2);
        assert_eq!(objects[0].kind, Kind::Libc);
        assert_eq!(objects[0].mappings.len(), 3);
        assert!(objects[0].contains(0x7f0000026000));
        assert_eq!(objects[1].path, Path::new("/tmp/a b.so (deleted)"));
        assert_eq!(objects[1].kind, Kind::Other);
    }

    #[test]
    fn a_file_loaded_twice_is_two_objects() {
        let text = b"1000-2000 r-xp 00000000 fe:01 42 /l.so
2000-3000 r--p 00001000 fe:01 42 /l.so
5000-6000 r-xp 00000000 fe:01 42 /l.so
";
        let objects = objects(&parse(text));
        assert_eq!(objects.len(), 2);
        assert_eq!(objects[0].mappings.len(), 2);
    }

    #[test]
    fn knows_the_family_by_name() {
        for (name, want) in [
            ("libc.so.6", Kind::Libc),
            ("libc-2.31.so", Kind::Libc),
            ("libcap.so.2", Kind::Other),
            ("libc-client.so.2007e", Kind::Other),
            ("ld-linux-x86-64.so.2", Kind::LibcFamily),
            ("ld-2.31.so", Kind::LibcFamily),
            ("libpthread-2.31.so", Kind::LibcFamily),
            ("libresolv.so.2", Kind::LibcFamily),
            ("python3", Kind::Other),
        ] {
            assert_eq!(kind(&Path::new("/lib").join(name)), want, "{name}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in proptest::collection::vec(any::<u8>(), 0..400)) {
            objects(&parse(&text));
        }
    }
}
