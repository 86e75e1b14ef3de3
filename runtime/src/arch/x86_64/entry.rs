//! From a site's stub into [`dispatch`](fn@crate::dispatch::dispatch) and back.
//!
//! A stub jumps here with `rcx` = its [`SiteRecord`]
//! and every other register as the site left it. The stack then is
//!
//! ```text
//!   R         stack pointer at the site (any 8-byte alignment)
//!   R-128     end of the red zone
//!   R-128-S   the Frame, S = size_of::<Frame>(); rbp points here
//!             (entry_full: XSAVE area below it, 64-byte aligned)
//!             16-byte aligned stack of dispatch
//! ```
//!
//! For unwinders the CFA is `R` and the return address is the original address
//! after the `syscall`, so the frame above dispatch is the object's own function,
//! described by the object's own FDE.
#![allow(unsafe_code)]

use core::arch::naked_asm;
use core::arch::x86_64::{__cpuid_count, _xgetbv};
use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering};

use super::syscall::syscall2;
use crate::dispatch::dispatch;
use crate::frame::{Frame, RED_ZONE, SiteRecord};

/// Bytes `entry_full` keeps for XSAVE; set by [`init`].
static XSAVE_SIZE: AtomicU64 = AtomicU64::new(0);

/// x87, SSE, AVX, AVX-512: the state an ABI-conforming caller may hold in
/// registers. Not PKRU, which a program changes by instruction at any time.
pub(super) const XSAVE_MASK: u64 = 0xe7;

/// Sizes the XSAVE area. Call once before a site is routed to [`entry_full`].
/// Returns false when the CPU has no XSAVE (then only [`entry`] may be used).
pub fn init() -> bool {
    if !std::is_x86_feature_detected!("xsave") {
        return false;
    }
    XSAVE_SIZE.store(
        image_size(XSAVE_MASK).next_multiple_of(64),
        Ordering::Relaxed,
    );
    true
}

/// Bytes of an XSAVE image of those components of `mask` that are enabled. The CPU must have
/// XSAVE.
fn image_size(mask: u64) -> u64 {
    // SAFETY: XSAVE is present and enabled by the kernel, so XGETBV is too.
    let enabled = unsafe { xgetbv() } & mask;
    (2..63)
        .filter(|component| enabled & (1 << component) != 0)
        .map(|component| __cpuid_count(0xd, component))
        .map(|leaf| leaf.eax as u64 + leaf.ebx as u64)
        .fold(512 + 64, u64::max)
}

/// What [`kernels_image_size`] has found; `u64::MAX` before.
static KERNELS_SIZE: AtomicU64 = AtomicU64::new(u64::MAX);

/// Components that the kernel's signal frames have only for a program that asked for them: the
/// tiles of AMX.
const BY_PERMISSION: u64 = 1 << 18;

/// Bytes of the XSAVE image in the kernel's signal frames; 0 if it writes none.
pub(super) fn kernels_image_size() -> usize {
    let known = KERNELS_SIZE.load(Ordering::Relaxed);
    if known != u64::MAX {
        return known as usize;
    }
    let has_xsave = std::is_x86_feature_detected!("xsave");
    let size = if has_xsave {
        image_size(!BY_PERMISSION | permitted())
    } else {
        0
    };
    KERNELS_SIZE.store(size, Ordering::Relaxed);
    size as usize
}

/// The components that the program is permitted to use (`ARCH_GET_XCOMP_PERM`).
fn permitted() -> u64 {
    const ARCH_GET_XCOMP_PERM: u64 = 0x1022;
    // SAFETY: the caller has found XSAVE.
    if unsafe { xgetbv() } & BY_PERMISSION == 0 {
        return 0;
    }
    let mut permitted = 0u64;
    let at = &raw mut permitted as u64;
    // SAFETY: writes one word to the given address.
    unsafe { syscall2(libc::SYS_arch_prctl, ARCH_GET_XCOMP_PERM, at) };
    permitted
}

/// The program was permitted to use another component: the kernel's frames may have it.
pub fn note_permission() {
    KERNELS_SIZE.store(u64::MAX, Ordering::Relaxed);
}

/// Bytes of the XSAVE image in a frame of [`entry_full`].
pub(super) fn xsave_size() -> usize {
    XSAVE_SIZE.load(Ordering::Relaxed) as usize
}

#[target_feature(enable = "xsave")]
unsafe fn xgetbv() -> u64 {
    // SAFETY: register 0 is XCR0, which exists where XSAVE does.
    unsafe { _xgetbv(0) }
}

const SIZE: usize = size_of::<Frame>();
/// From the frame to the CFA.
const CFA: usize = SIZE + RED_ZONE;

