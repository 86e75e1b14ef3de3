//! Evaluates a seccomp filter: what the kernel will answer to a call.
//!
//! A filter is a program for the classic BPF machine (bpf(4), seccomp(2)) that sees a
//! `struct seccomp_data` and returns an action. The kernel's verifier lets a filter have only
//! the instructions below, and jumps that go forward inside it; whatever else this finds is
//! an [`Error`], so that bytes of any kind end in bounded time and read nothing else.

/// Most instructions of a filter (BPF_MAXINSNS).
pub const MOST: usize = 4096;

/// One instruction: `struct sock_filter`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip if a comparison holds.
    pub jt: u8,
    /// As `jt`, if it does not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// What a filter sees: `struct seccomp_data` of a call by the `syscall` instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Data {
    /// Number of the call.
    pub nr: u32,
    /// AUDIT_ARCH_* of the call.
    pub arch: u32,
    /// Address behind the instruction.
    pub instruction_pointer: u64,
    /// Arguments.
    pub args: [u64; 6],
}

/// Bytes of `struct seccomp_data`.
const SIZE: u32 = 64;

impl Data {
    /// The aligned 32-bit word at `offset`, as the kernel's native byte order has it.
    fn word(&self, offset: u32) -> Option<u32> {
        if offset >= SIZE || !offset.is_multiple_of(4) {
            return None;
        }
        let half = |value: u64| match offset % 8 {
            0 => value as u32,
            _ => (value >> 32) as u32,
        };
        Some(match offset {
            0 => self.nr,
            4 => self.arch,
            8 | 12 => half(self.instruction_pointer),
            _ => half(self.args[(offset as usize - 16) / 8]),
        })
    }
}

/// No filter that a kernel takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Error;

// Classes, modes, sources and operations of linux/bpf_common.h.
const CLASS: u16 = 0x07;
const LD: u16 = 0x00;
const LDX: u16 = 0x01;
const ST: u16 = 0x02;
const STX: u16 = 0x03;
const ALU: u16 = 0x04;
const JMP: u16 = 0x05;
const RET: u16 = 0x06;
const MISC: u16 = 0x07;
const SOURCE_X: u16 = 0x08;
const MODE: u16 = 0xe0;
const IMM: u16 = 0x00;
const ABS: u16 = 0x20;
const MEM: u16 = 0x60;
const LEN: u16 = 0x80;
const RETURN_A: u16 = 0x10;
const TXA: u16 = 0x80;

/// Runs the filter; its action (SECCOMP_RET_*).
///
/// # Errors
/// It is none that the kernel would take.
pub fn run(filter: &[Instruction], data: &Data) -> Result<u32, Error> {
    let (mut a, mut x, mut memory) = (0u32, 0u32, [0u32; 16]);
    let mut at = 0usize;
    // Jumps only go forward, so this ends.
    loop {
        let Instruction { code, jt, jf, k } = *filter.get(at).ok_or(Error)?;
        at += 1;
        let operand = if code & SOURCE_X != 0 { x } else { k };
        match code & CLASS {
            LD => {
                a = match code & MODE {
                    IMM => k,
                    ABS => data.word(k).ok_or(Error)?,
                    MEM => *memory.get(k as usize).ok_or(Error)?,
                    LEN => SIZE,
                    _ => return Err(Error),
                }
            }
            LDX => {
                x = match code & MODE {
                    IMM => k,
                    MEM => *memory.get(k as usize).ok_or(Error)?,
                    LEN => SIZE,
                    _ => return Err(Error),
                }
            }
            ST => *memory.get_mut(k as usize).ok_or(Error)? = a,
            STX => *memory.get_mut(k as usize).ok_or(Error)? = x,
            ALU => {
                a = match code & 0xf0 {
                    0x00 => a.wrapping_add(operand),
                    0x10 => a.wrapping_sub(operand),
                    0x20 => a.wrapping_mul(operand),
                    // The kernel's program returns 0 where X is 0.
                    0x30 if code & SOURCE_X != 0 && operand == 0 => return Ok(0),
                    0x30 => a.checked_div(operand).ok_or(Error)?,
                    0x40 => a | operand,
                    0x50 => a & operand,
                    0x60 => a.wrapping_shl(operand),
                    0x70 => a.wrapping_shr(operand),
                    0x80 => a.wrapping_neg(),
                    0xa0 => a ^ operand,
                    _ => return Err(Error),
                }
            }
            JMP => {
                let holds = match code & 0xf0 {
                    0x00 => {
                        at = at.checked_add(k as usize).ok_or(Error)?;
                        continue;
                    }
                    0x10 => a == operand,
                    0x20 => a > operand,
                    0x30 => a >= operand,
                    0x40 => a & operand != 0,
                    _ => return Err(Error),
                };
                at += usize::from(if holds { jt } else { jf });
            }
            RET if code & 0x18 == RETURN_A => return Ok(a),
            RET => return Ok(k),
            MISC if code & 0xf8 == TXA => a = x,
            MISC => x = a,
            _ => return Err(Error),
        }
    }
}

