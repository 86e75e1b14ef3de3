//! Variables of C that each thread has of its own, made at run time.
//!
//! Not libc's keys: their destructors would run after that of the thread's record, when
//! the greenlet has ended already, and a process has 1024 of them at most.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::mem;
use std::sync::{Arc, Weak};

use super::super::sync::Lock;
use super::current;

/// A function that is called with what a thread has when it ends.
pub type Destructor = unsafe extern "C" fn(*mut c_void);

/// How often destructors are called which leave something again, as with libc's keys.
const ROUNDS: usize = 4;

/// A variable that each thread has of its own, empty at first. When it is dropped, what
/// threads have in it is forgotten.
#[derive(Debug)]
pub struct Local {
    destructor: Arc<Option<Destructor>>,
}

impl Local {
    /// A variable whose contents are given to `destructor` when their thread ends, before
    /// it counts as ended; unless they are null.
    ///
    /// # Safety
    /// The destructor must take whatever is set, and return.
    pub unsafe fn new(destructor: Option<Destructor>) -> Self {
        Local {
            destructor: Arc::new(destructor),
        }
    }

    /// Never used twice while a thread has something under it: that keeps the allocation.
    fn key(&self) -> usize {
        Arc::as_ptr(&self.destructor).addr()
    }

    /// What the caller has in it; null at first.
    pub fn get(&self) -> *mut c_void {
        current::with(|current| {
            let values = current.locals.values.lock();
            let value = values.get(&self.key());
            value.map_or(std::ptr::null_mut(), |value| value.pointer)
        })
    }

    /// Changes what the caller has in it. What was there is the caller's.
    pub fn set(&self, pointer: *mut c_void) {
        let value = Value {
            destructor: Arc::downgrade(&self.destructor),
            pointer,
        };
        current::with(|current| {
            let mut values = current.locals.values.lock();
            if values.insert(self.key(), value).is_none() && values.len().is_power_of_two() {
                values.retain(|_, value| value.destructor.strong_count() > 0);
            }
        });
    }
}

#[derive(Debug)]
struct Value {
    destructor: Weak<Option<Destructor>>,
    pointer: *mut c_void,
}

// SAFETY: it stays on the thread that set it, whose record is shared for other reasons.
unsafe impl Send for Value {}

/// What a thread has in all of them.
#[derive(Debug, Default)]
pub(in super::super) struct Locals {
    values: Lock<BTreeMap<usize, Value>>,
}

impl Locals {
    pub(in super::super) fn is_empty(&self) -> bool {
        self.values.lock().is_empty()
    }

    /// Gives everything to its destructor. Called by its thread at the end.
    ///
    /// # Safety
    /// As promised to [`Local::new`].
    pub(in super::super) unsafe fn destroy(&self) {
        for _ in 0..ROUNDS {
            let values = mem::take(&mut *self.values.lock());
            for value in values.into_values() {
                let destructor = value.destructor.upgrade().and_then(|d| *d);
                if let Some(destructor) = destructor.filter(|_| !value.pointer.is_null()) {
                    // SAFETY: the caller's contract.
                    unsafe { destructor(value.pointer) };
                }
            }
        }
    }
}
