//! Short stretches of a guest's own code in which it is not switched out and no handler
//! of the program runs.
//!
//! A guest may be preempted anywhere in its own code, also while it holds one of our
//! locks or the lock of the heap. Others would only wait for it; but the host shares the
//! heap, and a forked child would inherit the lock. So the few instructions that hold
//! such a lock count as the library's own code: what arrives meanwhile is recorded and
//! comes when they are over. On any other thread this does nothing.
#![allow(unsafe_code)]

use std::marker::PhantomData;

use crate::arch;
use crate::dispatch;
use crate::guest::Guest;
use crate::hub::hub;
use crate::signal;

/// Such a stretch, from its making to its end. They may be nested.
#[derive(Debug)]
pub struct Section {
    entered: bool,
    /// It is this thread's.
    _here: PhantomData<*const ()>,
}

impl Section {
    /// Begins one. Any thread; takes some nanoseconds.
    #[inline]
    pub fn enter() -> Self {
        let word = arch::current_word();
        let entered = !dispatch::is_no_guest(word) && dispatch::is_running() && !hub().in_shim();
        if entered {
            hub().enter_section();
        }
        Section {
            entered,
            _here: PhantomData,
        }
    }
}

impl Drop for Section {
    #[inline]
    fn drop(&mut self) {
        if self.entered {
            hub().leave_section();
            // SAFETY: the word of a guest's TCB points to its record while it lives.
            let guest = unsafe { &*(arch::current_word() as *const Guest) };
            if signal::pending(guest) || hub().is_preemption_due() {
                // A call that does nothing else delivers them.
                // SAFETY: no arguments.
                unsafe { libc::syscall(libc::SYS_gettid) };
            }
        }
    }
}
