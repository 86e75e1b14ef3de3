//! The program that was started: what it is called, what it is checked by, and what it hands to
//! its children.
#![allow(unsafe_code)]

use std::ffi::{CStr, OsStr, OsString, c_char};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use gevent_runtime::executable::{Source, has_note_of_go};
use gevent_runtime::objects;

/// The file names the program goes by: of the executable, and of the script that it runs,
/// if it was started as one.
pub fn file_names() -> Vec<OsString> {
    let executable = std::env::current_exe().ok();
    // SAFETY: getauxval has no preconditions; the kernel gives the address of a string that
    // stays where it is.
    let started = unsafe {
        let at = libc::getauxval(libc::AT_EXECFN) as *const c_char;
        (!at.is_null()).then(|| CStr::from_ptr(at))
    };
    let started = started.map(|name| Path::new(OsStr::from_bytes(name.to_bytes())).to_owned());
    let paths = executable.into_iter().chain(started);
    paths
        .filter_map(|path| Some(path.file_name()?.to_owned()))
        .collect()
}

/// The executable's image, as its program headers describe it.
#[derive(Debug)]
pub struct Executable {
    headers: &'static [libc::Elf64_Phdr],
    /// What is added to link-time addresses.
    bias: u64,
}

impl Executable {
    /// `None`: the kernel does not say where its headers are, or they don't.
    pub fn get() -> Option<Executable> {
        // SAFETY: getauxval has no preconditions; the kernel gives the address and number
        // of the executable's program headers, which stay mapped.
        let headers = unsafe {
            let first = libc::getauxval(libc::AT_PHDR) as *const libc::Elf64_Phdr;
            if first.is_null() {
                return None;
            }
            std::slice::from_raw_parts(first, libc::getauxval(libc::AT_PHNUM) as usize)
        };
        // Where the headers say they are tells where the executable was put.
        let own = headers.iter().find(|h| h.p_type == libc::PT_PHDR)?;
        let bias = (headers.as_ptr() as u64).wrapping_sub(own.p_vaddr);
        Some(Executable { headers, bias })
    }

    /// Whether `len` bytes at an address are a part of one of its segments.
    pub fn holds(&self, at: u64, len: u64) -> bool {
        self.segments(|h| h.p_memsz).any(|s| covers(&s, at, len))
    }

    /// The addresses of what is loaded, with the size that `size` gives.
    fn segments(
        &self,
        size: impl Fn(&libc::Elf64_Phdr) -> u64,
    ) -> impl Iterator<Item = Range<u64>> {
        let loaded = self.headers.iter().filter(|h| h.p_type == libc::PT_LOAD);
        loaded.map(move |h| {
            let start = self.bias.wrapping_add(h.p_vaddr);
            start..start.saturating_add(size(h))
        })
    }
}

fn covers(range: &Range<u64>, at: u64, len: u64) -> bool {
    range.start <= at && at.checked_add(len).is_some_and(|end| end <= range.end)
}

impl Source for Executable {
    fn fill(&self, at: u64, into: &mut [u8]) -> bool {
        let mut segments = self.segments(|h| match h.p_flags & libc::PF_R {
            0 => 0,
            _ => h.p_filesz,
        });
        let is_there = segments.any(|s| covers(&s, at, into.len() as u64));
        if is_there {
            let from = std::ptr::with_exposed_provenance::<u8>(at as usize);
            // SAFETY: the file's part of a readable segment, which the kernel mapped and
            // the dynamic linker has read.
            unsafe { from.copy_to_nonoverlapping(into.as_mut_ptr(), into.len()) };
        }
        is_there
    }
}

/// What the executable is, if it is nothing that can be served although it was loaded
/// beside this library.
pub fn kind_not_served() -> Option<&'static str> {
    let executable = Executable::get()?;
    let is_go = executable
        .headers
        .iter()
        .filter(|h| h.p_type == libc::PT_NOTE)
        .any(|h| {
            let at = executable.bias.wrapping_add(h.p_vaddr);
            has_note_of_go(&executable, at, h.p_filesz)
        });
    is_go.then_some("the program is a Go program, whose runtime makes its system calls itself")
}

