//! Objects that the dynamic linker has loaded, and their symbols: what `dlsym` finds, found
//! without it.
//!
//! A name that another library interposes has two addresses: the program's, which is the
//! first in load order, and libc's own. The library's own calls need the second, and on
//! glibc before 2.34 `dlsym` itself is in a library that a program need not have.
//!
//! The objects are told by `dl_iterate_phdr(3)`, which takes the loader's lock: for start-up and
//! for the program's own code. In host mode and guest mode a guest may hold it.
#![allow(unsafe_code)]

use core::ffi::{CStr, c_int, c_void};
use core::mem::transmute;
use core::ops::Range;
use core::ptr;
use core::slice;

use libc::{Elf64_Phdr, dl_phdr_info};

mod file;
pub mod symbols;

use file::File;
use symbols::{Image, Symbols, dynamic_of};

/// An object that is loaded.
#[derive(Debug, Clone, Copy)]
pub struct Object<'a> {
    bias: u64,
    headers: &'a [Elf64_Phdr],
    /// Its path; empty for the program.
    pub path: &'a CStr,
    /// How many objects are loaded at this time, in all namespaces (dlmopen(3)).
    pub among: u64,
}

/// A loaded part of an object, as its program header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// What of it the file has, in whole pages.
    pub pages: Range<u64>,
    /// Where the first page is in the file.
    pub offset: u64,
    /// PF_R, PF_W and PF_X.
    pub flags: u32,
}

impl<'a> Object<'a> {
    fn image(&self) -> Image<'a> {
        let bias = self.bias;
        let loads = self
            .headers
            .iter()
            .filter(|header| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_R != 0);
        Image::new(loads.map(move |header| {
            let at = ptr::with_exposed_provenance(bias.wrapping_add(header.p_vaddr) as usize);
            // SAFETY: the loader maps what the header of a loaded object says, readable, and
            // the object stays loaded: the contract of `each`.
            let bytes = unsafe { slice::from_raw_parts(at, header.p_memsz as usize) };
            (header.p_vaddr, bytes)
        }))
    }

    /// Its parts.
    pub fn segments(&self) -> impl Iterator<Item = Segment> + '_ {
        const PAGE: u64 = 4096;
        let loads = self.headers.iter().filter(|h| h.p_type == libc::PT_LOAD);
        loads.map(|header| {
            let start = self.bias.wrapping_add(header.p_vaddr);
            let end = start.wrapping_add(header.p_filesz);
            Segment {
                pages: start & !(PAGE - 1)..end.next_multiple_of(PAGE),
                offset: header.p_offset & !(PAGE - 1),
                flags: header.p_flags,
            }
        })
    }

    /// Its dynamic symbols, if it has any.
    pub fn symbols(&self) -> Option<LoadedSymbols<'a>> {
        let symbols = Symbols::new(self.image(), dynamic_of(self.headers)?, self.bias)?;
        Some(LoadedSymbols {
            bias: self.bias,
            symbols,
        })
    }

    /// Where a symbol is that only its file has, if that is still the file that was loaded.
    pub fn find_in_file(&self, name: &CStr) -> Option<*mut c_void> {
        let file = File::open(self.path)?;
        let mut notes = self
            .headers
            .iter()
            .filter(|header| header.p_type == libc::PT_NOTE);
        let same = notes.all(|header| {
            let (offset, len) = (header.p_offset as usize, header.p_filesz as usize);
            let there = offset
                .checked_add(len)
                .and_then(|end| file.bytes().get(offset..end));
            there.is_some() && there == self.image().bytes(header.p_vaddr, len)
        });
        let address = file::find(file.bytes(), name.to_bytes()).filter(|_| same)?;
        let at = self.bias.wrapping_add(address);
        self.contains(at)
            .then(|| ptr::with_exposed_provenance_mut(at as usize))
    }

    /// Whether the address is in one of its segments.
    pub fn contains(&self, address: u64) -> bool {
        self.headers.iter().any(|header| {
            header.p_type == libc::PT_LOAD
                && address.wrapping_sub(self.bias.wrapping_add(header.p_vaddr)) < header.p_memsz
        })
    }
}

/// The symbols of an object where it is loaded.
#[derive(Debug, Clone, Copy)]
pub struct LoadedSymbols<'a> {
    bias: u64,
    symbols: Symbols<'a>,
}

impl LoadedSymbols<'_> {
    /// The name under which other objects need it.
    pub fn soname(&self) -> Option<&[u8]> {
        self.symbols.soname()
    }

    /// Where a symbol is.
    pub fn find(&self, name: &CStr) -> Option<*mut c_void> {
        let symbol = self.symbols.find(name.to_bytes())?;
        let at = self.bias.wrapping_add(symbol.address) as usize;
        let at = ptr::with_exposed_provenance_mut::<c_void>(at);
        if !symbol.indirect {
            return Some(at);
        }
        // SAFETY: the object is relocated, and its own tables say that this is a function
        // which takes nothing and returns an address.
        let at = unsafe { transmute::<*mut c_void, extern "C" fn() -> *mut c_void>(at)() };
        (!at.is_null()).then_some(at)
    }
}

