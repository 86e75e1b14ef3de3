//! Finds the sites of an object, and every address that other code may jump to
//! near them. Pure: bytes in, facts out.
//!
//! A site is two bytes `0f 05` that linear decoding from the begin of the
//! function that contains them shows to be an instruction. Functions come from
//! the object's unwind tables. Hand-written code ends an entry of the tables in
//! front of a `syscall` that returns twice (glibc's `clone`); such a gap is
//! decoded from the entry before it, and counts only if control falls into it.
//! A candidate in any other code without an entry is refused, and so is one in
//! a gap that is too long to be that (Chromium's compilers write no tables: 97 MB of
//! code lie behind one entry, and would be 1 GB of instructions). The dynamic linker's first
//! instructions have none either; they are left alone, as nobody comes there again.
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

mod boundaries;
mod far;
mod rooms;
mod tables;
pub mod window;

use std::collections::HashSet;
use std::ops::Range;

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, OpKind};
use memchr::memmem;

use crate::image::{Image, Segment};
use crate::unwind::{Function, Unwind, landing_pads};

pub use boundaries::Boundaries;
use far::{Hit, Sources};
use tables::jump_tables;

/// How far from a site a window can reach, in bytes.
const REACH: u64 = 40;
/// How long the code at an entry point is at most, in bytes.
const START_MAX: u64 = 256;
/// How long code that an entry leaves out at its end is at most, in bytes.
const GAP_MAX: u64 = 0x4_0000;
/// How far a short jump reaches, with its own length.
const SHORT_JUMP: u64 = 130;

/// Why a site stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// The return from a signal handler: the kernel finds its frame at `rsp`,
    /// and unwinders know it by its bytes.
    #[error("is a return from a signal handler")]
    SignalReturn,
    /// The code at the object's entry point, which ran before there was a library.
    #[error("is in the code that starts the program")]
    ProgramStart,
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
        matches!(
            self,
            Self::SignalReturn | Self::ProgramStart | Self::NotAnInstruction
        )
    }
}

/// A run of instructions decoded from the begin of one function.
#[derive(Debug, Clone)]
pub struct Body {
    /// Its instructions; the last one may be invalid.
    pub instructions: Vec<Instruction>,
    /// Indices of its `syscall` instructions.
    pub sites: Vec<usize>,
    /// Why nothing but a `syscall` itself can be replaced in it, if so.
    pub unknown: Option<Refusal>,
}

impl Body {
    /// The addresses of its sites.
    fn addrs(&self) -> impl Iterator<Item = u64> {
        self.sites.iter().map(|&site| self.addr(site))
    }

    /// The address of the site at an index.
    pub fn addr(&self, site: usize) -> u64 {
        self.instructions[site].ip()
    }

    /// The window of the site at an index, of `least` bytes or more: its first address and
    /// the one after its last, none of them below `free_from`.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn window(
        &self,
        site: usize,
        boundaries: &Boundaries,
        free_from: u64,
        least: u64,
    ) -> Result<(u64, u64), Refusal> {
        let found = window::find(&self.instructions, site, boundaries, free_from, least);
        match self.unknown {
            Some(refusal) if found != Err(Refusal::SignalReturn) => Err(refusal),
            _ => found,
        }
    }
}

/// What there is to plan with.
#[derive(Debug, Clone, Default)]
pub struct Scan {
    /// The functions with sites, ascending.
    pub bodies: Vec<Body>,
    /// Where windows may not reach over.
    pub boundaries: Boundaries,
    /// Bytes near sites without a window that no path reaches, but from a boundary among
    /// them.
    pub padding: Vec<Range<u64>>,
    /// Candidates that are not sites, or not usable.
    pub refused: Vec<(u64, Refusal)>,
}

/// Which sites to look for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// All.
    All,
    /// Those that are patched at load: whose number is loaded right before them and is one of
    /// [`AT_LOAD`], and that of `syscall`, whose caller gives the number.
    AtLoad,
}

/// Calls that make threads.
const CREATION: [i64; 2] = [libc::SYS_clone, libc::SYS_clone3];
/// Calls that are looked at before there is a thread: these, and those that make the process
/// another program or bind it to a filter of system calls.
const AT_LOAD: [i64; 5] = [
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_prctl,
];
/// `mov r9, [rsp + 8]`: what comes before the site of `syscall`, whose sixth argument is on its
/// caller's stack.
const OF_SYSCALL: &[u8] = &[0x4c, 0x8b, 0x4c, 0x24, 0x08];

/// Candidates: places of the two bytes, ascending.
pub fn candidates(image: &Image<'_>, wanted: Wanted) -> Vec<u64> {
    let finder = memmem::Finder::new(b"\x0f\x05");
    let mut found = Vec::new();
    for text in image.texts() {
        found.extend(
            finder
                .find_iter(text.bytes)
                .filter(|&at| wanted == Wanted::All || is_at_load(&text.bytes[..at]))
                .map(|at| text.addr + at as u64),
        );
    }
    found
}

/// Whether the bytes before a candidate say that it is one of [`Wanted::AtLoad`].
fn is_at_load(before: &[u8]) -> bool {
    before.ends_with(OF_SYSCALL) || loads_one_of(&AT_LOAD, before)
}

/// Whether the number of a call that makes threads is loaded right before the site at `addr`.
pub fn makes_threads(image: &Image<'_>, addr: u64) -> bool {
    image.text_at(addr).is_some_and(|text| {
        let before = text.bytes.get(..(addr - text.addr) as usize);
        before.is_some_and(|before| loads_one_of(&CREATION, before))
    })
}