/// Functions of the run-time libraries that keep a record of each thread of their own, with
/// its stack and what it did. They make threads in a way of their own, and take the change
/// from one guest to another for one thread's doing.
const CHECKERS: [(&CStr, &str); 4] = [
    (c"__asan_init", "the program is checked by AddressSanitizer"),
    (
        c"__hwasan_init",
        "the program is checked by HWAddressSanitizer",
    ),
    (c"__msan_init", "the program is checked by MemorySanitizer"),
    (c"__tsan_init", "the program is checked by ThreadSanitizer"),
];

/// What Valgrind preloads into what it runs.
const VALGRIND: &str = "vgpreload_";

/// What watches the program's threads so closely that they must be the kernel's.
pub fn checked_by() -> Option<&'static str> {
    let preloaded = std::env::var_os("LD_PRELOAD").unwrap_or_default();
    if preloaded.to_string_lossy().contains(VALGRIND) {
        return Some("the program runs in Valgrind");
    }
    let found = CHECKERS
        .iter()
        .find(|(function, _)| objects::find_first(function).is_some());
    found.map(|(_, reason)| *reason)
}

unsafe extern "C" {
    /// environ(7).
    static mut environ: *mut *mut c_char;
}

const PRELOAD: &[u8] = b"LD_PRELOAD=";

/// Takes this library out of the `LD_PRELOAD` that programs started from here are given.
/// It is done in the environment itself, before the program has seen it, and so counts
/// however a program is started.
pub fn leave_children_alone() {
    let Some(own) = own_name() else {
        return;
    };
    // SAFETY: the constructor runs before the program and on its only thread; the array
    // and its strings are those that the kernel made for this process to use.
    unsafe {
        let mut entry = environ;
        while !entry.is_null() && !(*entry).is_null() {
            let text = CStr::from_ptr(*entry).to_bytes();
            let kept = text.strip_prefix(PRELOAD).map(|list| without(list, &own));
            match kept {
                Some(kept) if kept.is_empty() => {
                    let mut at = entry;
                    while !(*at).is_null() {
                        *at = *at.add(1);
                        at = at.add(1);
                    }
                }
                Some(kept) => {
                    // Never longer than what was there.
                    let to = (*entry).add(PRELOAD.len()).cast::<u8>();
                    to.copy_from_nonoverlapping(kept.as_ptr(), kept.len());
                    to.add(kept.len()).write(0);
                    entry = entry.add(1);
                }
                None => entry = entry.add(1),
            }
        }
    }
}

/// The file name of this library.
pub fn own_name() -> Option<OsString> {
    let mut info = std::mem::MaybeUninit::<libc::Dl_info>::uninit();
    // SAFETY: an address of our own, and room for the answer, which is read if there is
    // one; the loader's string stays as long as the library.
    let path = unsafe {
        if libc::dladdr(own_name as *const libc::c_void, info.as_mut_ptr()) == 0 {
            return None;
        }
        CStr::from_ptr(info.assume_init().dli_fname)
    };
    let path = Path::new(OsStr::from_bytes(path.to_bytes()));
    path.file_name().map(OsStr::to_owned)
}

/// A preload list (ld.so(8)) without the objects of a file name.
fn without(list: &[u8], own: &OsStr) -> Vec<u8> {
    let is_own = |object: &&[u8]| Path::new(OsStr::from_bytes(object)).file_name() == Some(own);
    let objects = list.split(|byte| matches!(byte, b':' | b' '));
    let kept: Vec<_> = objects
        .filter(|object| !object.is_empty() && !is_own(object))
        .collect();
    kept.join(&b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_library_is_taken_out() {
        let own = OsStr::new("libgevent_shim.so");
        for (list, kept) in [
            ("/x/libgevent_shim.so", ""),
            ("libgevent_shim.so", ""),
            ("a.so:/x/libgevent_shim.so", "a.so"),
            ("/x/libgevent_shim.so b.so", "b.so"),
            ("a.so:/x/libgevent_shim.so:b.so", "a.so:b.so"),
            ("a.so b.so", "a.so:b.so"),
            ("", ""),
        ] {
            assert_eq!(without(list.as_bytes(), own), kept.as_bytes(), "{list}");
        }
    }

    #[test]
    fn a_program_goes_by_its_executables_name() {
        let executable = std::env::current_exe().unwrap();
        assert_eq!(file_names()[0], executable.file_name().unwrap());
    }
}
