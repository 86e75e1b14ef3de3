//! Jumps, calls and address loads of four bytes that may lead to a place from anywhere in a
//! text.

use std::collections::HashMap;
use std::ops::Range;

use iced_x86::{Code, Instruction, OpKind};

use super::decode;
use crate::arch;
use crate::image::Segment;
use crate::unwind::Unwind;

/// Bytes of text that one bit stands for.
const GRANULE: usize = 64;

/// What may be an instruction that leads somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hit {
    /// Where it leads.
    pub target: u64,
    /// Its opcode's address.
    opcode: u64,
    /// The address after it.
    end: u64,
}

/// Collects what may be a 4-byte jump, call or `lea` from anywhere in `text` to
/// the neighbourhood of one of `places`.
pub(super) fn hits(
    text: &Segment<'_>,
    places: impl Iterator<Item = Range<u64>>,
    found: &mut Vec<Hit>,
) {
    let places = places
        .map(|place| place.start.max(text.addr)..place.end.min(text.end()))
        .filter(|place| !place.is_empty());
    // One bit for each granule of those places.
    let mut near = vec![0u64; text.bytes.len() / GRANULE / 64 + 1];
    let mut any = false;
    for place in places {
        any = true;
        let first = (place.start - text.addr) as usize / GRANULE;
        let last = (place.end - 1 - text.addr) as usize / GRANULE;
        for granule in first..=last {
            near[granule / 64] |= 1 << (granule % 64);
        }
    }
    if !any {
        return;
    }
    let mut check = |at: usize| {
        let opcode = if text.bytes[at] & 0xfe == 0xe8 { 1 } else { 2 };
        let word = text.bytes.get(at + opcode..).and_then(<[u8]>::first_chunk);
        let Some(word) = word else {
            return;
        };
        // In 32 bits a negative target wraps around to beyond any text.
        let end = (at + opcode + 4) as u32;
        let target = u32::from_le_bytes(*word).wrapping_add(end) as usize;
        if target < text.bytes.len()
            && near[target / GRANULE / 64] & 1 << (target / GRANULE % 64) != 0
        {
            found.push(Hit {
                target: text.addr + target as u64,
                opcode: text.addr + at as u64,
                end: text.addr + (at + opcode + 4) as u64,
            });
        }
    };
    let mut at = 0;
    while at < text.bytes.len() {
        let rest = &text.bytes[at..];
        let mut last = [0; arch::BLOCK + 1];
        let block = rest.first_chunk().unwrap_or_else(|| {
            last[..rest.len()].copy_from_slice(rest);
            &last
        });
        let mut opcodes = arch::displacement_opcodes(block);
        while opcodes != 0 {
            check(at + opcodes.trailing_zeros() as usize);
            opcodes &= opcodes - 1;
        }
        at += arch::BLOCK;
    }
}

/// Tells hits from bytes that only look like them.
pub(super) struct Sources<'s, 'a> {
    text: Segment<'a>,
    unwind: &'s Unwind<'a>,
    /// Functions by their begins.
    decoded: HashMap<u64, Vec<Instruction>>,
}

impl<'s, 'a> Sources<'s, 'a> {
    pub(super) fn new(text: Segment<'a>, unwind: &'s Unwind<'a>) -> Self {
        Self {
            text,
            unwind,
            decoded: HashMap::new(),
        }
    }

    /// Whether the bytes are in this text.
    pub(super) fn holds(&self, hit: &Hit) -> bool {
        (self.text.addr..self.text.end()).contains(&hit.opcode)
    }

    /// Whether the function that holds the bytes shows that they are no such instruction.
    pub(super) fn disprove(&mut self, hit: &Hit) -> bool {
        let Some((function, _)) = self.unwind.at_or_before(hit.opcode) else {
            return false;
        };
        let text = &self.text;
        let is_whole = text.addr <= function.start && function.end <= text.end();
        if !is_whole || hit.end > function.end || function.signal_return {
            return false;
        }
        let code = self
            .decoded
            .entry(function.start)
            .or_insert_with(|| decode(text, function.start, function.end));
        if code.last().is_none_or(|last| last.is_invalid()) {
            return false;
        }
        let after = code.partition_point(|i| i.ip() <= hit.opcode);
        let Some(i) = after.checked_sub(1).map(|at| &code[at]) else {
            return false;
        };
        let leads = i.op_count() > 0 && i.op0_kind() == OpKind::NearBranch64
            || i.is_ip_rel_memory_operand() && i.code() != Code::Nop_rm64;
        // An instruction has prefixes in front of its opcode.
        !(leads && i.next_ip() == hit.end)
    }
}