macro_rules! save_and_call {
    ($($vector:literal),* $(,)?) => {
        naked_asm!(
            ".cfi_startproc",
            // Until the return address is in the frame it is in the record, at
            // rcx + 8: DW_CFA_expression rip, DW_OP_breg2(rcx) 8.
            ".cfi_def_cfa rsp, 0",
            ".cfi_escape 0x10, 0x10, 2, 0x72, 8",
            "lea rsp, [rsp - {cfa}]",
            ".cfi_def_cfa rsp, {cfa}",
            "mov [rsp + {rbp}], rbp",
            ".cfi_offset rbp, {rbp} - {cfa}",
            "mov rbp, rsp",
            ".cfi_def_cfa rbp, {cfa}",
            "mov [rbp + {rax}], rax",
            "mov [rbp + {rdi}], rdi",
            "mov [rbp + {rsi}], rsi",
            "mov [rbp + {rdx}], rdx",
            "mov [rbp + {r10}], r10",
            "mov [rbp + {r8}], r8",
            "mov [rbp + {r9}], r9",
            "mov [rbp + {rbx}], rbx",
            "mov [rbp + {r12}], r12",
            "mov [rbp + {r13}], r13",
            "mov [rbp + {r14}], r14",
            "mov [rbp + {r15}], r15",
            ".cfi_offset rbx, {rbx} - {cfa}",
            ".cfi_offset r12, {r12} - {cfa}",
            ".cfi_offset r13, {r13} - {cfa}",
            ".cfi_offset r14, {r14} - {cfa}",
            ".cfi_offset r15, {r15} - {cfa}",
            "mov [rbp + {record}], rcx",
            "mov rax, [rcx + {resume}]",
            "mov [rbp + {rip}], rax",
            "mov rax, [rcx + {site}]",
            "mov [rbp + {ra}], rax",
            ".cfi_offset rip, {ra} - {cfa}",
            "lea rax, [rbp + {cfa}]",
            "mov [rbp + {rsp}], rax",
            $($vector,)*
            "and rsp, -16",
            "mov rdi, rbp",
            "call {dispatch}",
            "mov rdi, rbp",
            "jmp {resume_frame}",
            ".cfi_endproc",
            cfa = const CFA,
            rax = const offset_of!(Frame, rax),
            rbx = const offset_of!(Frame, rbx),
            rdx = const offset_of!(Frame, rdx),
            rdi = const offset_of!(Frame, rdi),
            rsi = const offset_of!(Frame, rsi),
            rbp = const offset_of!(Frame, rbp),
            rsp = const offset_of!(Frame, rsp),
            r8 = const offset_of!(Frame, r8),
            r9 = const offset_of!(Frame, r9),
            r10 = const offset_of!(Frame, r10),
            r12 = const offset_of!(Frame, r12),
            r13 = const offset_of!(Frame, r13),
            r14 = const offset_of!(Frame, r14),
            r15 = const offset_of!(Frame, r15),
            rip = const offset_of!(Frame, rip),
            ra = const offset_of!(Frame, ra),
            xsave = const offset_of!(Frame, xsave),
            record = const offset_of!(Frame, record),
            resume = const offset_of!(SiteRecord, resume),
            site = const offset_of!(SiteRecord, ra),
            xsave_size = sym XSAVE_SIZE,
            mask = const XSAVE_MASK,
            dispatch = sym dispatch,
            resume_frame = sym resume_frame,
        )
    };
}

/// Entry of the sites of libc's own family, which is baseline x86-64: xmm0 to
/// xmm15 are all the vector state its code can hold.
///
/// # Safety
/// Only stubs jump here, with the registers this file describes.
#[unsafe(naked)]
pub unsafe extern "C" fn entry() {
    save_and_call!(
        "mov qword ptr [rbp + {xsave}], 0",
        "movups [rbp], xmm0",
        "movups [rbp + 16], xmm1",
        "movups [rbp + 32], xmm2",
        "movups [rbp + 48], xmm3",
        "movups [rbp + 64], xmm4",
        "movups [rbp + 80], xmm5",
        "movups [rbp + 96], xmm6",
        "movups [rbp + 112], xmm7",
        "movups [rbp + 128], xmm8",
        "movups [rbp + 144], xmm9",
        "movups [rbp + 160], xmm10",
        "movups [rbp + 176], xmm11",
        "movups [rbp + 192], xmm12",
        "movups [rbp + 208], xmm13",
        "movups [rbp + 224], xmm14",
        "movups [rbp + 240], xmm15",
        "/* {xsave_size} {mask} */",
    )
}

