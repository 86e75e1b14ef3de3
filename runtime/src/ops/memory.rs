//! mmap, mprotect, munmap: thread stacks, shared memory, new code.
#![allow(unsafe_code)]

use core::cell::{Cell, UnsafeCell};

use super::{Call, Outcome};
use crate::arch;
use crate::heir;
use crate::offload;

/// Ranges that are mapped shared, for futexes that other processes may wake.
///
/// # Synchronization
/// Written on the hub's kernel thread; a foreign thread's futex call may read an
/// old state, and then takes a word that was mapped shared a moment ago for a
/// private one.
struct Shared {
    ranges: UnsafeCell<[(usize, usize); 64]>,
    count: Cell<usize>,
    overflow: Cell<bool>,
}

// SAFETY: see Synchronization.
unsafe impl Sync for Shared {}

static SHARED: Shared = Shared {
    ranges: UnsafeCell::new([(0, 0); 64]),
    count: Cell::new(0),
    overflow: Cell::new(false),
};

/// Remembers that a range is mapped shared. Ranges are never forgotten: a private
/// word taken for a shared one is only slower.
pub fn note_shared(start: usize, end: usize) {
    let n = SHARED.count.get();
    // SAFETY: one writer.
    let ranges = unsafe { &mut *SHARED.ranges.get() };
    if ranges[..n].iter().any(|&(s, e)| s <= start && end <= e) {
        return;
    }
    match ranges.get_mut(n) {
        Some(slot) => {
            *slot = (start, end);
            SHARED.count.set(n + 1);
        }
        None => SHARED.overflow.set(true),
    }
}

/// Start-up: notes what is mapped shared already.
pub fn note_present_mappings() {
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else {
        // Not readable: every futex may be another process's.
        SHARED.overflow.set(true);
        return;
    };
    for line in maps.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(range), Some(access)) = (words.next(), words.next()) else {
            continue;
        };
        if access.ends_with('s')
            && let Some((start, end)) = range.split_once('-')
            && let (Ok(start), Ok(end)) = (
                usize::from_str_radix(start, 16),
                usize::from_str_radix(end, 16),
            )
        {
            note_shared(start, end);
            if access.contains('w') {
                heir::memory_is_shared();
            }
        }
    }
}

/// Whether a word may be in memory that another process maps too.
pub fn is_shared(address: usize) -> bool {
    // SAFETY: see Synchronization.
    let ranges = unsafe { &*SHARED.ranges.get() };
    SHARED.overflow.get()
        || ranges[..SHARED.count.get()]
            .iter()
            .any(|&(s, e)| s <= address && address < e)
}

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
}

impl Mapped {
    /// Of a call with these arguments.
    pub fn of([_, len, prot, flags, ..]: [u64; 6]) -> Self {
        Mapped {
            len: len as usize,
            writable: prot & libc::PROT_WRITE as u64 != 0,
            shared: flags & libc::MAP_TYPE as u64 != libc::MAP_PRIVATE as u64,
            code: prot & libc::PROT_EXEC as u64 != 0 && flags & libc::MAP_ANONYMOUS as u64 == 0,
        }
    }

    /// It was made, and is at `addr`.
    pub fn note(&self, addr: usize) {
        if self.shared {
            note_shared(addr, addr + self.len);
            if self.writable {
                heir::memory_is_shared();
            }
        }
    }
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
    let reads = flags & (libc::MAP_POPULATE | libc::MAP_LOCKED) as u64 != 0;
    if !maps.shared && !maps.code && !reads {
        return Outcome::Native;
    }
    let addr = if reads {
        offload::run(c.guest, libc::SYS_mmap, c.a)
    } else {
        // SAFETY: the guest's own call, unchanged.
        unsafe { arch::syscall(c.frame.rax, c.a) }
    };
    if !(-4095..0).contains(&addr) {
        maps.note(addr as usize);
        if maps.code {
            offload::patch(c.guest, addr as usize, len as usize);
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
    if !(-4095..0).contains(&addr) {
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
    note_shared(addr, addr + size.max(4096));
    heir::memory_is_shared();
}

/// mprotect(2).
///
/// # Safety
/// As [`mmap`].
pub unsafe fn mprotect(c: &mut Call<'_>) -> Outcome {
    match c
        .hub
        .stacks
        .protect(c.a[0] as usize, c.a[1] as usize, c.a[2] as i32)
    {
        Some(ret) => Outcome::Done(ret),
        None => Outcome::Native,
    }
}

/// munmap(2).
///
/// # Safety
/// As [`mmap`].
pub unsafe fn munmap(c: &mut Call<'_>) -> Outcome {
    match c.hub.stacks.unmap(c.a[0] as usize, c.a[1] as usize) {
        Some(ret) => Outcome::Done(ret),
        None => Outcome::Native,
    }
}