/// The action that wins if several filters are installed: the kernel takes the most
/// restrictive one, by the order of seccomp(2).
pub fn stricter(one: u32, other: u32) -> u32 {
    const ACTION: u32 = 0xffff_0000;
    // SECCOMP_RET_KILL_PROCESS is the smallest as a signed number.
    if (other & ACTION).cast_signed() < (one & ACTION).cast_signed() {
        other
    } else {
        one
    }
}

/// Whether an action lets the kernel carry the call out.
pub fn lets_pass(action: u32) -> bool {
    const ALLOW: u32 = 0x7fff_0000;
    const LOG: u32 = 0x7ffc_0000;
    matches!(action & 0xffff_0000, ALLOW | LOG)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALLOW: u32 = 0x7fff_0000;
    const ERRNO: u32 = 0x0005_0000;
    const KILL: u32 = 0x8000_0000;

    fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
        Instruction { code, jt, jf, k }
    }

    fn data(nr: u32, args: [u64; 6]) -> Data {
        Data {
            nr,
            arch: 0xc000_003e,
            instruction_pointer: 0x1234_5678_9abc,
            args,
        }
    }

    /// Allows the numbers, and answers ERRNO|1 to the rest.
    fn list(allowed: &[u32]) -> Vec<Instruction> {
        let mut filter = vec![instruction(0x20, 0, 0, 0)];
        for &nr in allowed {
            filter.push(instruction(0x15, 0, 1, nr));
            filter.push(instruction(0x06, 0, 0, ALLOW));
        }
        filter.push(instruction(0x06, 0, 0, ERRNO | 1));
        filter
    }

    #[test]
    fn a_list_allows_what_is_on_it() {
        let filter = list(&[0, 1, 202]);
        assert_eq!(run(&filter, &data(202, [0; 6])), Ok(ALLOW));
        assert_eq!(run(&filter, &data(7, [0; 6])), Ok(ERRNO | 1));
    }

    #[test]
    fn both_halves_of_an_argument_are_seen() {
        let look = |offset| {
            let filter = [instruction(0x20, 0, 0, offset), instruction(0x16, 0, 0, 0)];
            run(&filter, &data(0, [0, 0x1111_2222_3333_4444, 0, 0, 0, 0]))
        };
        assert_eq!(look(24), Ok(0x3333_4444));
        assert_eq!(look(28), Ok(0x1111_2222));
        assert_eq!(look(8), Ok(0x5678_9abc));
        assert_eq!(look(12), Ok(0x1234));
        assert_eq!(look(4), Ok(0xc000_003e));
        assert_eq!(look(64), Err(Error));
        assert_eq!(look(2), Err(Error));
    }

    #[test]
    fn arithmetic_and_memory_work() {
        let filter = [
            instruction(0x00, 0, 0, 12),
            instruction(0x02, 0, 0, 3),
            instruction(0x07, 0, 0, 0),
            instruction(0x0c, 0, 0, 0),
            instruction(0x61, 0, 0, 3),
            instruction(0x1c, 0, 0, 0),
            instruction(0x34, 0, 0, 4),
            instruction(0x64, 0, 0, 2),
            instruction(0x16, 0, 0, 0),
        ];
        // (12 + 12 - 12) / 4 << 2
        assert_eq!(run(&filter, &data(0, [0; 6])), Ok(12));
    }

    #[test]
    fn a_filter_without_an_end_is_none() {
        assert_eq!(run(&[], &data(0, [0; 6])), Err(Error));
        assert_eq!(
            run(&[instruction(0x00, 0, 0, 1)], &data(0, [0; 6])),
            Err(Error)
        );
    }

    #[test]
    fn the_most_restrictive_action_wins() {
        assert_eq!(stricter(ALLOW, ERRNO | 1), ERRNO | 1);
        assert_eq!(stricter(ERRNO | 1, KILL), KILL);
        assert_eq!(stricter(KILL, 0), KILL);
        assert!(lets_pass(ALLOW) && !lets_pass(ERRNO) && !lets_pass(KILL) && !lets_pass(0));
    }

    proptest! {
        #[test]
        fn any_bytes_end(
            code in prop::collection::vec((any::<u16>(), any::<u8>(), any::<u8>(), any::<u32>()), 0..64),
            nr: u32,
            args: [u64; 6],
        ) {
            let filter: Vec<_> = code
                .into_iter()
                .map(|(code, jt, jf, k)| instruction(code, jt, jf, k))
                .collect();
            let _ = run(&filter, &data(nr, args));
        }

        #[test]
        fn a_list_is_exact(allowed in prop::collection::vec(0u32..500, 0..40), nr in 0u32..500) {
            let expected = if allowed.contains(&nr) { ALLOW } else { ERRNO | 1 };
            prop_assert_eq!(run(&list(&allowed), &data(nr, [0; 6])), Ok(expected));
        }

        #[test]
        fn the_order_of_filters_does_not_matter(a: u32, b: u32) {
            let mask = 0xffff_0000;
            prop_assert_eq!(stricter(a, b) & mask, stricter(b, a) & mask);
        }
    }
}
