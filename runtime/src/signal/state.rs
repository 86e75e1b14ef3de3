//! What a guest has of its own.

use core::cell::Cell;
use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering};

use super::queue::Queue;
use super::route;
use crate::guest::Guest;

/// The kernel's `stack_t`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StackT {
    /// Lowest address.
    pub sp: u64,
    /// SS_* flags.
    pub flags: i32,
    /// Not used.
    pub pad: u32,
    /// Bytes.
    pub size: u64,
}

/// SS_AUTODISARM of sigaltstack(2).
pub const SS_AUTODISARM: i32 = 1 << 31;

/// An alternate signal stack. All zero: none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AltStack {
    /// Lowest address.
    pub sp: u64,
    /// Bytes; 0 if there is none.
    pub size: u64,
    /// SS_AUTODISARM or 0.
    pub flags: i32,
}

impl AltStack {
    /// No alternate stack.
    pub const NONE: AltStack = AltStack {
        sp: 0,
        size: 0,
        flags: 0,
    };

    /// Whether a stack pointer counts as being on it (the kernel's `on_sig_stack`).
    pub fn holds(&self, sp: u64) -> bool {
        self.flags & SS_AUTODISARM == 0 && self.contains(sp)
    }

    /// Whether an address lies in it.
    pub fn contains(&self, address: u64) -> bool {
        address > self.sp && address - self.sp <= self.size
    }

    /// As sigaltstack(2) and signal frames report it to code at `sp`.
    pub fn report(&self, sp: u64) -> StackT {
        let state = if self.size == 0 {
            libc::SS_DISABLE
        } else if self.holds(sp) {
            libc::SS_ONSTACK
        } else {
            0
        };
        StackT {
            sp: self.sp,
            flags: state | self.flags,
            pad: 0,
            size: self.size,
        }
    }

    /// What setting `new` gives; `Err` is an errno. The kernel's `do_sigaltstack`
    /// without its check that the present one is not in use.
    pub fn of(new: &StackT) -> Result<AltStack, i32> {
        let mode = new.flags & !SS_AUTODISARM;
        if mode != 0 && mode != libc::SS_ONSTACK && mode != libc::SS_DISABLE {
            return Err(libc::EINVAL);
        }
        let flags = new.flags & SS_AUTODISARM;
        if mode == libc::SS_DISABLE {
            return Ok(AltStack {
                sp: 0,
                size: 0,
                flags,
            });
        }
        if new.size < libc::MINSIGSTKSZ as u64 {
            return Err(libc::ENOMEM);
        }
        Ok(AltStack {
            sp: new.sp,
            size: new.size,
            flags,
        })
    }
}

/// What a guest has of its own. All zero: nothing blocked, nothing pending.
pub struct SignalState {
    /// Signals it blocks; bit n-1 is signal n. Changed through [`super::change`] alone.
    pub(super) mask: Cell<u64>,
    /// Signals that were sent to it.
    pub(super) queue: Queue,
    /// Signals of the process that it is to look for, if nobody has taken them before. Read
    /// by the guest in its own code too, while another processor may add to them.
    pub(super) told: AtomicU64,
    /// Signals it waits for in sigtimedwait(2).
    pub(super) waits: Cell<u64>,
    /// Link of the list of guests that wait so.
    pub(super) wait_next: Cell<*const Guest>,
    /// The mask that comes back after the handler that ends ppoll(2) and the like.
    pub(super) saved: Cell<Option<u64>>,
    /// Its alternate stack.
    pub altstack: Cell<AltStack>,
}

impl SignalState {
    /// For tests of what lies around it.
    pub const fn new() -> Self {
        SignalState {
            mask: Cell::new(0),
            queue: Queue::new(),
            told: AtomicU64::new(0),
            waits: Cell::new(0),
            wait_next: Cell::new(ptr::null()),
            saved: Cell::new(None),
            altstack: Cell::new(AltStack::NONE),
        }
    }

    /// Signals it blocks.
    pub fn mask(&self) -> u64 {
        self.mask.get()
    }

    /// Whether a signal waits that it does not block, or that it waits for.
    #[inline]
    pub fn deliverable(&self) -> bool {
        let told = self.told.load(Ordering::Relaxed) & route::of_process().bits();
        (self.queue.bits() | told) & self.open() != 0
    }

    /// Signals it does not block, or waits for.
    pub(super) fn open(&self) -> u64 {
        !self.mask.get() | self.waits.get()
    }
}

impl Default for SignalState {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alternate_stack_holds_what_the_kernel_says() {
        let stack = AltStack {
            sp: 0x1000,
            size: 0x2000,
            flags: 0,
        };
        assert!(!stack.holds(0x1000));
        assert!(stack.holds(0x1001));
        assert!(stack.holds(0x3000));
        assert!(!stack.holds(0x3001));
        assert_eq!(stack.report(0x2000).flags, libc::SS_ONSTACK);
        assert_eq!(stack.report(0x4000).flags, 0);
        assert_eq!(AltStack::NONE.report(0x4000).flags, libc::SS_DISABLE);
        let disarmed = AltStack {
            flags: SS_AUTODISARM,
            ..stack
        };
        assert!(!disarmed.holds(0x2000));
    }

    #[test]
    fn bad_stacks_are_refused() {
        let stack = |flags, size| StackT {
            sp: 0x1000,
            flags,
            pad: 0,
            size,
        };
        assert_eq!(AltStack::of(&stack(0, 100)), Err(libc::ENOMEM));
        assert_eq!(AltStack::of(&stack(3, 8192)), Err(libc::EINVAL));
        assert_eq!(
            AltStack::of(&stack(libc::SS_DISABLE, 5)),
            Ok(AltStack::NONE)
        );
        assert_eq!(
            AltStack::of(&stack(libc::SS_ONSTACK, 8192)).unwrap().size,
            8192
        );
    }
}
