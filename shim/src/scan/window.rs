//! Which bytes around a site one patch overwrites, and which instructions may move. Pure.
//!
//! A *window* is a run of whole instructions of at least five bytes with the
//! site in it and no boundary inside. Its instructions move to the stub: those
//! before the site run before the entry, those after it when the call is done.
//! Windows that begin at the site are preferred, since then the guest's
//! registers and the unwinder's view at the entry are those of the site itself.
//!
//! Where there is none, the window is the `syscall` alone: a jump of two bytes leads from it
//! to a *room*, five bytes near it that nothing else reaches, which have the jump to the stub.
//! Nothing moves, so nothing needs to be known about what is around it.

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, OpAccess, OpKind, Register,
};

use super::{Boundaries, Refusal, ends_flow};

/// Bytes of `jmp rel32`.
pub const JUMP_LEN: u64 = 5;
/// Bytes of `jmp rel8`, and of a `syscall`.
pub const HOP_LEN: u64 = 2;
/// How far a jump of two bytes reaches, and a little more.
pub(crate) const HOP_REACH: u64 = 140;
const SYSCALL: [u8; HOP_LEN as usize] = [0x0f, 0x05];
/// Most instructions taken from one side of a site.
const SIDE_MAX: usize = 4;
/// Number of the call that returns from a signal handler.
const RT_SIGRETURN: u64 = 15;

/// The bytes that one patch overwrites, by link-time addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Where the jump is written.
    pub start: u64,
    /// The `syscall`.
    pub site: u64,
    /// Where the stub jumps back to.
    pub end: u64,
    /// What was there: `end - start` bytes.
    pub bytes: Vec<u8>,
    /// Where the jump to the stub is, if it is not in the window.
    pub room: Option<Room>,
}

/// Bytes near a window that have its jump to the stub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// The first one, by its link-time address.
    pub start: u64,
    /// What was there. It lies between functions, behind an instruction that never goes on
    /// with the next one, or in another window behind its jump.
    pub bytes: [u8; JUMP_LEN as usize],
}

impl Room {
    /// The address after its last byte.
    pub fn end(&self) -> u64 {
        self.start + JUMP_LEN
    }
}

impl Window {
    /// The `syscall` at an address alone, with a room.
    pub fn with_room(site: u64, room: Room) -> Self {
        Self {
            start: site,
            site,
            end: site + HOP_LEN,
            bytes: SYSCALL.to_vec(),
            room: Some(room),
        }
    }

    /// The address after the `syscall`.
    pub fn ra(&self) -> u64 {
        self.site + 2
    }

    /// Whether its bytes are what the planner would move: whole instructions
    /// that may move, with one `syscall`, at the site.
    pub fn is_well_formed(&self) -> bool {
        let len = self.end.wrapping_sub(self.start);
        if let Some(room) = &self.room {
            return self.start == self.site
                && len == HOP_LEN
                && self.bytes == SYSCALL
                && hop(self.site, room.start).is_some();
        }
        if len < JUMP_LEN || self.bytes.len() as u64 != len {
            return false;
        }
        if let [0x0f, 0x05, after @ ..] = &self.bytes[..]
            && is_comparison(after)
        {
            return self.site == self.start;
        }
        let decoder = Decoder::with_ip(64, &self.bytes, self.start, DecoderOptions::NONE);
        let mut found = false;
        for i in decoder {
            let fine = if i.ip() == self.site {
                found = true;
                i.code() == Code::Syscall
            } else if found {
                may_follow(&i)
            } else {
                may_precede(&i)
            };
            if !fine {
                return false;
            }
        }
        found
    }
}

/// The displacement of a jump of two bytes at `site` to `room`, if it reaches.
pub fn hop(site: u64, room: u64) -> Option<i8> {
    i8::try_from(room.wrapping_sub(site + HOP_LEN) as i64).ok()
}

