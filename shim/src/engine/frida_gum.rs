//! The optional engine: Frida's Gum writes the jumps, the stubs are ours.
//!
//! Gum's own stack of invocations is of no use to guests, which leave a function
//! on another stack than they entered it on, so only `replace_fast` is used: a
//! plain jump. A window is whole instructions, as few as hold a jump, which is
//! what Gum overwrites; its copy of them is not used, since the stub needs the
//! test in front of the `syscall` and the record behind it. Gum decides how text
//! is written, which matters where the kernel allows it no other way.
//!
//! Everything is installed once; a forked child never calls Gum.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::ptr;

use frida_gum::interceptor::Interceptor;
use frida_gum::{Gum, NativePointer};
use rustix::io::Errno;

use super::{Engine, InstallError, Installed, Target, relocate};
use crate::maps::Mapping;
use crate::patch::{Edit, WriteError};
use crate::plan::Window;

/// See the module's documentation.
#[derive(Debug, Clone, Copy, Default)]
pub struct FridaGum;

impl Engine for FridaGum {
    fn name(&self) -> &'static str {
        "frida-gum"
    }

    unsafe fn install(
        &self,
        target: &Target,
        windows: &[Window],
        mappings: &[Mapping],
    ) -> Result<Installed, InstallError> {
        // Gum writes no jump shorter than its own.
        let by_gum = windows.iter().all(|window| window.room.is_none());
        let write: relocate::WriteJumps = if by_gum { replace } else { relocate::write };
        // SAFETY: the caller's contract is that of `install_with`.
        unsafe { relocate::install_with(target, windows, mappings, write) }
    }

    unsafe fn remove(&self, installed: &Installed) -> Result<(), WriteError> {
        if installed.eh_frames.len() > 1 {
            // It has rooms.
            // SAFETY: the caller's contract.
            return unsafe { relocate::Relocate.remove(installed) };
        }
        let mut interceptor = Interceptor::obtain(&Gum::obtain());
        interceptor.begin_transaction();
        for edit in &installed.undo {
            interceptor.revert(pointer(edit.addr));
        }
        interceptor.end_transaction();
        Ok(())
    }
}

/// Lets Gum write the jumps of `jumps`: `(edit, stub)`.
///
/// # Safety
/// As [`Engine::install`].
unsafe fn replace(
    _text: &Target,
    _rooms: &[Edit],
    jumps: &[(Edit, u64)],
) -> Result<(), WriteError> {
    let mut interceptor = Interceptor::obtain(&Gum::obtain());
    interceptor.begin_transaction();
    let failed = jumps.iter().position(|(edit, stub)| {
        interceptor
            .replace_fast(pointer(edit.addr), pointer(*stub))
            .is_err()
    });
    if let Some(failed) = failed {
        for (edit, _) in &jumps[..failed] {
            interceptor.revert(pointer(edit.addr));
        }
    }
    interceptor.end_transaction();
    match failed {
        Some(_) => Err(WriteError::Denied(Errno::ACCESS)),
        None => Ok(()),
    }
}

fn pointer(addr: u64) -> NativePointer {
    NativePointer(ptr::with_exposed_provenance_mut::<c_void>(addr as usize))
}
