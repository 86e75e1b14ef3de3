//! What is mapped as far as the dynamic linker knows, where there is no `/proc` to read: the parts
//! of the objects that it has loaded, and the initial thread's stack.
//!
//! It takes the loader's lock: for the constructor, and for the program's first thread, which has
//! the lock itself or finds it free.
#![allow(unsafe_code)]

use std::ffi::{CStr, OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use gevent_runtime::arch;
use gevent_runtime::objects;
use libc::{PF_R, PF_W, PF_X};

use crate::maps::Mapping;
use crate::patch::PAGE;

/// Bytes of a stack that are looked at.
const STACK_MAX: u64 = 64 << 20;

/// The list, ascending. `None` if something is left out that may hold calls, or the calling
/// thread is on another stack, the end of which cannot be told: objects of another namespace
/// (dlmopen(3)) are counted by the loader, but not told of.
pub fn read() -> Option<Vec<Mapping>> {
    let mut mappings = Vec::new();
    let (mut told, mut loaded) = (0, 0);
    objects::each(|object| {
        (told, loaded) = (told + 1, object.among);
        let path = match object.path {
            name if name.is_empty() => started_as().unwrap_or_default(),
            name => path_of(name),
        };
        let segments = object.segments().filter(|part| !part.pages.is_empty());
        mappings.extend(segments.map(|part| Mapping {
            start: part.pages.start,
            end: part.pages.end,
            read: part.flags & PF_R != 0,
            write: part.flags & PF_W != 0,
            exec: part.flags & PF_X != 0,
            offset: part.offset,
            // The kernel's own object has no file.
            file: (
                0,
                if is_kernels(part.pages.start) {
                    0
                } else {
                    told
                },
            ),
            path: path.clone(),
        }));
        None::<()>
    });
    if told == 0 || told != loaded {
        return None;
    }
    mappings.push(stack()?);
    mappings.sort_by_key(|mapping| mapping.start);
    Some(mappings)
}

fn path_of(name: &CStr) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(name.to_bytes()))
}

/// The name by which the program was started.
fn started_as() -> Option<PathBuf> {
    // SAFETY: getauxval has no preconditions; the kernel gives the address of a string that stays
    // where it is.
    unsafe {
        let at = libc::getauxval(libc::AT_EXECFN) as *const c_char;
        (!at.is_null()).then(|| path_of(CStr::from_ptr(at)))
    }
}

fn is_kernels(start: u64) -> bool {
    // SAFETY: getauxval has no preconditions.
    start == unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) }
}

/// The initial thread's stack from here to the kernel's strings at its top, if this is it: there
/// are no unmapped pages between.
fn stack() -> Option<Mapping> {
    let here = std::hint::black_box(0u64);
    // SAFETY: getauxval has no preconditions.
    let top = unsafe { libc::getauxval(libc::AT_EXECFN) };
    let (start, end) = (
        &raw const here as u64 & !(PAGE - 1),
        (top & !(PAGE - 1)) + PAGE,
    );
    let len = end.checked_sub(start).filter(|&len| len <= STACK_MAX)?;
    let mut pages = vec![0u8; (len / PAGE) as usize];
    // SAFETY: a byte for each page.
    let there =
        unsafe { arch::syscall3(libc::SYS_mincore, start, len, pages.as_mut_ptr() as u64) == 0 };
    there.then(|| Mapping {
        start,
        end,
        read: true,
        write: true,
        exec: false,
        offset: 0,
        file: (0, 0),
        path: PathBuf::from("[stack]"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maps;

    #[test]
    fn objects_are_those_of_the_kernels_list() {
        // The end of the stack of another thread is not found.
        assert!(std::thread::spawn(read).join().unwrap().is_none());
        let listed = maps::objects(&maps::read().unwrap());
        let mut found = 0;
        objects::each(|object| {
            let first = object.segments().next()?.pages.start;
            if !is_kernels(first) {
                let same = listed
                    .iter()
                    .find(|o| o.mappings[0].start == first)
                    .unwrap();
                let texts = object.segments().filter(|part| part.flags & PF_X != 0);
                for text in texts {
                    let is_text =
                        |m: &Mapping| (m.start..m.end) == text.pages && m.offset == text.offset;
                    assert!(same.mappings.iter().any(is_text), "{text:?}");
                }
                found += 1;
            }
            None::<()>
        });
        assert_eq!(found, listed.len());
    }
}
