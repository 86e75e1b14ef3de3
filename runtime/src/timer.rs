//! Pending timeouts: an intrusive pairing heap ordered by deadline.
//!
//! Nodes live where their owners put them, usually on the stack of a parked
//! guest, so setting a timeout allocates nothing. A pairing heap suits the load
//! of timeouts: almost all are removed before they expire, and a node that
//! nothing was merged under (the common case) is removed in a few writes.
//! Insertion takes constant time, removal amortised O(log n); a single removal
//! may take O(n) after many insertions. Nothing recurses: guest stacks are
//! small and a heap may be as deep as it has nodes.
#![allow(unsafe_code)]

use core::ptr;

/// One timeout.
///
/// While it is in a [`Timers`], only that touches it and it stays in place.
#[repr(C)]
#[derive(Debug)]
pub struct TimerNode {
    /// When it expires: nanoseconds of `CLOCK_MONOTONIC`. Not to be changed
    /// while in a heap.
    pub deadline: u64,
    /// Order among equal deadlines; given by [`Timers::insert`].
    seq: u64,
    /// First of the nodes merged under this one.
    child: *mut TimerNode,
    /// Next child of the same parent; null in the last.
    next: *mut TimerNode,
    /// Previous child of the same parent, or the parent of a first child; null
    /// in the root.
    prev: *mut TimerNode,
    /// Whom it is for; the heap does not look into it.
    pub owner: *mut (),
    queued: bool,
}

impl TimerNode {
    /// A timeout in no heap.
    pub const fn new(deadline: u64, owner: *mut ()) -> Self {
        TimerNode {
            deadline,
            seq: 0,
            child: ptr::null_mut(),
            next: ptr::null_mut(),
            prev: ptr::null_mut(),
            owner,
            queued: false,
        }
    }

    /// Whether it is in a heap: neither expired nor removed.
    pub fn is_queued(&self) -> bool {
        self.queued
    }
}

/// The timeouts of one hub. Expire in the order of their deadlines, equal ones
/// in the order of insertion.
///
/// # Synchronization
/// None: a heap and its nodes belong to one hub, and are used by code that runs
/// on that hub's kernel thread.
#[derive(Debug)]
pub struct Timers {
    root: *mut TimerNode,
    len: usize,
    next_seq: u64,
}

// SAFETY: a heap may move to the thread its hub will run on; the nodes' owners
// promise in `insert` to use it from that hub alone.
unsafe impl Send for Timers {}

impl Default for Timers {
    fn default() -> Self {
        Self::new()
    }
}

impl Timers {
    /// An empty heap.
    pub const fn new() -> Self {
        Timers {
            root: ptr::null_mut(),
            len: 0,
            next_seq: 0,
        }
    }

    /// Number of timeouts pending.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if none is pending.
    pub fn is_empty(&self) -> bool {
        self.root.is_null()
    }

    /// Adds a timeout.
    ///
    /// # Safety
    /// `node` is valid and in no heap. Until it was popped or removed it stays
    /// in place, is not otherwise accessed, and this heap is neither dropped
    /// into use by another hub nor forgotten.
    pub unsafe fn insert(&mut self, node: *mut TimerNode) {
        // SAFETY: valid and unshared by contract; `root` is null or in this heap.
        unsafe {
            (*node).seq = self.next_seq;
            (*node).child = ptr::null_mut();
            (*node).next = ptr::null_mut();
            (*node).prev = ptr::null_mut();
            (*node).queued = true;
            self.root = meld(self.root, node);
        }
        self.next_seq += 1;
        self.len += 1;
    }

    /// Takes a timeout out before it expired. False if it is in no heap.
    ///
    /// # Safety
    /// `node` is valid, and if it is in a heap then in this one.
    pub unsafe fn remove(&mut self, node: *mut TimerNode) -> bool {
        // SAFETY: the node is valid by contract; all nodes linked from a queued
        // one are in this heap, hence valid by the contract of `insert`.
        unsafe {
            if !(*node).queued {
                return false;
            }
            if node == self.root {
                self.pop_root();
                return true;
            }
            // Cut the subtree out of its siblings, then put back what is under
            // the node.
            let (prev, next) = ((*node).prev, (*node).next);
            if (*prev).child == node {
                (*prev).child = next;
            } else {
                (*prev).next = next;
            }
            if !next.is_null() {
                (*next).prev = prev;
            }
            let rest = merge_children(node);
            if !rest.is_null() {
                self.root = meld(self.root, rest);
            }
            self.retire(node);
        }
        true
    }

