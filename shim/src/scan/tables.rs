//! Where the indirect jumps of a function lead.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use iced_x86::{
    Code, FlowControl, Instruction, InstructionInfoFactory, OpAccess, OpKind, Register,
};

use super::{Refusal, ends_flow};
use crate::image::Image;

/// Longest jump table that is followed.
const TABLE_MAX: usize = 1024;
/// Most instructions that are looked at to learn where one jump's target comes from.
const ORIGIN_MAX: usize = 4096;

/// Finds the targets of the function's indirect jumps.
///
/// Compilers load an offset or an address from a table whose address the
/// function takes, or that is an operand. An offset is from the table itself, or from a
/// place in the text whose address the function takes, as GNU C's `&&a - &&b` has it. Every
/// such address is read as a table of all forms: what is read too much only adds boundaries.
/// A jump through a register or a pointer with no sign of a table is a tail call.
pub(super) fn jump_tables(
    image: &Image<'_>,
    instructions: &[Instruction],
    function: Range<u64>,
) -> Result<Vec<u64>, Refusal> {
    let mut bounds = Vec::new();
    let jumps = || {
        let indirect =
            |&(_, i): &(usize, &Instruction)| i.flow_control() == FlowControl::IndirectBranch;
        instructions.iter().enumerate().filter(indirect)
    };
    let by_table = jumps().any(|(_, i)| i.op0_kind() == OpKind::Memory && is_indexed(i));
    let mut by_register = jumps().filter(|(_, i)| i.op0_kind() == OpKind::Register);
    let loads_entry = instructions.iter().any(|i| {
        i.op_count() == 2
            && i.op1_kind() == OpKind::Memory
            && is_indexed(i)
            && match i.memory_index_scale() {
                4 => i.code() == Code::Movsxd_r64_rm32,
                8 => i.code() == Code::Mov_r64_rm64,
                _ => false,
            }
    });
    let mut is_table = || {
        let origins = Origins::new(instructions);
        by_register.any(|(at, i)| !origins.is_plain_pointer(at, i.op0_register()))
    };
    if !(by_table || loads_entry && is_table()) {
        return Ok(bounds);
    }
    let taken = |i: &Instruction| {
        (i.is_ip_rel_memory_operand() && i.code() == Code::Lea_r64_m)
            .then(|| i.ip_rel_memory_address())
    };
    let in_text = |a: &u64| image.text_at(*a).is_some();
    let mut places: Vec<u64> = instructions
        .iter()
        .filter_map(taken)
        .filter(in_text)
        .collect();
    places.sort_unstable();
    places.dedup();
    let mut tables: Vec<u64> = Vec::new();
    for i in instructions {
        if let Some(table) = taken(i) {
            tables.push(table);
        } else if is_indexed(i) && i.memory_displacement64() != 0 && image.fixed {
            tables.push(i.memory_displacement64());
        }
    }
    tables.sort_unstable();
    tables.dedup();
    let mut found = false;
    for table in tables {
        let Some(bytes) = image.from(table).filter(|_| !in_text(&table)) else {
            continue;
        };
        for &base in [table].iter().chain(&places) {
            let offsets = bytes.chunks_exact(4).map(|c| {
                base.wrapping_add(i32::from_le_bytes([c[0], c[1], c[2], c[3]]) as i64 as u64)
            });
            // The last case may jump to the function's end in its cold part.
            for target in offsets.take(TABLE_MAX).take_while(in_text) {
                found |= function.contains(&target);
                bounds.push(target);
            }
        }
        let addresses = bytes
            .chunks_exact(8)
            .map(|c| u64::from_le_bytes([c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]]));
        for target in addresses.take(TABLE_MAX).take_while(in_text) {
            found |= function.contains(&target);
            bounds.push(target);
        }
    }
    bounds.sort_unstable();
    bounds.dedup();
    if found {
        Ok(bounds)
    } else {
        Err(Refusal::IndirectJump)
    }
}

