//! Finds the sites of an object, and every address that other code may jump to
//! near them. Pure: bytes in, facts out.
//!
//! A site is two bytes `0f 05` that linear decoding from the begin of the
//! function that contains them shows to be an instruction. Functions come from
//! the object's unwind tables. Hand-written code ends an entry of the tables in
//! front of a `syscall` that returns twice (glibc's `clone`); such a gap is
//! decoded from the entry before it, and counts only if control falls into it.
//! A candidate in any other code without an entry is refused.
//!
//! A *boundary* is an address where execution may arrive other than from the
//! instruction before it. A patch window may begin at one, never contain one:
//!
//! - targets of direct jumps and calls: decoded in the function itself and in
//!   those close enough for a short jump; over the whole text for the 4-byte
//!   forms, where every byte position that reads as a jump or `lea` to the
//!   neighbourhood of a site counts, decoded or not (a superset, and many times
//!   faster than decoding a whole libc);
//! - return points: addresses after calls;
//! - entries of jump tables, landing pads, begins of functions;
//! - what the caller adds: addresses found on a live stack.

use std::collections::HashSet;

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, OpKind, Register};
use memchr::memmem;

use crate::arch;
use crate::image::{Image, Segment};
use crate::unwind::{Function, Unwind, landing_pads};

/// Bytes before a site that a window can reach.
const REACH_BEFORE: u64 = 40;
/// Bytes after a site's begin that a window can reach.
const REACH_AFTER: u64 = 40;
/// How far a short jump reaches, with its own length.
const SHORT_JUMP: u64 = 130;
/// Longest jump table that is followed.
const TABLE_MAX: usize = 1024;

/// Why a site stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// The return from a signal handler: the kernel finds its frame at `rsp`,
    /// and unwinders know it by its bytes.
    #[error("is a return from a signal handler")]
    SignalReturn,
    /// Nothing proves that the bytes are an instruction.
    #[error("is in no known function")]
    NoFunction,
    /// The bytes are part of another instruction, or of data.
    #[error("is not an instruction")]
    NotAnInstruction,
    /// The function has an indirect jump whose targets are unknown.
    #[error("is in a function with an indirect jump to unknown targets")]
    IndirectJump,
    /// The function's table of landing pads can't be read.
    #[error("is in a function with unknown landing pads")]
    LandingPads,
    /// No five bytes around it can be moved.
    #[error("has no neighbours that can be moved")]
    NoWindow,
    /// The displaced instructions can't be encoded at the stub's address.
    #[error("has neighbours that can't be encoded in its stub")]
    Relocation,
}

impl Refusal {
    /// Whether the site must be left alone in every plan, so that it says
    /// nothing against the object.
    pub fn is_expected(self) -> bool {
        matches!(self, Self::SignalReturn | Self::NotAnInstruction)
    }
}

/// A run of instructions decoded from the begin of one function.
#[derive(Debug, Clone)]
pub struct Body {
    /// Its instructions; the last one may be invalid.
    pub instructions: Vec<Instruction>,
    /// Indices of its `syscall` instructions.
    pub sites: Vec<usize>,
}

/// Sorted addresses where execution may arrive.
#[derive(Debug, Clone, Default)]
pub struct Boundaries(Vec<u64>);

impl Boundaries {
    /// Of a list in any order.
    pub fn new(mut addrs: Vec<u64>) -> Self {
        addrs.sort_unstable();
        addrs.dedup();
        Self(addrs)
    }

    /// Whether one lies strictly between `start` and `end`.
    pub fn inside(&self, start: u64, end: u64) -> bool {
        let first = self.0.partition_point(|&a| a <= start);
        self.0.get(first).is_some_and(|&a| a < end)
    }
}

/// What there is to plan with.
#[derive(Debug, Clone, Default)]
pub struct Scan {
    /// The functions with sites, ascending.
    pub bodies: Vec<Body>,
    /// Where windows may not reach over.
    pub boundaries: Boundaries,
    /// Candidates that are not sites, or not usable.
    pub refused: Vec<(u64, Refusal)>,
}

/// Which sites to look for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// All.
    All,
    /// Those whose number is loaded right before them and is `clone` or
    /// `clone3`.
    ThreadCreation,
}

