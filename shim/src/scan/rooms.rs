//! Padding: bytes that no path reaches, where a jump can be written.

use std::ops::Range;

use iced_x86::{Code, Instruction};

use super::{decode, ends_flow};
use crate::image::Segment;
use crate::unwind::Unwind;

/// Collects the padding between the functions that overlap `near`.
pub(super) fn between_functions(
    text: &Segment<'_>,
    unwind: &Unwind<'_>,
    near: Range<u64>,
    found: &mut Vec<Range<u64>>,
) {
    let mut at = near.end;
    while let Some((function, next)) = unwind.at_or_before(at) {
        let next = next.unwrap_or(text.end()).min(text.end());
        let is_whole = text.addr <= function.start && function.end <= next;
        if is_whole && !function.signal_return && next > near.start {
            let code = decode(text, function.start, function.end);
            let ends = code
                .last()
                .is_some_and(|last| ends_flow(last) && last.next_ip() == function.end);
            if ends && is_padding(&decode(text, function.end, next)) {
                found.push(function.end..next);
            }
        }
        if function.start <= near.start || function.start == 0 {
            return;
        }
        at = function.start - 1;
    }
}

/// Collects the padding inside a function all of whose jumps are known.
pub(super) fn inside(code: &[Instruction], near: Range<u64>, found: &mut Vec<Range<u64>>) {
    let mut last = None;
    for i in code {
        if let Some(gap) = last {
            let gap: Range<u64> = gap;
            if is_filler(i) {
                last = Some(gap.start..i.next_ip());
                continue;
            }
            if !gap.is_empty() && gap.start < near.end && near.start < gap.end {
                found.push(gap);
            }
        }
        last = ends_flow(i).then(|| i.next_ip()..i.next_ip());
    }
}

fn is_padding(code: &[Instruction]) -> bool {
    !code.is_empty() && code.iter().all(is_filler)
}

/// Whether it is what compilers and assemblers fill with.
fn is_filler(i: &Instruction) -> bool {
    matches!(
        i.code(),
        Code::Nopw | Code::Nopd | Code::Nopq | Code::Nop_rm16 | Code::Nop_rm32 | Code::Nop_rm64
    ) || i.code() == Code::Int3
}
