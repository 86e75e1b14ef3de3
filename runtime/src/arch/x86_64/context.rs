//! Context switch between guests, and between a guest and its hub.
//!
//! A context that does not run is a stack pointer and an FS base. Below the
//! stack pointer's value lies what `switch` pushed:
//!
//! ```text
//!   rsp+0   mxcsr (4 bytes), x87 control word (2 bytes)
//!   rsp+8   r15, r14, r13, r12, rbx, rbp
//!   rsp+56  return address
//! ```
//!
//! The vector registers are not there: a switch is a call, and the System V ABI
//! makes them the caller's. The registers of the guest's own code are in its
//! [`Frame`].
#![allow(unsafe_code)]

use core::arch::{asm, naked_asm};
use core::mem::offset_of;
use core::sync::atomic::{AtomicU8, Ordering};

use super::entry::resume_frame;
use super::rare::{self, Rare};
use super::syscall::syscall2;
use crate::frame::Frame;

/// Where a context that does not run goes on.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Context {
    /// Stack pointer; what lies there is described in this file's first lines.
    pub rsp: u64,
    /// Thread pointer.
    pub fs: u64,
}

/// 1 when user code may use `wrfsbase` (bit 1 of AT_HWCAP2; Linux 5.9).
static HAS_FSGSBASE: AtomicU8 = AtomicU8::new(0);

const ARCH_SET_FS: u64 = 0x1002;
const ARCH_GET_FS: u64 = 0x1003;

/// Looks at what the CPU offers. Call once before the first switch.
pub fn init() {
    // SAFETY: getauxval has no preconditions.
    let hwcap2 = unsafe { libc::getauxval(libc::AT_HWCAP2) };
    HAS_FSGSBASE.store((hwcap2 & 2 != 0) as u8, Ordering::Relaxed);
}

/// Whether user code may read and write the bases of FS and GS by instructions.
pub(super) fn has_fsgsbase() -> bool {
    HAS_FSGSBASE.load(Ordering::Relaxed) != 0
}

/// The thread pointer now in use.
pub fn fs_base() -> u64 {
    if has_fsgsbase() {
        let base: u64;
        // SAFETY: the kernel allows the instruction when AT_HWCAP2 says so.
        unsafe { asm!("rdfsbase {}", out(reg) base, options(nomem, nostack, preserves_flags)) };
        return base;
    }
    let mut base = 0u64;
    // SAFETY: ARCH_GET_FS writes one word to the given address.
    unsafe { syscall2(libc::SYS_arch_prctl, ARCH_GET_FS, &raw mut base as u64) };
    base
}

/// Sets the thread pointer.
///
/// # Safety
/// It must be a TCB's, and the caller must know whatever of the last one is still in use.
unsafe fn set_fs_base(base: u64) {
    if has_fsgsbase() {
        // SAFETY: as in `fs_base`; the caller's contract.
        unsafe { asm!("wrfsbase {}", in(reg) base, options(nostack, preserves_flags)) };
    } else {
        // SAFETY: the caller's contract.
        unsafe { syscall2(libc::SYS_arch_prctl, ARCH_SET_FS, base) };
    }
}

/// Runs `f` on another TCB, which is then a host context's.
///
/// # Safety
/// The TCB must be that of a thread that does not run, and that holds no lock of libc's. Every
/// signal must be blocked.
#[inline(never)]
pub unsafe fn on_tcb(pointer: u64, f: &mut dyn FnMut()) {
    let own = fs_base();
    // SAFETY: a TCB whose thread does not run, by the caller's contract; `f` is not inlined,
    // so that nothing it has of thread-local storage is from another TCB.
    unsafe {
        let word = super::word_at(pointer).read();
        super::set_word_of(pointer, super::current_word());
        // Its second word is left alone: `f` may set it, and null is the first processor.
        set_fs_base(pointer);
        let errno = *libc::__errno_location();
        f();
        *libc::__errno_location() = errno;
        set_fs_base(own);
        super::set_word_of(pointer, word);
    }
}