/// Whether the bytes before a candidate contain `mov eax, n` with one of these numbers.
fn loads_one_of(numbers: &[i64], before: &[u8]) -> bool {
    let near = &before[before.len().saturating_sub(16)..];
    numbers.iter().any(|&nr| {
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
    let mut hits = Vec::new();
    for text in image.texts() {
        let sites = scanner.out.bodies.iter().flat_map(Body::addrs);
        far::hits(&text, sites.map(|site| around(site, REACH)), &mut hits);
    }
    scanner.bound(&hits);
    let without = scanner.without_window();
    if !without.is_empty() {
        scanner.disprove(&without, REACH, &mut hits);
        scanner.bound(&hits);
        let without = scanner.without_window();
        if !without.is_empty() {
            scanner.find_rooms(&without, &mut hits);
            scanner.disprove(&without, window::HOP_REACH, &mut hits);
            scanner.bound(&hits);
        }
    }
    scanner.out
}

/// The addresses no further than `reach` from a site.
fn around(site: u64, reach: u64) -> Range<u64> {
    site.saturating_sub(reach)..site + reach
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
            self.refuse(first);
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
                        self.refuse(addr);
                    }
                }
                _ if reaches(&instructions, addr) => {
                    self.out.refused.push((addr, Refusal::NotAnInstruction));
                }
                _ => self.refuse(addr),
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
        self.seen.insert(function.start);
        near_targets(&instructions, &mut self.bounds);
        if instructions[sites[0]].ip() - function.start < REACH + SHORT_JUMP {
            self.neighbours(
                &text,
                function.start.saturating_sub(SHORT_JUMP),
                function.start,
            );
        }
        let last = instructions[sites[sites.len() - 1]].ip();
        if end - last < REACH + SHORT_JUMP {
            self.neighbours(&text, end, end + SHORT_JUMP);
        }
        self.out.bodies.push(Body {
            instructions,
            sites,
            unknown: known.err(),
        });
        count
    }

    /// Refuses a candidate that is in no function.
    fn refuse(&mut self, addr: u64) {
        let refusal = if self.starts_program(addr) {
            Refusal::ProgramStart
        } else {
            Refusal::NoFunction
        };
        self.out.refused.push((addr, refusal));
    }

    /// Whether straight code leads from the entry point to the site at `addr`.
    fn starts_program(&self, addr: u64) -> bool {
        let entry = self.image.entry;
        let text = self.image.text_at(entry);
        let Some(text) = text.filter(|text| (entry..text.end()).contains(&addr)) else {
            return false;
        };
        let end = (addr + 2).min(text.end());
        let near = addr - entry <= START_MAX;
        near && decode(&text, entry, end).iter().all(|i| {
            i.ip() == addr && i.code() == Code::Syscall
                || i.ip() < addr
                    && matches!(
                        i.flow_control(),
                        FlowControl::Next | FlowControl::ConditionalBranch | FlowControl::Call
                    )
        })
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
        } else if next.saturating_sub(function.end) <= GAP_MAX {
            next
        } else {
            return None;
        };
        (addr < end).then_some((function, text, end))
    }

    /// Takes what was collected, with `hits`, for the boundaries.
    fn bound(&mut self, hits: &[Hit]) {
        let targets = hits.iter().map(|hit| hit.target);
        let all = self.bounds.iter().copied().chain(targets);
        self.out.boundaries = Boundaries::new(all.collect());
    }

    /// Takes the hits near `sites` away that are shown to lead nowhere.
    fn disprove(&self, sites: &[u64], reach: u64, hits: &mut Vec<Hit>) {
        let near = |hit: &Hit| {
            sites
                .iter()
                .any(|&s| around(s, reach).contains(&hit.target))
        };
        for text in self.image.texts() {
            let mut sources = Sources::new(text, self.unwind);
            hits.retain(|hit| !(sources.holds(hit) && near(hit) && sources.disprove(hit)));
        }
    }

    /// The sites that have no window between the boundaries.
    fn without_window(&self) -> Vec<u64> {
        let mut free_from = 0;
        let mut without = Vec::new();
        for body in &self.out.bodies {
            for &site in &body.sites {
                match body.window(site, &self.out.boundaries, free_from, window::JUMP_LEN) {
                    Ok((_, end)) => free_from = end,
                    Err(Refusal::SignalReturn) => {}
                    Err(_) => without.push(body.addr(site)),
                }
            }
        }
        without
    }

    /// Collects the padding that jumps of two bytes at `sites` reach, and what may lead
    /// into it.
    fn find_rooms(&mut self, sites: &[u64], hits: &mut Vec<Hit>) {
        let reach = |&site: &u64| around(site, window::HOP_REACH);
        for near in sites.iter().map(reach) {
            let Some(text) = self.image.text_at(near.start + window::HOP_REACH) else {
                continue;
            };
            rooms::between_functions(&text, self.unwind, near.clone(), &mut self.out.padding);
            self.neighbours(
                &text,
                near.start.saturating_sub(SHORT_JUMP),
                near.end + SHORT_JUMP,
            );
            let known = self.out.bodies.iter().filter(|body| body.unknown.is_none());
            let overlap = |body: &&Body| {
                let (first, last) = (body.instructions.first(), body.instructions.last());
                first.is_some_and(|i| i.ip() < near.end)
                    && last.is_some_and(|i| i.next_ip() > near.start)
            };
            for body in known.filter(overlap) {
                rooms::inside(&body.instructions, near.clone(), &mut self.out.padding);
            }
        }
        self.out.padding.sort_unstable_by_key(|gap| gap.start);
        self.out.padding.dedup();
        for text in self.image.texts() {
            far::hits(&text, sites.iter().map(reach), hits);
        }
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
