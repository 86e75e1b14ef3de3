//! An object that is loaded, and the plan for it.
#![allow(unsafe_code)]

use patch_events::target;

use super::ArmError;
use crate::cache::{self, Cache};
use crate::image::{Image, Layout};
use crate::maps::{Kind, Mapping, Object};
use crate::patch::{Edit, PAGE};
use crate::plan::{Plan, Window, plan};
use crate::scan::{Wanted, candidates, scan};

/// An object that is loaded, as bytes.
pub(super) struct Loaded<'a> {
    pub(super) kind: Kind,
    pub(super) bias: u64,
    pub(super) image: Image<'a>,
}

impl Loaded<'_> {
    /// Of an object whose mappings are complete.
    pub(super) fn new(object: &Object) -> Result<Self, ArmError> {
        let first = &object.mappings[0];
        if !first.read {
            return Err(ArmError::Unmapped);
        }
        // SAFETY: the mapping is readable, and is not unmapped while we look:
        // this is the only thread, or `be_late`'s contract.
        let header = unsafe { memory(first.start, first.end - first.start) };
        let layout = Layout::parse(header)?;
        let base = layout
            .loads
            .iter()
            .find(|l| l.offset & !(PAGE - 1) == 0)
            .ok_or(ArmError::Unmapped)?;
        let bias = first.start.wrapping_sub(base.addr & !(PAGE - 1));
        let mut parts: Vec<&[u8]> = Vec::new();
        for load in &layout.loads {
            let start = load.addr.wrapping_add(bias);
            let end = start.wrapping_add(load.size);
            let fits = |m: &Mapping| m.read && !m.write && m.exec == load.exec;
            let covered = object
                .mappings
                .iter()
                .any(|m| fits(m) && m.start <= start && end <= m.end);
            if load.exec && !covered {
                return Err(ArmError::Unmapped);
            }
            parts.push(if covered {
                // SAFETY: as above, and nothing writes there: our own edits come
                // after the last use of the plan's input.
                unsafe { memory(start, load.size) }
            } else {
                &[]
            });
        }
        let image = Image::new(&layout, &parts)?;
        Ok(Self {
            kind: object.kind,
            bias,
            image,
        })
    }

    /// `undo` are edits that restore what of its text is patched already.
    pub(super) fn plan(
        &self,
        wanted: Wanted,
        live: &[u64],
        cache: Option<&Cache>,
        undo: &[Edit],
    ) -> Plan {
        let found = candidates(&self.image, wanted);
        if found.is_empty() {
            return Plan::default();
        }
        let bytes = |start, end| self.image.get(start, end - start);
        let cache = cache.zip(self.image.build_id).map(|(cache, id)| {
            let originals: Vec<_> = undo
                .iter()
                .map(|edit| (edit.addr.wrapping_sub(self.bias), &edit.new[..]))
                .collect();
            let digest = cache::digest(&self.image, &found, &originals);
            (cache, [id, &digest.to_le_bytes()].concat())
        });
        let kept = cache
            .as_ref()
            .and_then(|(cache, id)| cache.load(id, wanted))
            .filter(|plan| cache::fits(plan, &found, |start, len| self.image.get(start, len)));
        let general = kept.unwrap_or_else(|| {
            let general = plan(&scan(&self.image, &found, &[]), bytes);
            if let Some((cache, id)) = &cache
                && let Err(error) = cache.store(id, wanted, &general)
            {
                tracing::debug!(target: target::PATCH, "a plan could not be kept: {error}");
            }
            general
        });
        let live: Vec<u64> = live.iter().map(|a| a.wrapping_sub(self.bias)).collect();
        let hit = |w: &Window| live.iter().any(|&a| w.start < a && a < w.end);
        if general.windows.iter().any(hit) {
            return plan(&scan(&self.image, &found, &live), bytes);
        }
        general
    }
}

/// # Safety
/// The bytes must be mapped, readable and unchanged for as long as the slice is
/// used.
unsafe fn memory<'a>(start: u64, len: u64) -> &'a [u8] {
    // SAFETY: the caller's contract.
    unsafe {
        std::slice::from_raw_parts(
            std::ptr::with_exposed_provenance(start as usize),
            len as usize,
        )
    }
}