/// Leaves the running context, a guest's, in `from` and goes on with `to`. Returns when
/// somebody switches to `from` again.
///
/// # Safety
/// `to` must hold a context made by `switch` or the `prepare_*` functions of
/// this file, whose stack is mapped and which nobody else continues.
#[inline(always)]
pub unsafe fn switch(from: *mut Context, to: *const Context) {
    let rare = Rare::current();
    // The other's stack may have a key.
    rare::open_all();
    // SAFETY: the caller's contract.
    unsafe { switch_registers(from, to) };
    rare.restore();
}

/// As [`switch`], from a host context.
///
/// # Safety
/// As [`switch`].
#[inline(always)]
pub unsafe fn switch_from_host(from: *mut Context, to: *const Context) {
    // SAFETY: the caller's contract.
    unsafe { switch_registers(from, to) };
    rare::open_all();
}

/// # Safety
/// As [`switch`].
#[unsafe(naked)]
unsafe extern "C" fn switch_registers(from: *mut Context, to: *const Context) {
    naked_asm!(
        ".cfi_startproc",
        "push rbp",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_rel_offset rbp, 0",
        "push rbx",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_rel_offset rbx, 0",
        "push r12",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_rel_offset r12, 0",
        "push r13",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_rel_offset r13, 0",
        "push r14",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_rel_offset r14, 0",
        "push r15",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_rel_offset r15, 0",
        "sub rsp, 8",
        ".cfi_adjust_cfa_offset 8",
        "stmxcsr [rsp]",
        "fnstcw [rsp + 4]",
        // Kept to compare with: loading a control register costs more than
        // finding that it need not be loaded.
        "mov rcx, [rsp]",
        "mov [rdi + {rsp}], rsp",
        "mov rsp, [rsi + {rsp}]",
        "mov rdx, [rsi + {fs}]",
        "cmp byte ptr [rip + {has}], 0",
        "je 3f",
        "wrfsbase rdx",
        "2:",
        "mov rdx, [rsp]",
        "xor rcx, rdx",
        "shl rcx, 16", // the upper two bytes of the slot are not written
        "jz 4f",
        "ldmxcsr [rsp]",
        "fldcw [rsp + 4]",
        "4:",
        "add rsp, 8",
        ".cfi_remember_state",
        ".cfi_adjust_cfa_offset -8",
        "pop r15",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_restore r15",
        "pop r14",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_restore r14",
        "pop r13",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_restore r13",
        "pop r12",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_restore r12",
        "pop rbx",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_restore rbx",
        "pop rbp",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_restore rbp",
        "ret",
        ".cfi_restore_state",
        "3:", // no wrfsbase: arch_prctl(ARCH_SET_FS, rdx)
        "mov r8, rcx",
        "mov rsi, rdx",
        "mov edi, {set_fs}",
        "mov eax, {prctl}",
        "syscall",
        "mov rcx, r8",
        "jmp 2b",
        ".cfi_endproc",
        rsp = const offset_of!(Context, rsp),
        fs = const offset_of!(Context, fs),
        has = sym HAS_FSGSBASE,
        set_fs = const ARCH_SET_FS,
        prctl = const libc::SYS_arch_prctl,
    )
}

/// What `switch` finds on the stack of a context that never ran.
#[repr(C)]
struct Fresh {
    control: u64,
    r15: u64,
    r14: u64,
    r13: u64,
    r12: u64,
    rbx: u64,
    rbp: u64,
    ret: u64,
}

fn control_words() -> u64 {
    let mut control = 0u64;
    // SAFETY: both instructions store to the eight bytes of `control`.
    unsafe {
        asm!("stmxcsr [{0}]", "fnstcw [{0} + 4]", in(reg) &raw mut control, options(nostack));
    }
    control
}

/// Control words of a thread that never changed them: MXCSR, and behind it the x87 unit's.
const DEFAULT_CONTROL: u64 = super::signal::MXCSR_DEFAULT as u64 | 0x37f << 32;

