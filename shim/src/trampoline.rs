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
//! A window that is the `syscall` alone jumps to its room, and that to the stub, in which
//! nothing is displaced.
//!
//! rcx and the flags are free: the instruction destroys rcx, and no compiler
//! keeps flags over inline assembly. The stack is not touched, so the red zone
//! and the unwinder's view are those of the site.

use iced_x86::{BlockEncoder, BlockEncoderOptions, Decoder, DecoderOptions, InstructionBlock};

use crate::plan::{JUMP_LEN, Room, Window, hop, is_comparison};
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
    /// Offsets of displaced instructions: in the window and in the code. The site's is that of
    /// `test`; what had to be replaced by others has none.
    pub moved: Vec<(usize, usize)>,
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
    let (mut code, mut moved) = relocate(before, window.start.wrapping_add(bias), at)?;
    let test = code.len();
    moved.push((split, test));
    code.extend([0x48, 0x3d, 0xff, 0x01, 0x00, 0x00]); // cmp rax, 511
    code.extend([0x77, 10 + 4 + 2]); // ja native
    code.extend([0x48, 0xb9]); // mov rcx, table
    code.extend(targets.table.to_le_bytes());
    code.extend([0x80, 0x3c, 0x01, 0x00]); // cmp byte [rcx + rax], 0
    code.extend([0x75, 0]); // jne enter
    let jne_end = code.len();
    code.extend([0x0f, 0x05]);
    let resume = code.len();
    let (tail, moved_after) = relocate(after, window.ra().wrapping_add(bias), at + resume as u64)?;
    code.extend(tail);
    let behind = split + 2;
    moved.extend(
        moved_after
            .into_iter()
            .map(|(old, new)| (behind + old, resume + new)),
    );
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
    Ok(Stub {
        code,
        resume,
        test,
        moved,
    })
}

/// The bytes that replace the window: a jump to its stub, and `int3` up to the
/// end, which no path reaches; or a jump to its room.
///
/// # Errors
/// [`Refusal::Relocation`] if the stub is further than 2 GiB away.
pub fn patch(window: &Window, bias: u64, stub: u64) -> Result<Vec<u8>, Refusal> {
    if let Some(room) = &window.room {
        let reach = hop(window.site, room.start).ok_or(Refusal::Relocation)?;
        return Ok(vec![0xeb, reach as u8]);
    }
    let mut bytes = jump(window.start.wrapping_add(bias), stub)?.to_vec();
    bytes.resize(window.bytes.len(), 0xcc);
    Ok(bytes)
}

/// The bytes that are written in a room: the jump to its window's stub.
///
/// # Errors
/// As [`patch`].
pub fn fill(room: &Room, bias: u64, stub: u64) -> Result<[u8; JUMP_LEN as usize], Refusal> {
    jump(room.start.wrapping_add(bias), stub)
}

/// `jmp rel32` at `from` to `to`.
fn jump(from: u64, to: u64) -> Result<[u8; JUMP_LEN as usize], Refusal> {
    let [a, b, c, d] = displacement(from.wrapping_add(JUMP_LEN), to)?;
    Ok([0xe9, a, b, c, d])
}

fn displacement(from: u64, to: u64) -> Result<[u8; 4], Refusal> {
    i32::try_from(to.wrapping_sub(from) as i64)
        .map(i32::to_le_bytes)
        .map_err(|_| Refusal::Relocation)
}

/// Code, and the offsets of its instructions before and after they were moved.
type Relocated = (Vec<u8>, Vec<(usize, usize)>);

/// Encodes the instructions of `bytes`, decoded at `from`, for address `to`.
fn relocate(bytes: &[u8], from: u64, to: u64) -> Result<Relocated, Refusal> {
    if bytes.is_empty() {
        return Ok(Relocated::default());
    }
    if is_comparison(bytes) {
        return Ok((bytes.to_vec(), vec![(0, 0)]));
    }
    let instructions: Vec<_> = Decoder::with_ip(64, bytes, from, DecoderOptions::NONE)
        .into_iter()
        .collect();
    if instructions.iter().any(|i| i.is_invalid()) {
        return Err(Refusal::Relocation);
    }
    let block = InstructionBlock::new(&instructions, to);
    let encoded = BlockEncoder::encode(
        64,
        block,
        BlockEncoderOptions::RETURN_NEW_INSTRUCTION_OFFSETS,
    )
    .map_err(|_| Refusal::Relocation)?;
    let places = instructions.iter().zip(&encoded.new_instruction_offsets);
    let moved = places
        .filter(|&(_, &new)| new != u32::MAX)
        .map(|(i, &new)| ((i.ip() - from) as usize, new as usize))
        .collect();
    Ok((encoded.code_buffer, moved))
}
