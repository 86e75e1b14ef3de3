//! libc's own list of threads, without ours.
//!
//! libc counts the threads it made and keeps them in lists. Two things would go
//! wrong if the worker were in there: a forked child takes the stacks of all
//! threads but the caller's for new threads, and the worker's stack is the host
//! context; and the last thread of a program ends the process only if libc counts
//! one. The places are those that glibc publishes for debuggers
//! (nptl_db/structs.def), so no offset is assumed.
#![allow(unsafe_code)]

use core::ptr;
use core::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, Ordering};

use crate::objects::{find_in_libc, find_in_libpthread};
use crate::wanted;

/// One of glibc's descriptions of a field: its size in bits, number of elements,
/// and offset in bytes.
type Description = [u32; 3];

/// What describes a thread's node in libc's list, and how many threads libc counts; null
/// where this libc has none.
static LIST: AtomicPtr<Description> = AtomicPtr::new(ptr::null_mut());
static COUNT: AtomicPtr<i32> = AtomicPtr::new(ptr::null_mut());

/// Looks both up, before there is a hub: later, a guest may hold the loader's lock.
pub fn init() {
    let find = |name| {
        let found = find_in_libc(name).or_else(|| find_in_libpthread(name));
        found.unwrap_or(ptr::null_mut())
    };
    LIST.store(find(c"_thread_db_pthread_list").cast(), Ordering::Relaxed);
    COUNT.store(find(c"__nptl_nthreads").cast(), Ordering::Relaxed);
}

/// Whether libc has made a thread in this process. Start-up only.
pub fn has_made_one() -> bool {
    if let Some(single) = find_in_libc(c"__libc_single_threaded") {
        // SAFETY: a `char` of libc's, which this thread or none writes.
        return unsafe { single.cast::<u8>().read_volatile() } == 0;
    }
    // Before glibc 2.32; without libpthread there is no such count.
    let count = find_in_libc(c"__nptl_nthreads").or_else(|| find_in_libpthread(c"__nptl_nthreads"));
    // SAFETY: glibc's counter, an unsigned int that it changes atomically.
    count.is_some_and(|at| unsafe { AtomicI32::from_ptr(at.cast()) }.load(Ordering::Relaxed) > 1)
}

/// A node of a circular list.
type Node = [*mut [*mut u8; 2]; 2];

/// Where the node is in a thread's TCB, once somebody was taken out; before, 0, where the
/// TCB has something else.
static NODE_AT: AtomicU32 = AtomicU32::new(0);

/// Finds that out. False if this libc does not say it.
fn find_node() -> bool {
    let description = LIST.load(Ordering::Relaxed);
    if description.is_null() {
        return false;
    }
    // SAFETY: glibc's constant of three words.
    let [bits, _, offset] = unsafe { *description };
    if bits == 128 {
        NODE_AT.store(offset, Ordering::Relaxed);
    }
    bits == 128
}

/// The node of the thread with this thread pointer in libc's list, if that is known.
fn node_of(thread_pointer: u64) -> Option<*mut Node> {
    let at = u64::from(NODE_AT.load(Ordering::Relaxed));
    (at != 0).then_some((thread_pointer + at) as *mut Node)
}

/// Puts a thread that was taken out into libc's list again, beside another. In a forked
/// child, where neither is there any more, before libc takes their stacks for new threads;
/// nothing is looked up, which may take a lock that somebody had.
///
/// # Safety
/// `unlisted` must be of a thread that `unlist` took out, `listed` of one that libc made
/// and that is in its list.
pub unsafe fn relist(unlisted: u64, listed: u64) {
    let (Some(node), Some(beside)) = (node_of(unlisted), node_of(listed)) else {
        return;
    };
    // SAFETY: nodes of two pointers in circular lists, the first in one of its own.
    unsafe {
        let next = (*beside)[0];
        *node = [next, beside.cast()];
        (*next)[1] = node.cast();
        (*beside)[0] = node.cast();
    }
}

/// Takes the thread with this thread pointer out of libc's list. Start-up only.
/// False if this libc does not say where its list is.
///
/// # Safety
/// `thread_pointer` must be of a thread that libc made and that never ends, and no
/// other thread may be created or end meanwhile, but for those that the engine stopped
/// when it patched.
pub unsafe fn unlist(thread_pointer: u64) -> bool {
    if !find_node() {
        return false;
    }
    let Some(node) = node_of(thread_pointer) else {
        return false;
    };
    let mut done = false;
    // SAFETY: a thread's node, by the caller's contract.
    wanted::outside_libc(&mut || done = unsafe { take_out(node) });
    done
}

/// The same in a forked child, where the thread is not there any more.
///
/// # Safety
/// `thread_pointer` must be of a thread that libc made and that is in its list.
pub unsafe fn unlist_in_child(thread_pointer: u64) {
    if let Some(node) = node_of(thread_pointer) {
        // SAFETY: a thread's node; there are no other threads.
        unsafe { take_out(node) };
    }
}

/// Takes a node out of its list. False if it is in none.
///
/// # Safety
/// It must be a list node of two pointers in a circular list that nobody else uses now, or
/// null.
unsafe fn take_out(node: *mut Node) -> bool {
    // SAFETY: the caller's contract; the thread pointer is the address of `struct pthread`.
    unsafe {
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
    let count = COUNT.load(Ordering::Relaxed);
    if !count.is_null() {
        // SAFETY: glibc's counter, an unsigned int that it changes atomically.
        unsafe { AtomicI32::from_ptr(count) }.fetch_sub(n, Ordering::Relaxed);
    }
}
