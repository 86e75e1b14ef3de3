//! libc's own list of threads, without ours.
//!
//! libc counts the threads it made and keeps them in lists. Two things would go
//! wrong if the worker were in there: a forked child takes the stacks of all
//! threads but the caller's for new threads, and the worker's stack is the host
//! context; and the last thread of a program ends the process only if libc counts
//! one. The places are those that glibc publishes for debuggers
//! (nptl_db/structs.def), so no offset is assumed.
#![allow(unsafe_code)]

use core::ffi::CStr;
use core::sync::atomic::{AtomicI32, Ordering};

/// One of glibc's descriptions of a field: its size in bits, number of elements,
/// and offset in bytes.
type Description = [u32; 3];

fn symbol(name: &CStr) -> Option<*mut libc::c_void> {
    // SAFETY: a look-up by name in the global scope.
    let p = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!p.is_null()).then_some(p)
}

/// Takes the thread with this thread pointer out of libc's list. Start-up only.
/// False if this libc does not say where its list is.
///
/// # Safety
/// `thread_pointer` must be of a thread that libc made and that never ends, and no
/// other thread may be created or end meanwhile.
pub unsafe fn unlist(thread_pointer: u64) -> bool {
    let Some(description) = symbol(c"_thread_db_pthread_list") else {
        return false;
    };
    // SAFETY: glibc's constant of three words.
    let [bits, _, offset] = unsafe { *(description as *const Description) };
    if bits != 128 {
        return false;
    }
    // SAFETY: the thread pointer is the address of `struct pthread`, and the field a
    // list node of two pointers in a circular list.
    unsafe {
        let node = (thread_pointer + offset as u64) as *mut [*mut [*mut u8; 2]; 2];
        let [next, prev] = *node;
        if next.is_null() || prev.is_null() {
            return false;
        }
        (*prev)[0] = next.cast();
        (*next)[1] = prev.cast();
        *node = [node.cast(), node.cast()];
    }
    true
}

/// Makes libc count `n` threads fewer. Host mode or start-up.
pub fn discount(n: i32) {
    if let Some(count) = symbol(c"__nptl_nthreads") {
        // SAFETY: glibc's counter, an unsigned int that it changes atomically.
        unsafe { AtomicI32::from_ptr(count.cast()) }.fetch_sub(n, Ordering::Relaxed);
    }
}
