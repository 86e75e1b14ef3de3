//! Where a debugger finds the guests.
//!
//! A library that is built for use has no descriptions of its types, so the places of
//! what `scripts/gdb-guests.py` reads are published, as glibc does for its threads.

use core::mem::offset_of;

use crate::arch::Context;
use crate::guest::Guest;
use crate::hub::processor::{self, Processor};
use crate::hub::{HUB, Hub};

/// Version of [`Places`]: the script reads one it knows.
const VERSION: u32 = 2;

/// Offsets in bytes. A `Cell` lies where its value does.
#[repr(C)]
pub struct Places {
    version: u32,
    /// Of a [`Hub`]: its list of guests.
    hub_all: u32,
    /// Of a [`Processor`]: the guest on the CPU; and the size of one, the most there are.
    processor_current: u32,
    processor_size: u32,
    processor_max: u32,
    /// Of a [`Guest`].
    guest_next: u32,
    guest_tid: u32,
    guest_state: u32,
    guest_name: u32,
    guest_rsp: u32,
    guest_fs: u32,
    guest_frame: u32,
    hub: &'static Hub,
    processors: &'static Processor,
}

/// What the library publishes under a name that the script looks up.
pub const PLACES: Places = Places {
    version: VERSION,
    hub_all: Hub::ALL_AT as u32,
    processor_current: offset_of!(Processor, current) as u32,
    processor_size: size_of::<Processor>() as u32,
    processor_max: processor::MAX as u32,
    guest_next: offset_of!(Guest, all_next) as u32,
    guest_tid: offset_of!(Guest, tid) as u32,
    guest_state: offset_of!(Guest, state) as u32,
    guest_name: offset_of!(Guest, name) as u32,
    guest_rsp: (offset_of!(Guest, ctx) + offset_of!(Context, rsp)) as u32,
    guest_fs: (offset_of!(Guest, ctx) + offset_of!(Context, fs)) as u32,
    guest_frame: offset_of!(Guest, frame) as u32,
    hub: &HUB,
    processors: processor::FIRST,
};