fn set_control_words(control: u64) {
    // SAFETY: words that the instructions of `control_words` gave, or the default.
    unsafe {
        asm!("ldmxcsr [{0}]", "fldcw [{0} + 4]", in(reg) &raw const control, options(nostack));
    }
}

/// The default floating-point state, for as long as this lives: a program may let floating-point
/// operations trap (feenableexcept(3)), or round as ours do not expect. What the program had,
/// and has collected of exceptions, comes back.
pub struct DefaultFloats(u64);

impl DefaultFloats {
    /// From now on.
    pub fn begin() -> Self {
        let before = control_words();
        set_control_words(DEFAULT_CONTROL);
        DefaultFloats(before)
    }
}

impl Drop for DefaultFloats {
    fn drop(&mut self) {
        set_control_words(self.0);
    }
}

/// Makes a context that loads every register from `frame` when it first runs.
/// It uses the stack right below the frame.
///
/// # Safety
/// `frame` must lie on the stack the context will own, 16-byte aligned.
pub unsafe fn prepare_frame(frame: *mut Frame, fs: u64) -> Context {
    // SAFETY: the caller owns the stack below `frame`.
    unsafe {
        prepare(
            frame as u64,
            fs,
            resume_thunk as *const () as u64,
            frame as u64,
            0,
        )
    }
}

/// Makes a context that calls `f(arg)` on the stack that ends at `top` when it
/// first runs. `f` must not return.
///
/// # Safety
/// `top` must be 16-byte aligned, with a mapped and unused stack below it.
pub unsafe fn prepare_call(
    top: u64,
    fs: u64,
    f: unsafe extern "C" fn(usize) -> !,
    arg: usize,
) -> Context {
    // SAFETY: the caller owns the stack below `top`.
    unsafe {
        prepare(
            top,
            fs,
            call_thunk as *const () as u64,
            arg as u64,
            f as usize as u64,
        )
    }
}

unsafe fn prepare(top: u64, fs: u64, ret: u64, rbx: u64, r12: u64) -> Context {
    debug_assert!(top.is_multiple_of(16));
    let rsp = top - size_of::<Fresh>() as u64;
    let fresh = Fresh {
        control: control_words(),
        r15: 0,
        r14: 0,
        r13: 0,
        r12,
        rbx,
        rbp: 0,
        ret,
    };
    // SAFETY: the caller of `prepare_*` owns the stack below `top`.
    unsafe { (rsp as *mut Fresh).write(fresh) };
    Context { rsp, fs }
}

/// Enters `resume_frame` with the frame of `prepare_frame`.
#[unsafe(naked)]
unsafe extern "C" fn resume_thunk() {
    naked_asm!(
        ".cfi_startproc",
        ".cfi_undefined rip", // the outermost frame of this context
        "mov rdi, rbx",
        "jmp {resume}",
        ".cfi_endproc",
        resume = sym resume_frame,
    )
}

/// Calls the function of `prepare_call`.
#[unsafe(naked)]
unsafe extern "C" fn call_thunk() {
    naked_asm!(
        ".cfi_startproc",
        ".cfi_undefined rip",
        "mov rdi, rbx",
        "call r12",
        "ud2",
        ".cfi_endproc",
    )
}

/// Calls `f(arg)` on the stack that ends at `top`, and returns to this one.
///
/// # Safety
/// `top` must be 16-byte aligned, with a mapped and unused stack below it. `f` must
/// not unwind.
#[unsafe(naked)]
pub unsafe extern "C" fn call_on(top: u64, f: unsafe extern "C" fn(usize), arg: usize) {
    naked_asm!(
        ".cfi_startproc",
        "push rbp",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_rel_offset rbp, 0",
        "mov rbp, rsp",
        ".cfi_def_cfa_register rbp",
        "mov rsp, rdi",
        "mov rdi, rdx",
        "call rsi",
        "mov rsp, rbp",
        "pop rbp",
        ".cfi_def_cfa rsp, 8",
        "ret",
        ".cfi_endproc",
    )
}
