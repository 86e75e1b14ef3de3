//! The default engine: a jump at the site, its neighbours moved to a stub.
//!
//! The stubs of one installation lie in one region:
//!
//! ```text
//! 8 bytes      address of the entry
//! 8 bytes      unused
//! 16 bytes a site   its record
//! stubs, each at a multiple of 16
//! unwind table of the stubs
//! unwind table of each room
//! ```
//!
//! A room has a table of its own: unwinders keep one range of addresses for each, and
//! everything between its first and last entry would be in it.
#![allow(unsafe_code)]

use gevent_runtime::frame::SiteRecord;
use gevent_runtime::wanted;

use super::{Engine, InstallError, Installed, Target};
use crate::cfi;
use crate::maps::Mapping;
use crate::patch::{self, Edit, Region, WriteError};
use crate::plan::Window;
use crate::trampoline::{self, STUB_MAX, Targets};

const HEADER: usize = 16;
const RECORD: usize = size_of::<SiteRecord>();
const _: () = assert!(RECORD == 16);

/// See the module's documentation.
#[derive(Debug, Clone, Copy, Default)]
pub struct Relocate;

impl Engine for Relocate {
    fn name(&self) -> &'static str {
        "relocate"
    }

    unsafe fn install(
        &self,
        target: &Target,
        windows: &[Window],
        mappings: &[Mapping],
    ) -> Result<Installed, InstallError> {
        // SAFETY: the caller's contract is that of `install_with`.
        unsafe { install_with(target, windows, mappings, write) }
    }

    unsafe fn stage(
        &self,
        target: &Target,
        windows: &[Window],
        mappings: &[Mapping],
    ) -> Result<Installed, InstallError> {
        // SAFETY: the caller's contract; nothing is written.
        unsafe { install_with(target, windows, mappings, leave) }
    }

    unsafe fn remove(&self, installed: &Installed) -> Result<(), WriteError> {
        // SAFETY: the caller's contract.
        unsafe { patch::write(installed.text.clone(), &installed.undo) }
    }
}

/// Fills `rooms` and writes the jumps of `(edit, stub)` pairs, all or none.
///
/// # Safety
/// As [`patch::write`].
pub(super) unsafe fn write(
    target: &Target,
    rooms: &[Edit],
    jumps: &[(Edit, u64)],
) -> Result<(), WriteError> {
    let jumps = jumps.iter().map(|(edit, _)| edit);
    let edits: Vec<Edit> = rooms.iter().chain(jumps).cloned().collect();
    // SAFETY: the caller's contract.
    unsafe { patch::write(target.text.clone(), &edits) }
}

/// Writes none, for now.
///
/// # Safety
/// None is needed.
unsafe fn leave(_: &Target, _: &[Edit], _: &[(Edit, u64)]) -> Result<(), WriteError> {
    Ok(())
}

/// Fills rooms and writes the jumps of `(edit, stub)` pairs in the target's text, all or none.
pub(super) type WriteJumps = unsafe fn(&Target, &[Edit], &[(Edit, u64)]) -> Result<(), WriteError>;

/// Makes the stubs, lets `write` lead their windows to them, and registers their
/// unwind table.
///
/// # Safety
/// As [`Engine::install`].
pub(super) unsafe fn install_with(
    target: &Target,
    windows: &[Window],
    mappings: &[Mapping],
    write: WriteJumps,
) -> Result<Installed, InstallError> {
    let rooms = windows.iter().filter(|w| w.room.is_some()).count();
    let most = HEADER
        + windows.len() * (RECORD + STUB_MAX)
        + cfi::size(windows.len())
        + rooms * cfi::size(1)
        + 64;
    let text = target.text.clone();
    let mut region = Region::near(text.start, text.end, most as u64, mappings)
        .map_err(InstallError::NoMemory)?;
    let built = build(target, windows, region.addr()).and_then(|built| {
        region
            .seal(&built.bytes)
            .map_err(InstallError::NotExecutable)?;
        // SAFETY: the caller's contract; the stubs are executable by now.
        unsafe { write(target, &built.rooms, &built.jumps)? };
        Ok(built)
    });
    let built = match built {
        Ok(built) => built,
        Err(error) => {
            // SAFETY: no jump to the region has been written.
            unsafe { region.free() };
            return Err(error);
        }
    };
    for &eh_frame in &built.eh_frames {
        // SAFETY: a well-formed section, which stays mapped while registered.
        unsafe { __register_frame(eh_frame as *const u8) };
    }
    let jumps = built.jumps.into_iter().map(|(edit, _)| edit);
    let undo = jumps.chain(built.rooms).map(|edit| Edit {
        addr: edit.addr,
        old: edit.new,
        new: edit.old,
    });
    Ok(Installed {
        text,
        region,
        sites: windows.len(),
        eh_frames: built.eh_frames,
        undo: undo.collect(),
        moved: built.moved,
    })
}