fn is_indexed(i: &Instruction) -> bool {
    i.memory_index() != Register::None
}

/// Where the values of registers come from, within one function.
struct Origins<'a> {
    instructions: &'a [Instruction],
    /// By address: the direct jumps that lead there.
    jumps: HashMap<u64, Vec<usize>>,
}

/// What one instruction does to a value that is looked for.
enum Step {
    /// Nothing.
    Keeps,
    /// It comes from this register.
    From(Register),
    /// It is a function pointer, from memory or from a call.
    Pointer,
    /// It may be computed from a table.
    Unknown,
}

impl<'a> Origins<'a> {
    fn new(instructions: &'a [Instruction]) -> Self {
        let mut jumps: HashMap<u64, Vec<usize>> = HashMap::new();
        for (at, i) in instructions.iter().enumerate() {
            if i.op_count() > 0 && i.op0_kind() == OpKind::NearBranch64 {
                jumps.entry(i.near_branch_target()).or_default().push(at);
            }
        }
        Self {
            instructions,
            jumps,
        }
    }

    /// Whether on every path to instruction `at` the register was given a pointer that no
    /// index chose: an argument, a variable, the result of a call.
    fn is_plain_pointer(&self, at: usize, register: Register) -> bool {
        let mut seen = HashSet::new();
        let mut rest = vec![(at, register)];
        while let Some((at, register)) = rest.pop() {
            if !seen.insert((at, register)) {
                continue;
            }
            if seen.len() > ORIGIN_MAX {
                return false;
            }
            let falls = at
                .checked_sub(1)
                .filter(|&before| !ends_flow(&self.instructions[before]));
            let jumps = self.jumps.get(&self.instructions[at].ip());
            let mut reached = at == 0;
            for before in falls
                .into_iter()
                .chain(jumps.into_iter().flatten().copied())
            {
                reached = true;
                match step(&self.instructions[before], register) {
                    Step::Keeps => rest.push((before, register)),
                    Step::From(other) => rest.push((before, other)),
                    Step::Pointer => {}
                    Step::Unknown => return false,
                }
            }
            if !reached {
                // Only an indirect jump, or the unwinder, leads there.
                return false;
            }
        }
        true
    }
}

/// Looks at what an instruction does to a whole register.
fn step(i: &Instruction, register: Register) -> Step {
    if i.code() == Code::Syscall {
        return match register {
            Register::RAX | Register::RCX | Register::R11 => Step::Unknown,
            _ => Step::Keeps,
        };
    }
    let is_call = matches!(
        i.flow_control(),
        FlowControl::Call | FlowControl::IndirectCall
    );
    if is_call {
        return match register {
            Register::RBX
            | Register::RBP
            | Register::R12
            | Register::R13
            | Register::R14
            | Register::R15 => Step::Keeps,
            _ => Step::Pointer,
        };
    }
    let mut info = InstructionInfoFactory::new();
    let writes = info.info(i).used_registers().iter().any(|used| {
        used.register().full_register() == register
            && !matches!(used.access(), OpAccess::Read | OpAccess::CondRead)
    });
    if !writes {
        return Step::Keeps;
    }
    match (i.code(), i.op1_kind()) {
        (Code::Mov_r64_rm64, OpKind::Memory) if !is_indexed(i) => match i.memory_base() {
            Register::None | Register::RIP => Step::Pointer,
            // What has been put aside there is not followed.
            Register::RSP => Step::Unknown,
            base => Step::From(base),
        },
        (Code::Mov_r64_rm64 | Code::Mov_rm64_r64, OpKind::Register) => Step::From(i.op1_register()),
        // A mangled pointer.
        (Code::Ror_rm64_imm8, _) => Step::Keeps,
        (Code::Xor_r64_rm64, OpKind::Memory) if i.segment_prefix() == Register::FS => Step::Keeps,
        _ => Step::Unknown,
    }
}
