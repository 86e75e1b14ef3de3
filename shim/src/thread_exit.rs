//! No destructors for the thread-local variables of our own code.
//!
//! libc's `__cxa_thread_atexit_impl`, with which std registers them, takes the
//! loader's lock. A guest may hold that lock while it is parked, and our threads
//! and the host context begin by registering such a destructor: a program whose
//! first thread is made by the constructor of a library that it opens would hang.
//! Our threads never end, so nothing is lost. The build script binds the name, within the
//! library alone, to the function here, which accepts and forgets.
#![allow(unsafe_code)]

use std::arch::global_asm;

global_asm!(
    ".text",
    ".hidden gevent_shim_thread_atexit",
    ".globl gevent_shim_thread_atexit",
    ".type gevent_shim_thread_atexit,@function",
    "gevent_shim_thread_atexit:",
    "xor eax, eax",
    "ret",
    ".size gevent_shim_thread_atexit, . - gevent_shim_thread_atexit",
);

unsafe extern "C" {
    fn gevent_shim_thread_atexit();
}

/// Keeps the function in the link.
#[used]
static KEEP: unsafe extern "C" fn() = gevent_shim_thread_atexit;
