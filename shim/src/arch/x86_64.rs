//! x86-64 Linux.
#![allow(unsafe_code)]

use core::arch::x86_64::{
    __m128i, _mm_and_si128, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_or_si128,
    _mm_set1_epi8,
};

/// Whether words of a stack may be the instruction pointer that the kernel saved when a
/// signal came, and the two after it: flags, of which one is always set, and segments, which
/// begin with that of a program's code.
pub fn may_be_interrupted(words: [u64; 3]) -> bool {
    /// User code of a 64-bit process.
    const CODE: u16 = 0x33;
    let [_, flags, segments] = words;
    flags & 2 != 0 && flags < 1 << 22 && segments as u16 == CODE
}

/// Bytes that [`displacement_opcodes`] answers for.
pub const BLOCK: usize = 16;

/// A bit for each of the first 16 bytes that may be the opcode of an instruction
/// with a 4-byte displacement to code: `call` (e8), `jmp` (e9), `jcc` (0f 8x) or
/// `lea` with an operand relative to the instruction (8d, mod 00 rm 101).
#[inline(always)]
pub fn displacement_opcodes(bytes: &[u8; BLOCK + 1]) -> u16 {
    // SAFETY: SSE2 is part of the target, and both loads are within `bytes`.
    unsafe {
        let first = _mm_loadu_si128(bytes.as_ptr().cast::<__m128i>());
        let second = _mm_loadu_si128(bytes.as_ptr().add(1).cast::<__m128i>());
        let is = |v, mask: u8, value: u8| {
            let masked = _mm_and_si128(v, _mm_set1_epi8(mask as i8));
            _mm_cmpeq_epi8(masked, _mm_set1_epi8(value as i8))
        };
        let branch = is(first, 0xfe, 0xe8);
        let jcc = _mm_and_si128(is(first, 0xff, 0x0f), is(second, 0xf0, 0x80));
        let lea = _mm_and_si128(is(first, 0xff, 0x8d), is(second, 0xc7, 0x05));
        _mm_movemask_epi8(_mm_or_si128(branch, _mm_or_si128(jcc, lea))) as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_exactly_the_opcodes() {
        for a in 0..=255u8 {
            for b in 0..=255u8 {
                let mut bytes = [0; BLOCK + 1];
                bytes[15] = a;
                bytes[16] = b;
                let want = matches!(a, 0xe8 | 0xe9)
                    || a == 0x0f && b & 0xf0 == 0x80
                    || a == 0x8d && b & 0xc7 == 0x05;
                assert_eq!(displacement_opcodes(&bytes), (want as u16) << 15);
            }
        }
    }
}