/// Candidates: places of the two bytes, ascending.
pub fn candidates(image: &Image<'_>, wanted: Wanted) -> Vec<u64> {
    let finder = memmem::Finder::new(b"\x0f\x05");
    let mut found = Vec::new();
    for text in image.texts() {
        found.extend(
            finder
                .find_iter(text.bytes)
                .filter(|&at| wanted == Wanted::All || loads_clone(&text.bytes[..at]))
                .map(|at| text.addr + at as u64),
        );
    }
    found
}

/// Whether the bytes before a candidate contain `mov eax, clone` or `clone3`.
fn loads_clone(before: &[u8]) -> bool {
    let near = &before[before.len().saturating_sub(16)..];
    [libc::SYS_clone, libc::SYS_clone3].iter().any(|&nr| {
        let imm = (nr as u32).to_le_bytes();
        near.windows(5).any(|w| w[0] == 0xb8 && w[1..] == imm)
            || near
                .windows(7)
                .any(|w| w[..3] == [0x48, 0xc7, 0xc0] && w[3..] == imm)
    })
}

/// Proves the candidates and collects the boundaries around them. `live` are
/// further boundaries, as link-time addresses.
pub fn scan(image: &Image<'_>, candidates: &[u64], live: &[u64]) -> Scan {
    let Some(unwind) = Unwind::parse(image) else {
        let refused = candidates.iter().map(|&a| (a, Refusal::NoFunction));
        return Scan {
            refused: refused.collect(),
            ..Scan::default()
        };
    };
    let mut scanner = Scanner {
        image,
        unwind: &unwind,
        out: Scan::default(),
        bounds: live.to_vec(),
        seen: HashSet::new(),
    };
    let mut rest = candidates;
    while let Some(&first) = rest.first() {
        let taken = scanner.function_with(first, rest);
        rest = &rest[taken..];
    }
    let Scanner {
        mut out,
        mut bounds,
        ..
    } = scanner;
    for text in image.texts() {
        far_targets(&text, &out.bodies, &mut bounds);
    }
    out.boundaries = Boundaries::new(bounds);
    out
}

struct Scanner<'s, 'a> {
    image: &'s Image<'a>,
    unwind: &'s Unwind<'a>,
    out: Scan,
    bounds: Vec<u64>,
    /// Begins of the functions whose jumps are in `bounds`.
    seen: HashSet<u64>,
}