/// Calls `f` with each object in the order in which they were loaded, the program first,
/// until it returns something. None of them is unloaded meanwhile.
pub fn each<R>(f: impl FnMut(&Object<'_>) -> Option<R>) -> Option<R> {
    struct Search<F, R> {
        f: F,
        found: Option<R>,
    }
    unsafe extern "C" fn look<R, F: FnMut(&Object<'_>) -> Option<R>>(
        info: *mut dl_phdr_info,
        _size: usize,
        search: *mut c_void,
    ) -> c_int {
        // SAFETY: what `each` passes; the loader describes an object that is loaded.
        let (search, object) = unsafe {
            let info = &*info;
            let headers: &[Elf64_Phdr] = if info.dlpi_phdr.is_null() {
                &[]
            } else {
                slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into())
            };
            let path = if info.dlpi_name.is_null() {
                c""
            } else {
                CStr::from_ptr(info.dlpi_name)
            };
            let object = Object {
                bias: info.dlpi_addr,
                headers,
                path,
                among: info.dlpi_adds.wrapping_sub(info.dlpi_subs),
            };
            (&mut *search.cast::<Search<F, R>>(), object)
        };
        search.found = (search.f)(&object);
        c_int::from(search.found.is_some())
    }
    fn callback<R, F: FnMut(&Object<'_>) -> Option<R>>(
        _: &Search<F, R>,
    ) -> unsafe extern "C" fn(*mut dl_phdr_info, usize, *mut c_void) -> c_int {
        look::<R, F>
    }
    let mut search = Search { f, found: None };
    let callback = callback(&search);
    // SAFETY: the callback gets what it takes, and does not unwind.
    unsafe { libc::dl_iterate_phdr(Some(callback), (&raw mut search).cast()) };
    search.found
}

/// Where a name is in the first object that defines it: what the program gets.
pub fn find_first(name: &CStr) -> Option<*mut c_void> {
    each(|object| object.symbols()?.find(name))
}

/// Where a name is in the first object that defines it after the one that holds `own`, or
/// else before it.
pub fn find_next(own: u64, name: &CStr) -> Option<*mut c_void> {
    let mut before = None;
    let mut passed = false;
    let after = each(|object| {
        if object.contains(own) {
            passed = true;
            return None;
        }
        let find = || object.symbols()?.find(name);
        if passed {
            return find();
        }
        before = before.or_else(find);
        None
    });
    after.or(before)
}

/// The objects of the libc that this process uses: with threads and the loader's interface
/// apart where it has them so (glibc before 2.34).
#[derive(Debug, Clone, Copy, Default)]
pub struct Libc {
    objects: [Option<LoadedSymbols<'static>>; 3],
}

impl Libc {
    /// Their names, in the order in which a symbol is looked for: before 2.34, libc.so.6
    /// has some of the functions of threads too, which do nothing of their own.
    const NAMES: [&'static [u8]; 3] = [b"libpthread.so.0", b"libc.so.6", b"libdl.so.2"];

    /// Those that are loaded now. `None` where the process has another libc than glibc.
    pub fn loaded() -> Option<Self> {
        let mut libc = Libc::default();
        each(|object| {
            let symbols = object.symbols()?;
            let soname = symbols.soname()?;
            let which = Self::NAMES.iter().position(|name| *name == soname)?;
            if libc.objects[which].is_none() {
                // SAFETY: the loader never unloads libc's objects, on which others depend;
                // only the lifetime changes.
                let symbols =
                    unsafe { transmute::<LoadedSymbols<'_>, LoadedSymbols<'static>>(symbols) };
                libc.objects[which] = Some(symbols);
            }
            None::<()>
        });
        libc.objects[1]?.find(c"gnu_get_libc_version")?;
        Some(libc)
    }

    /// Where a symbol of libc's own is.
    pub fn find(&self, name: &CStr) -> Option<*mut c_void> {
        self.objects
            .iter()
            .flatten()
            .find_map(|object| object.find(name))
    }
}

/// Where a symbol is that libpthread keeps for debuggers, where it is an object of its own.
pub fn find_in_libpthread(name: &CStr) -> Option<*mut c_void> {
    each(|object| {
        let soname = object.symbols()?.symbols.soname()?;
        (soname == b"libpthread.so.0").then(|| object.find_in_file(name))?
    })
}

/// Where a symbol of libc's own is, whoever interposes it.
pub fn find_in_libc(name: &CStr) -> Option<*mut c_void> {
    Libc::loaded()?.find(name)
}
