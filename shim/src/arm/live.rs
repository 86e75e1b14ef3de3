//! Addresses in the text at which the calling thread goes on.
#![allow(unsafe_code)]

use crate::arch::may_be_interrupted;
use crate::maps::Mapping;

/// Bytes of a stack that are looked at; a stack within a larger mapping ends
/// somewhere before.
const STACK_MAX: u64 = 64 << 20;

/// Where contexts on the calling thread's stack go on that a signal has interrupted: the
/// only addresses that may lie inside a window, since none has a call in it. Scanned from
/// here to the end of the mapping that holds the stack, or as far as a stack reaches.
#[inline(never)]
pub(super) fn live_addresses(mappings: &[Mapping]) -> Vec<u64> {
    let here = std::hint::black_box([0u64; 1]);
    let from = (here.as_ptr() as u64).next_multiple_of(8);
    let texts: Vec<_> = mappings
        .iter()
        .filter(|m| m.exec)
        .map(|m| m.start..m.end)
        .collect();
    let Some(stack) = mappings.iter().find(|m| m.start <= from && from < m.end) else {
        return Vec::new();
    };
    (from..stack.end.min(from + STACK_MAX).saturating_sub(16))
        .step_by(8)
        .map(|at| {
            let words: *const [u64; 3] = std::ptr::with_exposed_provenance(at as usize);
            // SAFETY: within the mapping of this thread's own stack, above its
            // stack pointer.
            unsafe { words.read_volatile() }
        })
        .filter(|words| texts.iter().any(|t| t.contains(&words[0])))
        .filter(|&words| may_be_interrupted(words))
        .map(|[ip, ..]| ip)
        .collect()
}