/// Whether the bytes are the one instruction that stands behind most sites:
/// `cmp rax, imm32`, `cmp eax, imm32` or `test rax, rax`. It means the same at
/// any address. Known by its bytes, since building the tables of the decoder
/// takes several times as long as all else that a kept plan needs at start-up.
pub(crate) fn is_comparison(bytes: &[u8]) -> bool {
    matches!(
        bytes,
        [0x48, 0x3d, _, _, _, _] | [0x3d, _, _, _, _] | [0x48, 0x85, 0xc0]
    )
}

/// The window of the site at index `site`, of `least` bytes or more: its first address and
/// the one after its last, none of them below `free_from`.
///
/// # Errors
/// Why there is none.
pub(crate) fn find(
    code: &[Instruction],
    site: usize,
    boundaries: &Boundaries,
    free_from: u64,
    least: u64,
) -> Result<(u64, u64), Refusal> {
    if is_signal_return(code, site) {
        return Err(Refusal::SignalReturn);
    }
    for before in 0..=SIDE_MAX.min(site) {
        if before > 0 && !may_precede(&code[site - before]) {
            break;
        }
        let start = code[site - before].ip();
        if start < free_from {
            break;
        }
        let mut end = code[site].next_ip();
        for next in code[site + 1..].iter().take(SIDE_MAX) {
            if end - start >= least || !may_follow(next) {
                break;
            }
            end = next.next_ip();
            if ends_flow(next) {
                break;
            }
        }
        if end - start >= least && !boundaries.inside(start, end) {
            return Ok((start, end));
        }
    }
    Err(Refusal::NoWindow)
}

/// Whether the site at index `site` returns from a signal handler.
pub(crate) fn is_signal_return(code: &[Instruction], site: usize) -> bool {
    loaded_number(code, site) == Some(RT_SIGRETURN)
}

/// The constant that the instructions right before the site load into rax.
fn loaded_number(code: &[Instruction], site: usize) -> Option<u64> {
    for i in code[..site].iter().rev().take(8) {
        let to_rax = i.op_count() > 0
            && i.op0_kind() == OpKind::Register
            && i.op0_register().full_register() == Register::RAX;
        match i.code() {
            Code::Mov_r32_imm32 | Code::Mov_rm64_imm32 | Code::Mov_r64_imm64 if to_rax => {
                return Some(i.immediate(1));
            }
            _ if to_rax || i.flow_control() != FlowControl::Next => return None,
            _ => {}
        }
    }
    None
}

/// Whether the instruction means the same in a stub, at another address.
fn may_move(i: &Instruction) -> bool {
    !i.is_invalid()
        && !matches!(
            i.flow_control(),
            FlowControl::Call
                | FlowControl::IndirectCall
                | FlowControl::Interrupt
                | FlowControl::Exception
                | FlowControl::XbeginXabortXend
        )
        && !i.is_loop()
        && !i.is_loopcc()
        && !i.is_jcx_short()
}

/// Before the site: straight code only. It may move the stack pointer, since
/// all of it has run when the entry looks at the stack, as it has at the site.
fn may_precede(i: &Instruction) -> bool {
    may_move(i) && i.flow_control() == FlowControl::Next
}

/// After the site: branches too, but nothing that changes where the unwinder
/// finds the frame, whose rules are those of the site.
fn may_follow(i: &Instruction) -> bool {
    may_move(i) && (i.flow_control() == FlowControl::Return || !changes_frame(i))
}

fn changes_frame(i: &Instruction) -> bool {
    let mut info = iced_x86::InstructionInfoFactory::new();
    i.is_stack_instruction()
        || info.info(i).used_registers().iter().any(|used| {
            matches!(
                used.register().full_register(),
                Register::RSP | Register::RBP
            ) && matches!(
                used.access(),
                OpAccess::Write
                    | OpAccess::CondWrite
                    | OpAccess::ReadWrite
                    | OpAccess::ReadCondWrite
            )
        })
}