    /// When the next timeout expires: nanoseconds of `CLOCK_MONOTONIC`.
    pub fn next_deadline(&self) -> Option<u64> {
        // SAFETY: a non-null root is in this heap, hence valid.
        unsafe { self.root.as_ref() }.map(|root| root.deadline)
    }

    /// Takes out the first timeout whose deadline is not after `now`.
    pub fn pop_expired(&mut self, now: u64) -> Option<*mut TimerNode> {
        if self.next_deadline()? > now {
            return None;
        }
        let node = self.root;
        // SAFETY: not null, as there is a next deadline.
        unsafe { self.pop_root() };
        Some(node)
    }

    /// Forgets all timeouts, in the child of a fork whose owners are gone. Their
    /// nodes keep saying that they are queued and must not be used again.
    pub fn reset(&mut self) {
        *self = Timers::new();
    }

    /// # Safety
    /// The heap is not empty.
    unsafe fn pop_root(&mut self) {
        let root = self.root;
        // SAFETY: the root and all nodes under it are in this heap, hence valid.
        unsafe {
            self.root = merge_children(root);
            self.retire(root);
        }
    }

    /// # Safety
    /// `node` is valid and no longer linked.
    unsafe fn retire(&mut self, node: *mut TimerNode) {
        // SAFETY: valid by contract.
        unsafe {
            (*node).child = ptr::null_mut();
            (*node).next = ptr::null_mut();
            (*node).prev = ptr::null_mut();
            (*node).queued = false;
        }
        self.len -= 1;
    }
}

/// Merges two trees; either may be null. The root of the result has no siblings.
///
/// # Safety
/// Both are roots of disjoint valid trees, without siblings.
unsafe fn meld(a: *mut TimerNode, b: *mut TimerNode) -> *mut TimerNode {
    if a.is_null() {
        return b;
    }
    if b.is_null() {
        return a;
    }
    // SAFETY: both are valid and not null; a root's child is valid or null.
    unsafe {
        let b_first = ((*b).deadline, (*b).seq) < ((*a).deadline, (*a).seq);
        let (top, under) = if b_first { (b, a) } else { (a, b) };
        let child = (*top).child;
        (*under).next = child;
        (*under).prev = top;
        if !child.is_null() {
            (*child).prev = under;
        }
        (*top).child = under;
        top
    }
}

/// Takes the children of `node` and makes one tree of them: merged in pairs from
/// the first to the last, then the pairs from the last to the first. Returns its
/// root, or null.
///
/// # Safety
/// `node` and all nodes under it are valid.
unsafe fn merge_children(node: *mut TimerNode) -> *mut TimerNode {
    // SAFETY: every pointer followed is a link of the children's list or, later,
    // of the list of pairs built from it.
    unsafe {
        let mut at = (*node).child;
        (*node).child = ptr::null_mut();
        // The pairs, last one first, strung on `next`.
        let mut pairs: *mut TimerNode = ptr::null_mut();
        while !at.is_null() {
            let a = at;
            let b = (*a).next;
            at = if b.is_null() {
                ptr::null_mut()
            } else {
                (*b).next
            };
            detach(a);
            if !b.is_null() {
                detach(b);
            }
            let pair = meld(a, b);
            (*pair).next = pairs;
            pairs = pair;
        }
        let mut root = ptr::null_mut();
        while !pairs.is_null() {
            let pair = pairs;
            pairs = (*pair).next;
            detach(pair);
            root = meld(root, pair);
        }
        root
    }
}

/// # Safety
/// `node` is valid.
unsafe fn detach(node: *mut TimerNode) {
    // SAFETY: valid by contract.
    unsafe {
        (*node).next = ptr::null_mut();
        (*node).prev = ptr::null_mut();
    }
}

#[cfg(test)]
#[path = "timer_tests.rs"]
mod tests;