struct Built {
    bytes: Vec<u8>,
    jumps: Vec<(Edit, u64)>,
    /// What is written where no window is.
    rooms: Vec<Edit>,
    moved: Vec<(u64, u64)>,
    eh_frames: Vec<u64>,
}

/// Encodes a region that will lie at `base`, and the jumps to it.
fn build(target: &Target, windows: &[Window], base: u64) -> Result<Built, InstallError> {
    let stubs = HEADER + windows.len() * RECORD;
    let mut bytes = vec![0; stubs];
    bytes[..8].copy_from_slice(&target.entry.to_le_bytes());
    let mut jumps = Vec::with_capacity(windows.len());
    let mut entries = Vec::with_capacity(windows.len());
    let mut moved = Vec::new();
    for (i, window) in windows.iter().enumerate() {
        let record = HEADER + i * RECORD;
        let at = base + bytes.len() as u64;
        let targets = Targets {
            table: wanted::TABLE.as_ptr() as u64,
            entry_slot: base,
            record: base + record as u64,
        };
        let failed = |_| InstallError::Relocation(window.site);
        let stub = trampoline::encode(window, target.bias, at, &targets).map_err(failed)?;
        let new = trampoline::patch(window, target.bias, at).map_err(failed)?;
        let ra = window.ra().wrapping_add(target.bias);
        let resume = at + stub.resume as u64;
        bytes[record..record + 8].copy_from_slice(&resume.to_le_bytes());
        bytes[record + 8..record + RECORD].copy_from_slice(&ra.to_le_bytes());
        entries.push(cfi::Entry {
            start: at,
            len: stub.code.len() as u32,
            ra,
        });
        let edit = Edit {
            addr: window.start.wrapping_add(target.bias),
            old: window.bytes.clone(),
            new,
        };
        let places = stub.moved.iter();
        moved.extend(places.map(|&(old, new)| (edit.addr + old as u64, at + new as u64)));
        jumps.push((edit, at));
        bytes.extend(stub.code);
        bytes.resize(bytes.len().next_multiple_of(16), 0xcc);
    }
    let mut sections = vec![entries];
    let mut rooms = Vec::new();
    for (i, window) in windows.iter().enumerate() {
        let Some(room) = &window.room else {
            continue;
        };
        let failed = |_| InstallError::Relocation(window.site);
        let new = trampoline::fill(room, target.bias, jumps[i].1).map_err(failed)?;
        let holds = |w: &Window| w.start <= room.start && room.end() <= w.end;
        if let Some(at) = windows.iter().position(holds) {
            let offset = (room.start - windows[at].start) as usize;
            jumps[at].0.new[offset..][..new.len()].copy_from_slice(&new);
        } else {
            rooms.push(Edit {
                addr: room.start.wrapping_add(target.bias),
                old: room.bytes.to_vec(),
                new: new.to_vec(),
            });
        }
        // The jump is at no other place of the stack than the site.
        sections.push(vec![cfi::Entry {
            start: room.start.wrapping_add(target.bias),
            len: new.len() as u32,
            ra: window.ra().wrapping_add(target.bias),
        }]);
    }
    let mut eh_frames = Vec::with_capacity(sections.len());
    for entries in sections {
        let at = base + bytes.len() as u64;
        bytes.extend(cfi::eh_frame(at, &entries).ok_or(InstallError::Relocation(base))?);
        eh_frames.push(at);
    }
    Ok(Built {
        bytes,
        jumps,
        rooms,
        moved,
        eh_frames,
    })
}

/// Takes the unwind tables of stubs that are about to be unmapped out of use.
///
/// # Safety
/// As [`Region::free`]; `installed` came from this engine.
pub unsafe fn forget(installed: Installed) {
    // SAFETY: registered by `install` and not taken out since.
    unsafe {
        for &eh_frame in &installed.eh_frames {
            __deregister_frame(eh_frame as *const u8);
        }
        installed.region.free();
    }
}

/// The address behind the site whose stub's `syscall` returns to `resume`, if the stub is
/// one of these.
pub fn site_of(installed: &Installed, resume: u64) -> Option<u64> {
    let base = installed.region.addr();
    if !(base..base + installed.region.len()).contains(&resume) {
        return None;
    }
    // SAFETY: the region begins with a header and a record for each site, which stay as
    // they are for as long as it is installed.
    let records = unsafe {
        let first = std::ptr::with_exposed_provenance::<SiteRecord>(base as usize + HEADER);
        std::slice::from_raw_parts(first, installed.sites)
    };
    let record = records.iter().find(|record| record.resume == resume);
    record.map(|record| record.ra)
}

// libgcc_s, which Rust's own unwinding links.
unsafe extern "C" {
    fn __register_frame(begin: *const u8);
    fn __deregister_frame(begin: *const u8);
}
