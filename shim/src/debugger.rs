//! The name under which a debugger finds the guests.
#![allow(unsafe_code)]

use gevent_runtime::debugger::{PLACES, Places};

/// See [`gevent_runtime::debugger`].
#[unsafe(no_mangle)]
pub static GEVENT_SHIM_PLACES: Places = PLACES;
