//! Objects that hold the runtime of Go, which can't be served.
#![allow(unsafe_code)]

use std::ops::Range;

use gevent_runtime::executable::{Source, has_note_of_go, has_record_of_go, parts};

use crate::maps::{Mapping, Object};
use crate::patch::PAGE;

/// What is mapped of an object, readable.
struct Mapped<'a>(&'a Object);

impl Mapped<'_> {
    fn readable(&self) -> impl Iterator<Item = &Mapping> {
        self.0.mappings.iter().filter(|mapping| mapping.read)
    }

    /// The bytes of the parts of a range that are mapped, and their addresses.
    fn within(&self, range: Range<u64>) -> impl Iterator<Item = (u64, &[u8])> {
        self.readable().filter_map(move |mapping| {
            let start = mapping.start.max(range.start);
            let len = mapping.end.min(range.end).checked_sub(start)?;
            let from = std::ptr::with_exposed_provenance(start as usize);
            // SAFETY: readable, and not unmapped while we look, as in `Loaded::new`. It may
            // be data of the program's, no other thread of which runs.
            let bytes = unsafe { std::slice::from_raw_parts(from, len as usize) };
            Some((start, bytes))
        })
    }
}

impl Source for Mapped<'_> {
    fn fill(&self, at: u64, into: &mut [u8]) -> bool {
        let Some(end) = at.checked_add(into.len() as u64) else {
            return false;
        };
        let whole = self
            .within(at..end)
            .find(|(_, bytes)| bytes.len() == into.len());
        whole.is_some_and(|(_, bytes)| {
            into.copy_from_slice(bytes);
            true
        })
    }
}

/// Whether an object that is loaded holds Go's runtime.
pub(super) fn is_in(object: &Object) -> bool {
    let mapped = Mapped(object);
    let start = object.mappings[0].start;
    let first = parts(&mapped, start)
        .find(|part| part.kind == libc::PT_LOAD && part.offset & !(PAGE - 1) == 0);
    let Some(first) = first else {
        return false;
    };
    let bias = start.wrapping_sub(first.addr & !(PAGE - 1));
    parts(&mapped, start).any(|part| {
        let at = part.addr.wrapping_add(bias);
        match part.kind {
            libc::PT_NOTE => has_note_of_go(&mapped, at, part.size),
            libc::PT_LOAD if part.flags & libc::PF_W != 0 => mapped
                .within(at..at.saturating_add(part.size))
                .any(|(start, bytes)| has_record_of_go(bytes, start)),
            _ => false,
        }
    })
}
