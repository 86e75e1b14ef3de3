//! What each virtualised call does: one file a family.
//!
//! An operation first tries without blocking. Only when the kernel says "would
//! block" does it park its guest, and what it returns is what the kernel would
//! have returned.

pub mod aio;
pub mod connect;
pub mod cpu_clock;
pub mod fd;
pub mod futex;
pub mod identity;
pub mod iov;
pub mod ipc;
pub mod lock;
pub mod machine;
pub mod memory;
pub mod net;
pub mod offloaded;
pub mod owner;
pub mod pages;
pub mod poll;
pub mod proc_view;
pub mod process;
pub mod rseq;
pub mod sched;
pub mod send;
pub mod setxid;
pub mod signal;
pub mod splice;
pub mod thread;
pub mod time;
pub mod tty;
pub mod uring;
pub mod wait;

use crate::frame::Frame;
use crate::guest::Guest;
use crate::hub::Hub;

/// One call of a guest.
pub struct Call<'a> {
    /// Who makes it.
    pub guest: &'static Guest,
    /// Its hub.
    pub hub: &'static Hub,
    /// Its registers.
    pub frame: &'a mut Frame,
    /// Its arguments.
    pub a: [u64; 6],
}

impl Call<'_> {
    /// An argument that is a descriptor.
    pub fn fd(&self, index: usize) -> i32 {
        self.a[index] as i32
    }
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It returns this (`-errno` on failure, or one of the restart results of
    /// [`raw`](crate::raw)).
    Done(i64),
    /// The guest runs the real instruction in its stub.
    Native,
    /// The frame was set by the operation itself.
    AsSet,
}

/// An operation.
pub type Op = unsafe fn(&mut Call<'_>) -> Outcome;
