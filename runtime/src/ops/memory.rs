//! mmap, mprotect, munmap, mremap, shmat, shmdt: thread stacks, shared memory, new code.
#![allow(unsafe_code)]

use core::ops::Range;

use super::{Call, Outcome};
use crate::arch;
use crate::heir;
use crate::offload;
use crate::raw::err;
use crate::reactor::fds::{self, Doubt};
use crate::sharing;
use crate::wanted::ExecMapping;

const MAP_STACK_PRIVATE: u64 = (libc::MAP_STACK | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
const MAP_NORESERVE: u64 = libc::MAP_NORESERVE as u64;

/// What of a call of mmap(2) is to be known once it is made.
pub struct Mapped {
    len: usize,
    writable: bool,
    /// Other processes may have the memory too.
    pub shared: bool,
    /// It may be an object's code.
    pub code: bool,
    /// It may hold code that the program makes.
    pub made_code: bool,
}

impl Mapped {
    /// Of a call with these arguments.
    pub fn of([_, len, prot, flags, ..]: [u64; 6]) -> Self {
        Mapped {
            len: len as usize,
            writable: prot & libc::PROT_WRITE as u64 != 0,
            shared: flags & libc::MAP_TYPE as u64 != libc::MAP_PRIVATE as u64,
            code: prot & libc::PROT_EXEC as u64 != 0 && flags & libc::MAP_ANONYMOUS as u64 == 0,
            made_code: prot & libc::PROT_EXEC as u64 != 0
                && flags & libc::MAP_ANONYMOUS as u64 != 0,
        }
    }

    /// Whether [`note`](Self::note) has something to do once the memory is at `addr`.
    pub fn concerns(&self, addr: usize) -> bool {
        self.shared || sharing::concerns(range(addr, self.len))
    }

    /// It was made, and is at `addr`.
    pub fn note(&self, addr: usize) {
        let range = range(addr, self.len);
        if !self.shared {
            sharing::unmapped(range);
            return;
        }
        sharing::mapped(range);
        if self.writable {
            heir::memory_is_shared();
        }
    }
}

/// The pages that `len` bytes from `addr` on are in.
fn range(addr: usize, len: usize) -> Range<usize> {
    addr..addr
        .saturating_add(len)
        .checked_next_multiple_of(PAGE)
        .unwrap_or(usize::MAX)
}

const PAGE: usize = 4096;

/// Whether a call that returns an address failed.
fn failed(ret: i64) -> bool {
    (-4095..0).contains(&ret)
}

/// Makes a call of the program's that takes address space, which it gets of the free stacks if
/// the kernel has no more: bare they would not be there.
fn make_room(c: &Call<'_>) -> i64 {
    // SAFETY: the guest's own call, unchanged, which had no effect if it failed so.
    let call = || unsafe { arch::syscall(c.frame.rax, c.a) };
    let ret = call();
    if ret == err(libc::ENOMEM) && c.hub.stacks.release() {
        return call();
    }
    ret
}

/// The same, or leaves the call to the kernel if no stacks are free.
fn with_room(c: &Call<'_>) -> Outcome {
    if !c.hub.stacks.has_free() {
        return Outcome::Native;
    }
    Outcome::Done(make_room(c))
}

/// mmap(2).
///
/// # Safety
/// Operations are called by dispatch with a guest's present call.
pub unsafe fn mmap(c: &mut Call<'_>) -> Outcome {
    let [hint, len, prot, flags, ..] = c.a;
    if hint == 0
        && flags & !MAP_NORESERVE == MAP_STACK_PRIVATE
        && let Some(addr) = c.hub.stacks.map(len as usize, prot as i32)
    {
        return Outcome::Done(addr as i64);
    }
    let maps = Mapped::of(c.a);
    if maps.made_code {
        fds::doubt(Doubt::Possible);
    }
    let reads = flags & (libc::MAP_POPULATE | libc::MAP_LOCKED) as u64 != 0;
    if !maps.shared && !maps.code && !reads && !sharing::any() {
        return with_room(c);
    }
    let addr = if reads {
        offload::run(c.guest, libc::SYS_mmap, c.a)
    } else {
        make_room(c)
    };
    if !failed(addr) {
        maps.note(addr as usize);
        if maps.code {
            offload::patch(c.guest, ExecMapping::of(c.a, addr as usize));
        }
    }
    Outcome::Done(addr)
}

/// shmat(2): System V memory is shared.
///
/// # Safety
/// As [`mmap`].
pub unsafe fn shmat(c: &mut Call<'_>) -> Outcome {
    // SAFETY: the guest's own call, unchanged.
    let addr = unsafe { arch::syscall(c.frame.rax, c.a) };
    if !failed(addr) {
        note_segment(c.a[0], addr as usize);
    }
    Outcome::Done(addr)
}

/// The segment with this identifier was attached at `addr`.
pub fn note_segment(id: u64, addr: usize) {
    let mut info = core::mem::MaybeUninit::<libc::shmid_ds>::zeroed();
    // SAFETY: the kernel fills `info`; zero is a valid value of it.
    let size = unsafe {
        arch::syscall3(
            libc::SYS_shmctl,
            id,
            libc::IPC_STAT as u64,
            info.as_mut_ptr() as u64,
        );
        info.assume_init().shm_segsz
    };
    let pages = range(addr, size.max(1));
    sharing::attached(pages.start, pages.len());
    heir::memory_is_shared();
}

/// shmdt(2).
///
/// # Safety
/// As [`mmap`].
pub unsafe fn shmdt(c: &mut Call<'_>) -> Outcome {
    sharing::detaching(c.a[0] as usize);
    Outcome::Native
}

/// mremap(2).
///
/// # Safety
/// As [`mmap`].
pub unsafe fn mremap(c: &mut Call<'_>) -> Outcome {
    let moved = Moved::of(c.a);
    if !moved.concerns() {
        return Outcome::Native;
    }
    moved.begin();
    // SAFETY: the guest's own call, unchanged.
    let ret = unsafe { arch::syscall(c.frame.rax, c.a) };
    moved.end(ret);
    Outcome::Done(ret)
}

/// What a call of mremap(2) does to what is known of the memory.
#[derive(Debug)]
pub struct Moved {
    old: Range<usize>,
    /// Where the caller wants it, if it says so.
    to: Option<Range<usize>>,
    len: usize,
    shared: bool,
    /// The old place stays mapped.
    stays: bool,
}

impl Moved {
    /// Of a call with these arguments.
    pub fn of([addr, old_len, len, flags, to, _]: [u64; 6]) -> Self {
        let flags = flags as i32;
        let to = (flags & libc::MREMAP_FIXED != 0).then(|| range(to as usize, len as usize));
        Moved {
            old: range(addr as usize, old_len as usize),
            to,
            len: len as usize,
            shared: sharing::is_known(addr as usize),
            stays: old_len == 0 || flags & libc::MREMAP_DONTUNMAP != 0,
        }
    }

    /// Whether anything that is known changes.
    pub fn concerns(&self) -> bool {
        self.shared
            || sharing::concerns(self.old.clone())
            || self.to.clone().is_some_and(sharing::concerns)
    }

    /// The call is about to be made.
    pub fn begin(&self) {
        if !self.stays {
            sharing::unmapped(self.old.clone());
        }
        if let Some(to) = self.to.clone() {
            sharing::unmapped(to);
        }
    }

    /// It was made, with this result.
    pub fn end(&self, ret: i64) {
        if failed(ret) {
            // What of it is still mapped is not known.
            sharing::lost();
        } else if self.shared {
            sharing::mapped(range(ret as usize, self.len));
        }
    }
}

/// mprotect(2).
///
/// # Safety
/// As [`mmap`].
pub unsafe fn mprotect(c: &mut Call<'_>) -> Outcome {
    if c.a[2] & libc::PROT_EXEC as u64 != 0 {
        // Code that the program makes, whose calls are no sites.
        fds::doubt(Doubt::Possible);
    }
    match c
        .hub
        .stacks
        .protect(c.a[0] as usize, c.a[1] as usize, c.a[2] as i32)
    {
        Some(ret) => Outcome::Done(ret),
        None => with_room(c),
    }
}

/// munmap(2).
///
/// # Safety
/// As [`mmap`].
pub unsafe fn munmap(c: &mut Call<'_>) -> Outcome {
    let (addr, len) = (c.a[0] as usize, c.a[1] as usize);
    if let Some(ret) = c.hub.stacks.unmap(addr, len) {
        return Outcome::Done(ret);
    }
    if !sharing::concerns(range(addr, len)) {
        return Outcome::Native;
    }
    begin_unmap(addr, len);
    // SAFETY: the guest's own call, unchanged.
    let ret = unsafe { arch::syscall(c.frame.rax, c.a) };
    end_unmap(ret);
    Outcome::Done(ret)
}

/// The kernel is about to be asked to unmap what is known of.
pub fn begin_unmap(addr: usize, len: usize) {
    if addr.is_multiple_of(PAGE) {
        sharing::unmapped(range(addr, len));
    }
}

/// It was asked, with this result.
pub fn end_unmap(ret: i64) {
    if failed(ret) {
        sharing::lost();
    }
}

/// Whether unmapping `len` bytes at `addr` concerns what is known.
pub fn concerns(addr: usize, len: usize) -> bool {
    sharing::concerns(range(addr, len))
}