impl<'a> Scanner<'_, 'a> {
    /// Handles every candidate of `rest` in the function of the first one.
    /// Returns their number, at least one.
    fn function_with(&mut self, first: u64, rest: &[u64]) -> usize {
        let Some((function, text, end)) = self.locate(first) else {
            self.out.refused.push((first, Refusal::NoFunction));
            return 1;
        };
        let count = rest.partition_point(|&a| a < end).max(1);
        let here = &rest[..count];
        if function.signal_return {
            // Its entry begins one byte early, for unwinders that look up the
            // address before a return address: it can't be decoded from there.
            let refused = here.iter().map(|&a| (a, Refusal::SignalReturn));
            self.out.refused.extend(refused);
            return count;
        }
        let instructions = decode(&text, function.start, end);
        let mut sites = Vec::new();
        for &addr in here {
            match instructions.binary_search_by_key(&addr, |i| i.ip()) {
                Ok(i) if instructions[i].code() == Code::Syscall => {
                    if addr < function.end || falls_into(&instructions, function.end, i) {
                        sites.push(i);
                    } else {
                        self.out.refused.push((addr, Refusal::NoFunction));
                    }
                }
                _ if reaches(&instructions, addr) => {
                    self.out.refused.push((addr, Refusal::NotAnInstruction));
                }
                _ => self.out.refused.push((addr, Refusal::NoFunction)),
            }
        }
        if sites.is_empty() {
            return count;
        }
        let pads = landing_pads(self.image, &function).ok_or(Refusal::LandingPads);
        let tables = jump_tables(self.image, &instructions, function.start..end);
        let known = pads.and_then(|pads| Ok((pads, tables?)));
        if let Ok((pads, tables)) = &known {
            self.bounds.extend(pads.iter().chain(tables));
        }
        if let Err(refusal) = known {
            let refused = sites.iter().map(|&i| (instructions[i].ip(), refusal));
            self.out.refused.extend(refused);
            return count;
        }
        self.seen.insert(function.start);
        near_targets(&instructions, &mut self.bounds);
        if instructions[sites[0]].ip() - function.start < REACH_BEFORE + SHORT_JUMP {
            self.neighbours(
                &text,
                function.start.saturating_sub(SHORT_JUMP),
                function.start,
            );
        }
        let last = instructions[sites[sites.len() - 1]].ip();
        if end - last < REACH_AFTER + SHORT_JUMP {
            self.neighbours(&text, end, end + SHORT_JUMP);
        }
        self.out.bodies.push(Body {
            instructions,
            sites,
        });
        count
    }

    /// The function of `addr`, its text, and where linear decoding ends.
    fn locate(&mut self, addr: u64) -> Option<(Function, Segment<'a>, u64)> {
        let text = self.image.text_at(addr)?;
        let (function, next) = self.unwind.at_or_before(addr)?;
        if function.start < text.addr || function.end > text.end() {
            return None;
        }
        // Up to the next entry: the gap may be code that falls out of this one.
        let next = next.unwrap_or(text.end()).min(text.end());
        self.bounds.extend([function.start, next]);
        let end = if addr < function.end {
            function.end
        } else {
            next
        };
        (addr < end).then_some((function, text, end))
    }

    /// Collects the jump targets of the functions that overlap `from..to`.
    fn neighbours(&mut self, text: &Segment<'_>, from: u64, to: u64) {
        let mut at = to;
        while let Some((function, next)) = self.unwind.at_or_before(at) {
            // Code between two entries may jump too, as that of glibc's clone.
            let gap = next.unwrap_or(text.end()).min(function.end + SHORT_JUMP);
            for (start, end) in [(function.start, function.end), (function.end, gap)] {
                let within = text.addr <= start && start < end && end <= text.end();
                if within && end > from && self.seen.insert(start) {
                    for i in decode(text, start, end) {
                        push_branch_target(&i, &mut self.bounds);
                    }
                }
            }
            if function.start <= from || function.start == 0 {
                return;
            }
            at = function.start - 1;
        }
    }
}

/// Decodes linearly. Stops after the first invalid instruction.
fn decode(text: &Segment<'_>, start: u64, end: u64) -> Vec<Instruction> {
    let from = (start - text.addr) as usize;
    let to = (end - text.addr) as usize;
    let mut decoder = Decoder::with_ip(64, &text.bytes[from..to], start, DecoderOptions::NONE);
    let mut instructions = Vec::with_capacity((to - from) / 4 + 1);
    while decoder.can_decode() {
        let instruction = decoder.decode();
        instructions.push(instruction);
        if instruction.is_invalid() {
            break;
        }
    }
    instructions
}

/// Whether linear decoding got as far as `addr`.
fn reaches(instructions: &[Instruction], addr: u64) -> bool {
    instructions
        .last()
        .is_some_and(|i| !i.is_invalid() && i.next_ip() > addr || i.ip() > addr)
}

/// Whether control falls over `border`, which must be between two
/// instructions, up to instruction `to`.
fn falls_into(instructions: &[Instruction], border: u64, to: usize) -> bool {
    let Ok(first) = instructions.binary_search_by_key(&border, |i| i.ip()) else {
        return false;
    };
    first > 0
        && instructions[first - 1..to].iter().all(|i| {
            matches!(
                i.flow_control(),
                FlowControl::Next | FlowControl::ConditionalBranch
            )
        })
}

/// Whether the instruction never goes on with the next one.
pub(crate) fn ends_flow(i: &Instruction) -> bool {
    matches!(
        i.flow_control(),
        FlowControl::Return
            | FlowControl::UnconditionalBranch
            | FlowControl::IndirectBranch
            | FlowControl::Exception
            | FlowControl::Interrupt
    )
}

fn push_branch_target(i: &Instruction, bounds: &mut Vec<u64>) {
    if i.op_count() > 0 && i.op0_kind() == OpKind::NearBranch64 {
        bounds.push(i.near_branch_target());
    }
}

