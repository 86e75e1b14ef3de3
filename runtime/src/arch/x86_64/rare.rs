//! Registers that few programs use, and that each guest has for itself all the same: PKRU
//! ([`keys`]) and the base of GS.
//!
//! The kernel keeps them for a kernel thread. A guest's are taken off the CPU when it leaves and
//! put back when it goes on, from when the program is known to use them ([`begin`],
//! [`makes_a_key`], [`sets_gs`]). Before, every context has the same, and a switch looks at one
//! byte.
//!
//! Not here: the tiles of AMX, which by the System V ABI no call keeps, and which a guest that
//! is interrupted has in the kernel's signal frame; the shadow stack, which a coroutine can't
//! have ([`has_shadow_stack`]).
#![allow(unsafe_code)]

use core::arch::asm;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use super::syscall::syscall2;
use super::{context, keys};

/// Which of them are kept: bits of [`KEYS`] and [`GS`].
///
/// # Synchronization
/// Bits are set where the calls of all guests are under one lock, after [`COMMON_RIGHTS`] and
/// [`COMMON_GS`]; never cleared.
static KEPT: AtomicU8 = AtomicU8::new(0);

const KEYS: u8 = 1;
const GS: u8 = 2;

/// What every context had before they were kept.
static COMMON_RIGHTS: AtomicU32 = AtomicU32::new(keys::FIRST);
static COMMON_GS: AtomicU64 = AtomicU64::new(0);

/// `arch_prctl(2)`: sets and gets the base of GS.
pub const ARCH_SET_GS: u64 = 0x1001;
const ARCH_GET_GS: u64 = 0x1004;

/// Those of a context that does not run; what was not kept yet is `None`.
#[derive(Debug, Clone, Copy)]
pub struct Rare {
    rights: Option<u32>,
    gs: Option<u64>,
}

impl Rare {
    /// What every context had before any was kept.
    pub const COMMON: Rare = Rare {
        rights: None,
        gs: None,
    };

    /// Those of the running context.
    #[inline(always)]
    pub fn current() -> Rare {
        match KEPT.load(Ordering::Relaxed) {
            0 => Rare::COMMON,
            kept => Rare::read(kept),
        }
    }

    #[cold]
    fn read(kept: u8) -> Rare {
        Rare {
            rights: (kept & KEYS != 0).then(keys::read),
            gs: (kept & GS != 0).then(gs_base),
        }
    }

    /// Gives them to the running context, a guest's.
    #[inline(always)]
    pub fn restore(&self) {
        let kept = KEPT.load(Ordering::Relaxed);
        if kept != 0 {
            self.write(kept);
        }
    }

    #[cold]
    fn write(&self, kept: u8) {
        if kept & KEYS != 0 {
            let common = || COMMON_RIGHTS.load(Ordering::Relaxed);
            keys::set(self.rights.unwrap_or_else(common));
        }
        if kept & GS != 0 {
            let base = self.gs.unwrap_or_else(|| COMMON_GS.load(Ordering::Relaxed));
            set_gs_base(base);
        }
    }
}

/// Whether PKRU is kept: the kernel has the caller's rights only while the caller runs.
#[inline(always)]
pub fn has_keys() -> bool {
    KEPT.load(Ordering::Relaxed) & KEYS != 0
}

/// Gives the running context, one of ours, access to all memory.
#[inline(always)]
pub fn open_all() {
    if has_keys() {
        keys::set(0);
    }
}

/// Looks at what the program uses already; before there is a guest. `may_ask`: whether there is
/// no filter that a system call might offend.
pub fn begin(may_ask: bool) {
    if keys::exist() && !has_keys() && keys::are_made(may_ask) {
        keep_keys();
    }
    if gs_base() != 0 {
        keep_gs();
    }
}

/// A guest is about to ask for a protection key.
pub fn makes_a_key() {
    if keys::exist() && !has_keys() {
        keep_keys();
    }
}

/// A guest is about to set the base of its GS.
pub fn sets_gs() {
    if KEPT.load(Ordering::Relaxed) & GS == 0 {
        keep_gs();
    }
}

fn keep_keys() {
    COMMON_RIGHTS.store(keys::read(), Ordering::Relaxed);
    KEPT.fetch_or(KEYS, Ordering::Release);
}

fn keep_gs() {
    COMMON_GS.store(gs_base(), Ordering::Relaxed);
    KEPT.fetch_or(GS, Ordering::Release);
}

fn gs_base() -> u64 {
    let mut base = 0u64;
    if context::has_fsgsbase() {
        // SAFETY: the kernel allows the instruction when AT_HWCAP2 says so.
        unsafe { asm!("rdgsbase {}", out(reg) base, options(nomem, nostack, preserves_flags)) };
    } else {
        // SAFETY: ARCH_GET_GS writes one word to the given address.
        unsafe { syscall2(libc::SYS_arch_prctl, ARCH_GET_GS, &raw mut base as u64) };
    }
    base
}

fn set_gs_base(base: u64) {
    // SAFETY: as in `gs_base`; nothing of ours is reached by GS.
    unsafe {
        if context::has_fsgsbase() {
            asm!("wrgsbase {}", in(reg) base, options(nostack, preserves_flags));
        } else {
            syscall2(libc::SYS_arch_prctl, ARCH_SET_GS, base);
        }
    }
}

/// Whether the running thread has a shadow stack: it returns only to where it was called from,
/// in the order of the calls.
pub fn has_shadow_stack() -> bool {
    let pointer: u64;
    // SAFETY: reads the pointer of the shadow stack; does nothing on a CPU or in a thread
    // without one.
    unsafe {
        asm!("rdsspq {}", inlateout(reg) 0u64 => pointer, options(nomem, nostack, preserves_flags));
    }
    pointer != 0
}