/// Entry of every other site: its function may hold ymm, zmm or mask registers
/// across the instruction.
///
/// # Safety
/// As [`entry`]; [`init`] must have returned true.
#[unsafe(naked)]
pub unsafe extern "C" fn entry_full() {
    save_and_call!(
        "sub rsp, [rip + {xsave_size}]",
        "and rsp, -64",
        "mov [rbp + {xsave}], rsp",
        // XSAVE reads its header: it must be zero.
        "xor eax, eax",
        "mov [rsp + 512], rax",
        "mov [rsp + 520], rax",
        "mov [rsp + 528], rax",
        "mov [rsp + 536], rax",
        "mov [rsp + 544], rax",
        "mov [rsp + 552], rax",
        "mov [rsp + 560], rax",
        "mov [rsp + 568], rax",
        "mov eax, {mask}",
        "xor edx, edx",
        "xsave64 [rsp]",
        "mov rdx, [rbp + {rdx}]",
    )
}

/// Loads every register from `frame` and goes on at its `rip`.
///
/// # Safety
/// `frame` must hold a state that may run on this thread now.
#[unsafe(naked)]
pub unsafe extern "C" fn resume_frame(frame: *mut Frame) -> ! {
    naked_asm!(
        ".cfi_startproc",
        ".cfi_def_cfa rdi, {cfa}",
        ".cfi_offset rip, {ra} - {cfa}",
        ".cfi_offset rbp, {rbp} - {cfa}",
        ".cfi_offset rbx, {rbx} - {cfa}",
        ".cfi_offset r12, {r12} - {cfa}",
        ".cfi_offset r13, {r13} - {cfa}",
        ".cfi_offset r14, {r14} - {cfa}",
        ".cfi_offset r15, {r15} - {cfa}",
        "mov rcx, [rdi + {xsave}]",
        "test rcx, rcx",
        "jnz 2f",
        "movups xmm0, [rdi]",
        "movups xmm1, [rdi + 16]",
        "movups xmm2, [rdi + 32]",
        "movups xmm3, [rdi + 48]",
        "movups xmm4, [rdi + 64]",
        "movups xmm5, [rdi + 80]",
        "movups xmm6, [rdi + 96]",
        "movups xmm7, [rdi + 112]",
        "movups xmm8, [rdi + 128]",
        "movups xmm9, [rdi + 144]",
        "movups xmm10, [rdi + 160]",
        "movups xmm11, [rdi + 176]",
        "movups xmm12, [rdi + 192]",
        "movups xmm13, [rdi + 208]",
        "movups xmm14, [rdi + 224]",
        "movups xmm15, [rdi + 240]",
        "3:",
        "mov rax, [rdi + {rax}]",
        "mov rsi, [rdi + {rsi}]",
        "mov rdx, [rdi + {rdx}]",
        "mov r8, [rdi + {r8}]",
        "mov r9, [rdi + {r9}]",
        "mov r10, [rdi + {r10}]",
        "mov r12, [rdi + {r12}]",
        "mov r13, [rdi + {r13}]",
        "mov r14, [rdi + {r14}]",
        "mov r15, [rdi + {r15}]",
        "mov rbx, [rdi + {rbx}]",
        "mov rbp, [rdi + {rbp}]",
        "mov rcx, [rdi + {rip}]",
        "mov r11, [rdi + {rsp}]",
        // The frame's address goes away: the guest now looks as if it were
        // called from its stub. DW_CFA_val_expression rip, DW_OP_breg2(rcx) 0.
        ".cfi_remember_state",
        ".cfi_def_cfa r11, 0",
        ".cfi_escape 0x16, 0x10, 2, 0x72, 0",
        ".cfi_same_value rbp",
        ".cfi_same_value rbx",
        ".cfi_same_value r12",
        ".cfi_same_value r13",
        ".cfi_same_value r14",
        ".cfi_same_value r15",
        "mov rdi, [rdi + {rdi}]",
        // From here on a signal may overwrite the frame; nothing reads it again.
        "mov rsp, r11",
        "jmp rcx",
        ".cfi_restore_state",
        "2:",
        "mov eax, {mask}",
        "xor edx, edx",
        "xrstor64 [rcx]",
        "jmp 3b",
        ".cfi_endproc",
        cfa = const CFA,
        mask = const XSAVE_MASK,
        rax = const offset_of!(Frame, rax),
        rbx = const offset_of!(Frame, rbx),
        rdx = const offset_of!(Frame, rdx),
        rdi = const offset_of!(Frame, rdi),
        rsi = const offset_of!(Frame, rsi),
        rbp = const offset_of!(Frame, rbp),
        rsp = const offset_of!(Frame, rsp),
        r8 = const offset_of!(Frame, r8),
        r9 = const offset_of!(Frame, r9),
        r10 = const offset_of!(Frame, r10),
        r12 = const offset_of!(Frame, r12),
        r13 = const offset_of!(Frame, r13),
        r14 = const offset_of!(Frame, r14),
        r15 = const offset_of!(Frame, r15),
        rip = const offset_of!(Frame, rip),
        ra = const offset_of!(Frame, ra),
        xsave = const offset_of!(Frame, xsave),
    )
}
