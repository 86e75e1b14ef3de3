//! The stubs. Pure: a window and addresses in, code out.
//!
//! ```text
//! start:   displaced instructions from before the site
//!          cmp   rax, 511
//!          ja    native               ; the table has no such number
//!          mov   rcx, TABLE
//!          cmp   byte [rcx + rax], 0
//!          jne   enter
//! native:  syscall
//! resume:  displaced instructions from after the site
//!          jmp   back
//! enter:   lea   rcx, [record]
//!          jmp   [entry]
//! ```
//!
//! rcx and the flags are free: the instruction destroys rcx, and no compiler
//! keeps flags over inline assembly. The stack is not touched, so the red zone
//! and the unwinder's view are those of the site.

use iced_x86::{BlockEncoder, BlockEncoderOptions, Decoder, DecoderOptions, InstructionBlock};

use crate::plan::{JUMP_LEN, Window, is_comparison};
use crate::scan::Refusal;

/// Addresses at run time that a stub refers to.
#[derive(Debug, Clone, Copy)]
pub struct Targets {
    /// 512 bytes, by call number: whether to enter.
    pub table: u64,
    /// Eight bytes with the address of the entry, near the stub.
    pub entry_slot: u64,
    /// The site's record, near the stub.
    pub record: u64,
}

/// A stub's code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stub {
    /// Its bytes.
    pub code: Vec<u8>,
    /// Offset of `resume`: the address after its `syscall`.
    pub resume: usize,
    /// Offset of the instruction after the displaced ones that precede the site.
    pub test: usize,
}

/// Most bytes a stub can have, for any window: 2 displaced runs of at most 8
/// instructions that grow to at most 16 bytes, and 56 of its own.
pub const STUB_MAX: usize = 320;

/// Encodes the stub of `window` at run-time address `at`. `bias` is the distance
/// from link-time to run-time addresses.
///
/// # Errors
/// [`Refusal::Relocation`] if a displaced instruction can't reach its operand.
pub fn encode(window: &Window, bias: u64, at: u64, targets: &Targets) -> Result<Stub, Refusal> {
    let split = (window.site - window.start) as usize;
    let (before, after) = window.bytes.split_at(split);
    let after = after.get(2..).ok_or(Refusal::Relocation)?;
    let mut code = relocate(before, window.start.wrapping_add(bias), at)?;
    let test = code.len();
    code.extend([0x48, 0x3d, 0xff, 0x01, 0x00, 0x00]); // cmp rax, 511
    code.extend([0x77, 10 + 4 + 2]); // ja native
    code.extend([0x48, 0xb9]); // mov rcx, table
    code.extend(targets.table.to_le_bytes());
    code.extend([0x80, 0x3c, 0x01, 0x00]); // cmp byte [rcx + rax], 0
    code.extend([0x75, 0]); // jne enter
    let jne_end = code.len();
    code.extend([0x0f, 0x05]);
    let resume = code.len();
    let tail = relocate(after, window.ra().wrapping_add(bias), at + resume as u64)?;
    code.extend(tail);
    code.push(0xe9); // jmp back
    let back = window.end.wrapping_add(bias);
    code.extend(displacement(at + code.len() as u64 + 4, back)?);
    let enter = u8::try_from(code.len() - jne_end).map_err(|_| Refusal::Relocation)?;
    if enter > 127 {
        return Err(Refusal::Relocation);
    }
    code[jne_end - 1] = enter;
    code.extend([0x48, 0x8d, 0x0d]); // lea rcx, [record]
    code.extend(displacement(at + code.len() as u64 + 4, targets.record)?);
    code.extend([0xff, 0x25]); // jmp [entry]
    code.extend(displacement(
        at + code.len() as u64 + 4,
        targets.entry_slot,
    )?);
    Ok(Stub { code, resume, test })
}

/// The bytes that replace the window: a jump to its stub, and `int3` up to the
/// end, which no path reaches.
///
/// # Errors
/// [`Refusal::Relocation`] if the stub is further than 2 GiB away.
pub fn patch(window: &Window, bias: u64, stub: u64) -> Result<Vec<u8>, Refusal> {
    let from = window.start.wrapping_add(bias).wrapping_add(JUMP_LEN);
    let mut bytes = vec![0xe9];
    bytes.extend(displacement(from, stub)?);
    bytes.resize(window.bytes.len(), 0xcc);
    Ok(bytes)
}

fn displacement(from: u64, to: u64) -> Result<[u8; 4], Refusal> {
    i32::try_from(to.wrapping_sub(from) as i64)
        .map(i32::to_le_bytes)
        .map_err(|_| Refusal::Relocation)
}

/// Encodes the instructions of `bytes`, decoded at `from`, for address `to`.
fn relocate(bytes: &[u8], from: u64, to: u64) -> Result<Vec<u8>, Refusal> {
    if bytes.is_empty() || is_comparison(bytes) {
        return Ok(bytes.to_vec());
    }
    let instructions: Vec<_> = Decoder::with_ip(64, bytes, from, DecoderOptions::NONE)
        .into_iter()
        .collect();
    if instructions.iter().any(|i| i.is_invalid()) {
        return Err(Refusal::Relocation);
    }
    let block = InstructionBlock::new(&instructions, to);
    BlockEncoder::encode(64, block, BlockEncoderOptions::NONE)
        .map(|result| result.code_buffer)
        .map_err(|_| Refusal::Relocation)
}
