//! What foreign threads ask of a host context: a list that anybody pushes to, and that is
//! taken as a whole.
//!
//! # Synchronization
//! A node is its maker's until it is pushed, and then the taker's; the maker learns from the
//! node itself when it is its own again. What was written before the push is seen by who
//! takes it. That a sleeping taker learns of a push is its user's affair: a push, and a look
//! whether the list is empty, are sequentially consistent for that.
#![allow(unsafe_code)]

use core::ptr;
use core::sync::atomic::Ordering;

use super::sync::AtomicPtr;

/// One thing that is asked.
pub(super) struct Node<T> {
    next: *mut Node<T>,
    /// What it is.
    pub(super) task: T,
}

impl<T> Node<T> {
    pub(super) fn new(task: T) -> Self {
        Node {
            next: ptr::null_mut(),
            task,
        }
    }
}

/// See the file's first lines.
pub(super) struct List<T>(AtomicPtr<Node<T>>);

impl<T> List<T> {
    /// With a first pointer of null.
    pub(super) const fn new(head: AtomicPtr<Node<T>>) -> Self {
        List(head)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.load(Ordering::SeqCst).is_null()
    }

    /// Forgets what is in it.
    pub(super) fn clear(&self) {
        self.0.store(ptr::null_mut(), Ordering::SeqCst);
    }

    /// Hands a node over.
    ///
    /// # Safety
    /// It stays where it is until whoever took it is done with it.
    pub(super) unsafe fn push(&self, node: *mut Node<T>) {
        let mut head = self.0.load(Ordering::Relaxed);
        loop {
            // SAFETY: the caller's until it is in the list.
            unsafe { (*node).next = head };
            match self
                .0
                .compare_exchange(head, node, Ordering::SeqCst, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Takes all, and calls `f` for each, oldest first. A node may be gone once `f` has
    /// been called for it.
    pub(super) fn take(&self, mut f: impl FnMut(*mut Node<T>)) {
        let mut taken = self.0.swap(ptr::null_mut(), Ordering::SeqCst);
        let mut ordered: *mut Node<T> = ptr::null_mut();
        // SAFETY: nodes that were pushed and are the taker's.
        unsafe {
            while !taken.is_null() {
                let next = (*taken).next;
                (*taken).next = ordered;
                ordered = taken;
                taken = next;
            }
            while !ordered.is_null() {
                let node = ordered;
                ordered = (*node).next;
                f(node);
            }
        }
    }
}