/// Branch targets and return points of one function.
fn near_targets(instructions: &[Instruction], bounds: &mut Vec<u64>) {
    for i in instructions {
        push_branch_target(i, bounds);
        if matches!(
            i.flow_control(),
            FlowControl::Call | FlowControl::IndirectCall | FlowControl::XbeginXabortXend
        ) && i.code() != Code::Syscall
        {
            bounds.push(i.next_ip());
        }
    }
}

/// Finds the targets of the function's indirect jumps.
///
/// Compilers load an offset or an address from a table whose address the
/// function takes, or that is an operand. Every such address is read as a table
/// of both forms: what is read too much only adds boundaries. A jump through a
/// register or a pointer with no sign of a table is a tail call.
fn jump_tables(
    image: &Image<'_>,
    instructions: &[Instruction],
    function: std::ops::Range<u64>,
) -> Result<Vec<u64>, Refusal> {
    let mut bounds = Vec::new();
    let indexed = |i: &Instruction| i.memory_index() != Register::None;
    let jumps = || {
        instructions
            .iter()
            .filter(|i| i.flow_control() == FlowControl::IndirectBranch)
    };
    let by_register = jumps().any(|i| i.op0_kind() == OpKind::Register);
    let by_table = jumps().any(|i| i.op0_kind() == OpKind::Memory && indexed(i));
    let loads_entry = instructions.iter().any(|i| {
        i.op_count() == 2
            && i.op1_kind() == OpKind::Memory
            && indexed(i)
            && match i.memory_index_scale() {
                4 => i.code() == Code::Movsxd_r64_rm32,
                8 => i.code() == Code::Mov_r64_rm64,
                _ => false,
            }
    });
    if !(by_table || by_register && loads_entry) {
        return Ok(bounds);
    }
    let mut found = false;
    for i in instructions {
        let table = if i.is_ip_rel_memory_operand() && i.code() == Code::Lea_r64_m {
            i.ip_rel_memory_address()
        } else if indexed(i) && i.memory_displacement64() != 0 && image.fixed {
            i.memory_displacement64()
        } else {
            continue;
        };
        let Some(bytes) = image.from(table).filter(|_| image.text_at(table).is_none()) else {
            continue;
        };
        // The last case may jump to the function's end in its cold part.
        let in_text = |a: &u64| image.text_at(*a).is_some();
        let offsets = bytes.chunks_exact(4).map(|c| {
            table.wrapping_add(i32::from_le_bytes([c[0], c[1], c[2], c[3]]) as i64 as u64)
        });
        for target in offsets.take(TABLE_MAX).take_while(in_text) {
            found |= function.contains(&target);
            bounds.push(target);
        }
        let addresses = bytes
            .chunks_exact(8)
            .map(|c| u64::from_le_bytes([c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]]));
        for target in addresses.take(TABLE_MAX).take_while(in_text) {
            found |= function.contains(&target);
            bounds.push(target);
        }
    }
    if found {
        Ok(bounds)
    } else {
        Err(Refusal::IndirectJump)
    }
}

/// Collects what may be a 4-byte jump, call or `lea` from anywhere in `text` to
/// the neighbourhood of a site.
fn far_targets(text: &Segment<'_>, bodies: &[Body], bounds: &mut Vec<u64>) {
    let sites = bodies
        .iter()
        .flat_map(|b| b.sites.iter().map(|&i| b.instructions[i].ip()))
        .filter(|addr| (text.addr..text.end()).contains(addr));
    // One bit for each granule that a window may touch.
    let mut near = vec![0u64; text.bytes.len() / GRANULE / 64 + 1];
    let mut any = false;
    for site in sites {
        any = true;
        let at = (site - text.addr) as usize;
        let first = at.saturating_sub(REACH_BEFORE as usize) / GRANULE;
        let last = (at + REACH_AFTER as usize).min(text.bytes.len() - 1) / GRANULE;
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
            bounds.push(text.addr + target as u64);
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
        let mut found = arch::displacement_opcodes(block);
        while found != 0 {
            check(at + found.trailing_zeros() as usize);
            found &= found - 1;
        }
        at += arch::BLOCK;
    }
}

/// Bytes of text that one bit stands for.
const GRANULE: usize = 64;
