//! What a system call of a guest does once it is ours.

pub mod arch;
pub mod config;
pub mod dispatch;
pub mod errno;
pub mod fork;
pub mod frame;
pub mod futex;
pub mod group;
pub mod guest;
pub mod host;
pub mod hub;
pub mod libc_threads;
pub mod monitor;
pub mod offload;
pub mod ops;
pub mod parking;
pub mod private;
pub mod raw;
pub mod reactor;
pub mod signal;
pub mod syscalls;
pub mod timer;
pub mod wanted;
