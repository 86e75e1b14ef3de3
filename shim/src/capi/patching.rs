//! What is patched, in C: all of it or groups. `query.rs` tells.

use std::ffi::{CStr, c_char, c_int};

use gevent_runtime::group::{Group, GroupSet};

use super::call;
use crate::monkey::{self, PatchError};

/// What patching came to, as a result.
fn of_c(outcome: Result<(), PatchError>) -> c_int {
    match outcome {
        Ok(()) => 0,
        Err(PatchError::Late(..)) => -libc::EBUSY,
        Err(PatchError::Privileged) => -libc::EPERM,
        Err(PatchError::Config(_)) => -libc::EINVAL,
        Err(_) => -libc::ENOTSUP,
    }
}

/// Starts the hub, with the caller as its first guest, unless it runs. A program that is
/// linked with the library or preloaded is patched when it starts; its hub starts with its
/// first thread or with this. Threads that the process has before that stay kernel threads,
/// and a line on standard error names them. 0; -EBUSY if one of them can't be stopped
/// meanwhile; -EPERM in a privileged program; -ENOTSUP if nothing can be patched or the
/// environment says so; -EINVAL if a variable of it can't be meant. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn gevent_patch_all() -> c_int {
    call(|| of_c(monkey::patch_all()))
}

/// As gevent_patch_all, and makes the calls of these groups cooperative that are not yet,
/// because GEVENT_SHIM_PATCH has left them out: `groups` is a list of names with commas
/// between them, as "socket,time", with the names of gevent_is_patched. Calls add to each
/// other. -EINVAL also for null, no name, or one that no group has; then nothing happens.
/// Any thread.
///
/// # Safety
/// `groups` must be null or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_patch(groups: *const c_char) -> c_int {
    call(|| {
        // SAFETY: the caller's string.
        let Some(groups) = (unsafe { named(groups) }) else {
            return -libc::EINVAL;
        };
        // A library that was loaded before the program has groups of the environment's
        // when its hub starts; only then can others be added.
        of_c(monkey::patch(groups).and_then(|()| monkey::patch(groups)))
    })
}

/// The groups of these names.
///
/// # Safety
/// `names` must be null or a string.
unsafe fn named(names: *const c_char) -> Option<GroupSet> {
    if names.is_null() {
        return None;
    }
    // SAFETY: the caller's string.
    let names = unsafe { CStr::from_ptr(names) }.to_str().ok()?;
    let groups: Option<Vec<_>> = names
        .split(',')
        .map(|name| Group::from_name(name.trim()))
        .collect();
    Some(GroupSet::of(&groups?))
}
