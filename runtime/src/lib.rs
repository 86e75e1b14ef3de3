//! What a system call of a guest does once it is ours.

pub mod arch;
pub mod dispatch;
pub mod frame;
