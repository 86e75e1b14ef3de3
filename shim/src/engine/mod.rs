//! What a patch engine does: it turns a plan into stubs and jumps.
#![allow(unsafe_code)]

#[cfg(feature = "frida-gum")]
pub mod frida_gum;
pub mod relocate;

use std::ops::Range;

use rustix::io::Errno;

use crate::maps::Mapping;
use crate::patch::{Region, WriteError};
use crate::plan::Window;

/// The object to patch, at run-time addresses.
#[derive(Debug, Clone)]
pub struct Target {
    /// Distance from link-time to run-time addresses.
    pub bias: u64,
    /// The part of an executable mapping that the plan is for.
    pub text: Range<u64>,
    /// Where stubs go when their call is wanted.
    pub entry: u64,
}

/// What an engine left in the process.
#[derive(Debug)]
pub struct Installed {
    /// What was patched.
    pub text: Range<u64>,
    /// Pages of the stubs.
    pub region: Region,
    /// Number of its sites.
    pub sites: usize,
    /// Addresses of unwind tables: the stubs', and one for each room.
    pub eh_frames: Vec<u64>,
    /// How to put everything back, in that order: jumps, then the rooms they may lead to.
    pub undo: Vec<crate::patch::Edit>,
    /// Instructions that are in a stub: where they were and where they are.
    pub moved: Vec<(u64, u64)>,
}

impl Installed {
    /// What has to be written for the stubs to be used, in that order.
    pub fn edits(&self) -> Vec<crate::patch::Edit> {
        let undo = self.undo.iter().rev();
        undo.map(|edit| crate::patch::Edit {
            addr: edit.addr,
            old: edit.new.clone(),
            new: edit.old.clone(),
        })
        .collect()
    }

    /// What is written over: first address and the one after the last.
    pub fn windows(&self) -> impl Iterator<Item = (u64, u64)> {
        let undo = self.undo.iter();
        undo.map(|edit| (edit.addr, edit.addr + edit.new.len() as u64))
    }
}

/// Why an engine did nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InstallError {
    /// No pages for stubs within reach.
    #[error("no memory for stubs near it: {0}")]
    NoMemory(Errno),
    /// Policy forbids to make code.
    #[error("its text can't be patched: new code can't be made executable: {0}")]
    NotExecutable(Errno),
    /// A window that the planner allowed can't be moved where the stubs are.
    #[error("the instructions at {0:#x} can't be moved")]
    Relocation(u64),
    /// The engine writes where it makes its stubs, which other threads do not allow.
    #[error("this engine can't patch beside other threads")]
    Unstaged,
    /// The text stayed as it was.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// A way to lead sites to their entry.
pub trait Engine: std::fmt::Debug + Sync {
    /// As in configuration and events.
    fn name(&self) -> &'static str;

    /// Patches all of `windows`, or nothing.
    ///
    /// # Errors
    /// [`InstallError`]; the text is as before.
    ///
    /// # Safety
    /// `windows` must be the plan of the bytes at `target`, and no other thread
    /// may run in one, or return into the middle of one.
    unsafe fn install(
        &self,
        target: &Target,
        windows: &[Window],
        mappings: &[Mapping],
    ) -> Result<Installed, InstallError>;

    /// Makes the stubs of `windows`, and leaves the text as it is: its
    /// [`edits`](Installed::edits) are for [`patch::write`](crate::patch::write()).
    ///
    /// # Errors
    /// [`InstallError`]; also if the engine can't.
    ///
    /// # Safety
    /// `windows` must be the plan of the bytes at `target`.
    unsafe fn stage(
        &self,
        target: &Target,
        windows: &[Window],
        mappings: &[Mapping],
    ) -> Result<Installed, InstallError> {
        let _ = (target, windows, mappings);
        Err(InstallError::Unstaged)
    }

    /// Puts the text back. Stubs stay: a thread may still be in one.
    ///
    /// # Errors
    /// [`WriteError`]; the text is patched still.
    ///
    /// # Safety
    /// As [`install`](Self::install); the object is still mapped.
    unsafe fn remove(&self, installed: &Installed) -> Result<(), WriteError>;
}
