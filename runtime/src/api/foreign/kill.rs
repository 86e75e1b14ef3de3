//! Kills with a payload, for greenlets of C: a pointer that the killed one may read, and
//! that whoever joins it finds.
//!
//! A greenlet that unwinds is cancelled where it is, and what was thrown at it may stay
//! where it was thrown: nobody takes it out of a call of libc's. In a wait of this library
//! it is taken, and noted in the thread's record ([`sees`]).

use std::any::Any;
use std::ffi::c_void;
use std::fmt;

use super::super::error::GreenletExit;
use super::current;

/// The payload of a kill of C's: never null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KilledWith(*mut c_void);

// SAFETY: who kills with it promises that.
unsafe impl Send for KilledWith {}

impl KilledWith {
    /// `None` for null, which is a kill without a payload.
    pub fn new(payload: *mut c_void) -> Option<Self> {
        (!payload.is_null()).then_some(KilledWith(payload))
    }

    /// The pointer.
    pub fn get(self) -> *mut c_void {
        self.0
    }
}

impl fmt::Display for KilledWith {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a kill with the payload {:p}", self.0)
    }
}

/// Notes that C code of the caller sees this as its kill. False if it is no kill.
pub fn sees(payload: &(dyn Any + Send)) -> bool {
    let seen = match payload.downcast_ref::<KilledWith>() {
        Some(killed) => killed.get(),
        None if payload.is::<GreenletExit>() => std::ptr::null_mut(),
        None => return false,
    };
    current::with(|current| current.sees(seen));
    true
}

/// The payload of the kill that the caller unwinds with or has seen last; `None` if there
/// was no kill or it had none.
pub fn killed_with() -> Option<KilledWith> {
    current::with(|current| current.killed_with())
}
