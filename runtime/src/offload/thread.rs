//! The pool's kernel threads: what they stand on, and what they do.
//!
//! They are none of libc's. To make a thread, libc takes locks that a guest may hold
//! while it waits for the very thread (the loader holds one while it reads files), and
//! it would give the thread new credentials by a signal that these threads block. The
//! hub's kernel thread makes them itself, and hands on the credentials it has.
#![allow(unsafe_code)]

use core::ptr;

use super::Request;
use crate::arch;
use crate::ground::Ground;

/// Memory of one thread of the pool.
pub struct Place(Ground);

impl Place {
    /// New memory for a thread; `None` if there is none.
    pub fn new() -> Option<Place> {
        Ground::new().map(Place)
    }

    /// Whether no thread is on it.
    pub fn is_free(&self) -> bool {
        self.0.is_free()
    }

    /// Starts a thread of the pool on it, whose credentials have this number. False if the
    /// kernel makes none. Every signal must be blocked.
    pub fn start(&self, credentials: u32) -> bool {
        // SAFETY: the place is free, and the body uses no libc.
        unsafe { self.0.start(arch::spawn_thread, body, credentials as usize) > 0 }
    }

    /// Starts a thread on it that carries out one request and ends. As [`start`](Self::start).
    ///
    /// # Safety
    /// The request must stay until it is complete.
    pub unsafe fn start_once(&self, request: &Request) -> bool {
        let request = ptr::from_ref(request) as usize;
        // SAFETY: the place is free, and the body uses no libc.
        unsafe { self.0.start(arch::spawn_thread, once, request) > 0 }
    }
}

/// Its credentials may be old already when it first runs.
unsafe extern "C" fn body(credentials: usize) {
    if let Some(pool) = super::pool() {
        pool.serve(credentials as u32);
    }
}

unsafe extern "C" fn once(request: usize) {
    // SAFETY: the contract of `start_once`.
    unsafe { &*(request as *const Request) }.perform();
}
