//! Symbols that only an object's file has, in `.symtab`: before glibc 2.34, libpthread keeps there
//! what it publishes for debuggers.
#![allow(unsafe_code)]

use core::ffi::CStr;
use core::slice;

use libc::Elf64_Sym;

use crate::arch::{self, syscall2, syscall3};
use crate::private;
use crate::raw;

/// Size of a section header, and of a symbol.
const HEADER: usize = 64;
const SYMBOL: usize = size_of::<Elf64_Sym>();

/// A file that is mapped.
pub struct File {
    at: u64,
    len: usize,
}

impl File {
    /// Maps the file to be read.
    pub fn open(path: &CStr) -> Option<Self> {
        let _room = private::room();
        // SAFETY: a string that ends; the mapping is one of its own.
        unsafe {
            let flags = (libc::O_RDONLY | libc::O_CLOEXEC) as u64;
            let fd = syscall3(libc::SYS_open, path.as_ptr() as u64, flags, 0);
            if fd < 0 {
                return None;
            }
            let len = syscall3(libc::SYS_lseek, fd as u64, 0, libc::SEEK_END as u64);
            let (read, private) = (libc::PROT_READ as u64, libc::MAP_PRIVATE as u64);
            let how = [0, len as u64, read, private, fd as u64, 0];
            let at = arch::syscall(libc::SYS_mmap as u64, how);
            raw::close(fd as i32);
            (len > 0 && at > 0).then_some(File {
                at: at as u64,
                len: len as usize,
            })
        }
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: mapped until this is dropped. Packages replace libc's files and do not write
        // into them.
        unsafe { slice::from_raw_parts(self.at as *const u8, self.len) }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: what `open` mapped.
        unsafe { syscall2(libc::SYS_munmap, self.at, self.len as u64) };
    }
}

/// The address that a symbol which an ELF file defines was linked to. Pure; nothing that the
/// file says is trusted.
pub fn find(file: &[u8], name: &[u8]) -> Option<u64> {
    const ELF64_LITTLE_ENDIAN: &[u8] = b"\x7fELF\x02\x01";
    const SHT_SYMTAB: u32 = 2;
    if !file.starts_with(ELF64_LITTLE_ENDIAN) || u16_at(file, 58)? as usize != HEADER {
        return None;
    }
    let headers = usize::try_from(u64_at(file, 40)?).ok()?;
    let count = usize::from(u16_at(file, 60)?);
    let section = |index: usize| {
        let header = file
            .get(headers.checked_add(index * HEADER)?..)?
            .get(..HEADER)?;
        let start = usize::try_from(u64_at(header, 24)?).ok()?;
        let len = usize::try_from(u64_at(header, 32)?).ok()?;
        let bytes = file.get(start..start.checked_add(len)?)?;
        Some((u32_at(header, 4)?, u32_at(header, 40)?, bytes))
    };
    (0..count).find_map(|index| {
        let (kind, link, symbols) = section(index)?;
        if kind != SHT_SYMTAB {
            return None;
        }
        let (_, _, names) = section(link as usize)?;
        symbols.chunks_exact(SYMBOL).find_map(|symbol| {
            let is_defined = u16_at(symbol, 6)? != 0;
            let rest = names.get(u32_at(symbol, 0)? as usize..)?;
            let same = rest.strip_prefix(name)?.first() == Some(&0);
            (is_defined && same).then(|| u64_at(symbol, 8))?
        })
    })
}

fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes_at(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes_at(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes_at(bytes, at).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The test's own file, which is not stripped.
    fn own() -> Vec<u8> {
        std::fs::read("/proc/self/exe").unwrap()
    }

    #[test]
    fn a_symbol_of_an_executable_is_found() {
        let file = own();
        assert!(find(&file, b"main").is_some_and(|address| address != 0));
        assert_eq!(find(&file, b"no such symbol"), None);
        assert_eq!(find(&file[..4096], b"main"), None);
    }

    #[test]
    fn a_file_is_mapped_as_it_is() {
        let file = File::open(c"/proc/self/exe").unwrap();
        assert!(file.bytes() == own());
        assert!(File::open(c"/nonexistent").is_none());
    }

    proptest! {
        #[test]
        fn no_file_makes_it_panic(
            mut bytes in prop::collection::vec(any::<u8>(), 0..600),
            offset in 0u64..600,
            count in any::<u16>(),
        ) {
            if bytes.len() >= 64 {
                bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
                bytes[40..48].copy_from_slice(&offset.to_le_bytes());
                bytes[58..60].copy_from_slice(&64u16.to_le_bytes());
                bytes[60..62].copy_from_slice(&count.to_le_bytes());
            }
            find(&bytes, b"main");
        }
    }
}
