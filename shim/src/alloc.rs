//! The library's own heap.
//!
//! A guest may be switched out anywhere in its own code, also inside libc's
//! `malloc` with an arena locked. Host code that then asked libc for memory would
//! wait for a lock whose holder cannot run. So nothing of ours uses libc's heap.
//! This one is shared by host code and the pool's threads, never by guests.

use dlmalloc::GlobalDlmalloc;

#[global_allocator]
static HEAP: GlobalDlmalloc = GlobalDlmalloc;

/// Keeps the heap usable in a forked child whose parent's pool threads were using
/// it. Called once, before the first of those threads exists.
#[allow(unsafe_code)]
pub fn survive_fork() {
    // SAFETY: registers handlers for fork; nothing of the heap is in use by another
    // thread yet.
    unsafe { dlmalloc::enable_alloc_after_fork() };
}
