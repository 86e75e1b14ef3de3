//! What a handler returns to, and how one is entered.
#![allow(unsafe_code)]

use core::arch::naked_asm;
use core::mem::offset_of;

use super::signal::{INFO, SigFrame};

/// Unwind table of the code that a handler returns to: every register is in the
/// ucontext at rsp. (DW_CFA_def_cfa_expression, DW_CFA_expression: the words of
/// the ucontext in the order of its sigcontext.)
macro_rules! in_signal_frame {
    ($($line:expr),* ; $($name:ident = $kind:ident $value:expr),*) => {
        naked_asm!(
            ".cfi_startproc",
            ".cfi_signal_frame",
            ".cfi_escape 0x0f, 4, 0x77, 0xa0, 1, 6",   // CFA = [rsp + 160]
            ".cfi_escape 0x10, 8, 2, 0x77, 40",        // r8
            ".cfi_escape 0x10, 9, 2, 0x77, 48",        // r9
            ".cfi_escape 0x10, 10, 2, 0x77, 56",       // r10
            ".cfi_escape 0x10, 11, 3, 0x77, 0xc0, 0",  // r11, 64
            ".cfi_escape 0x10, 12, 3, 0x77, 0xc8, 0",  // r12, 72
            ".cfi_escape 0x10, 13, 3, 0x77, 0xd0, 0",  // r13, 80
            ".cfi_escape 0x10, 14, 3, 0x77, 0xd8, 0",  // r14, 88
            ".cfi_escape 0x10, 15, 3, 0x77, 0xe0, 0",  // r15, 96
            ".cfi_escape 0x10, 5, 3, 0x77, 0xe8, 0",   // rdi, 104
            ".cfi_escape 0x10, 4, 3, 0x77, 0xf0, 0",   // rsi, 112
            ".cfi_escape 0x10, 6, 3, 0x77, 0xf8, 0",   // rbp, 120
            ".cfi_escape 0x10, 3, 3, 0x77, 0x80, 1",   // rbx, 128
            ".cfi_escape 0x10, 1, 3, 0x77, 0x88, 1",   // rdx, 136
            ".cfi_escape 0x10, 0, 3, 0x77, 0x90, 1",   // rax, 144
            ".cfi_escape 0x10, 2, 3, 0x77, 0x98, 1",   // rcx, 152
            ".cfi_escape 0x10, 7, 3, 0x77, 0xa0, 1",   // rsp, 160
            ".cfi_escape 0x10, 16, 3, 0x77, 0xa8, 1",  // rip, 168
            $($line,)*
            ".cfi_endproc",
            $($name = $kind $value,)*
        )
    };
}

/// Length of the restorer's first instruction. Unwinders look one byte before a
/// return address, so the address is that of the second instruction.
const NOP_LEN: u64 = 1;

/// What a handler returns to. rsp is the ucontext.
///
/// # Safety
/// Entered by the return of a handler alone.
#[unsafe(naked)]
unsafe extern "C" fn restorer() {
    in_signal_frame!(
        "nop",
        "mov rdi, rsp",
        "call {hook}", // frame % 16 == 8, so rsp is aligned
        "test rax, rax",
        "jnz 2f",
        "mov eax, {sigreturn}",
        "syscall",
        "2:",
        // The frame may be in use again, and the call above has used its first word.
        "lea rcx, [rip + {restorer} + {nop}]",
        "mov [rsp - 8], rcx",
        "mov rsp, rax", // the frame of another handler
        "jmp {enter}";
        restorer = sym restorer,
        nop = const NOP_LEN,
        hook = sym crate::signal::handler_returned,
        enter = sym enter_handler,
        sigreturn = const libc::SYS_rt_sigreturn
    )
}

/// What a handler's frame has as its return address.
pub(super) fn restorer_address() -> u64 {
    restorer as *const () as u64 + NOP_LEN
}

/// Address of the restorer of the kernel's own frames: what our handler returns to.
pub fn kernel_restorer() -> u64 {
    restore_kernel_frame as *const () as u64 + NOP_LEN
}

/// # Safety
/// As [`restorer`].
#[unsafe(naked)]
unsafe extern "C" fn restore_kernel_frame() {
    in_signal_frame!(
        "nop",
        "mov eax, {sigreturn}",
        "syscall";
        sigreturn = const libc::SYS_rt_sigreturn
    )
}

/// Enters the handler of the frame at rsp. Every signal is blocked up to the
/// system call here: a signal that arrives then finds rsp at the frame and puts
/// its own below.
///
/// # Safety
/// Jumped to with a whole frame at rsp.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn enter_handler() {
    naked_asm!(
        ".cfi_startproc",
        ".cfi_def_cfa rsp, 8",
        "mov edi, {setmask}",
        "lea rsi, [rsp + {mask}]",
        "xor edx, edx",
        "mov r10d, 8",
        "mov eax, {sigprocmask}",
        "syscall",
        "lea rsi, [rsp + {info}]",
        "mov edi, [rsi]", // si_signo
        "lea rdx, [rsp + {uc}]",
        "mov rcx, [rsp + {handler}]",
        "xor eax, eax",
        "cld",
        "jmp rcx",
        ".cfi_endproc",
        setmask = const libc::SIG_SETMASK,
        sigprocmask = const libc::SYS_rt_sigprocmask,
        mask = const offset_of!(SigFrame, kernel_mask),
        info = const INFO,
        uc = const offset_of!(SigFrame, uc),
        handler = const offset_of!(SigFrame, handler),
    )
}
