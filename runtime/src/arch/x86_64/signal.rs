//! The signal frame of x86-64 Linux and the assembly that enters and leaves a
//! handler.
//!
//! A frame has the kernel's own layout, so that handlers, unwinders and the
//! kernel's `rt_sigreturn` all find what they expect, and a few words of ours
//! behind it:
//!
//! ```text
//!   top            end of the red zone, or of the alternate stack
//!   fpstate        64-byte aligned: FXSAVE image, or XSAVE image and its marks
//!   frame+440      our words
//!   frame+312      siginfo
//!   frame+8        ucontext
//!   frame          return address: the restorer; frame % 16 == 8
//! ```
#![allow(unsafe_code)]

use core::arch::asm;
use core::mem::offset_of;
use core::ptr;

use super::claim;
use super::entry::{self, xsave_size};
use super::interruptible;
use super::keys;
use super::restorer::{enter_handler, restorer_address};
use super::{rare, slots, user, watched};
use crate::frame::{Frame, RED_ZONE, SYSCALL_LEN, SiteRecord};
use crate::raw;
use crate::signal::{Info, StackT};

/// The kernel's `struct sigcontext`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Mcontext {
    r8: u64,
    r9: u64,
    r10: u64,
    r11: u64,
    r12: u64,
    r13: u64,
    r14: u64,
    r15: u64,
    rdi: u64,
    rsi: u64,
    rbp: u64,
    rbx: u64,
    rdx: u64,
    rax: u64,
    rcx: u64,
    rsp: u64,
    rip: u64,
    eflags: u64,
    /// cs, gs, fs, ss: 16 bits each.
    segments: u64,
    err: u64,
    trapno: u64,
    oldmask: u64,
    cr2: u64,
    fpstate: u64,
    reserved: [u64; 8],
}

/// The kernel's `struct ucontext`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Ucontext {
    flags: u64,
    link: u64,
    /// The alternate stack that sigreturn gives back.
    pub stack: StackT,
    mc: Mcontext,
    /// The signal mask that sigreturn gives back.
    pub mask: u64,
}

/// One frame on the program's stack.
#[repr(C)]
pub struct SigFrame {
    ret: u64,
    /// What the handler gets as its third argument.
    pub uc: Ucontext,
    /// What the handler gets as its second argument.
    pub info: Info,
    /// The instruction pointer that the ucontext shows, and what it stands for.
    /// A guest that is in a system call is shown at its site, where its function's
    /// unwind table and libc's own checks look; it goes on in the site's stub.
    shown: u64,
    real: u64,
    /// The handler to enter.
    pub handler: u64,
    /// The kernel thread's mask once the handler runs.
    pub kernel_mask: u64,
}

pub(super) const INFO: usize = offset_of!(SigFrame, info);

const _: () = {
    assert!(offset_of!(Ucontext, stack) == offset_of!(libc::ucontext_t, uc_stack));
    assert!(offset_of!(Ucontext, mc) == offset_of!(libc::ucontext_t, uc_mcontext));
    assert!(offset_of!(Ucontext, mask) == offset_of!(libc::ucontext_t, uc_sigmask));
    assert!(offset_of!(Mcontext, rsp) == 8 * libc::REG_RSP as usize);
    assert!(offset_of!(Mcontext, rip) == 8 * libc::REG_RIP as usize);
    assert!(offset_of!(Mcontext, cr2) == 8 * libc::REG_CR2 as usize);
    assert!(offset_of!(Mcontext, fpstate) == offset_of!(libc::mcontext_t, fpregs));
    assert!(offset_of!(SigFrame, uc) == 8 && INFO == 312);
    // The restorer's unwind table below.
    assert!(offset_of!(Ucontext, mc) == 40);
};

/// UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS: the context has a stack segment.
const UC_SS: u64 = 6;
/// The fpstate is a whole XSAVE image.
const UC_FP_XSTATE: u64 = 1;
const FP_XSTATE_MAGIC1: u32 = 0x4650_5853;
const FP_XSTATE_MAGIC2: u32 = 0x4650_5845;
/// The kernel's `struct _fpx_sw_bytes`, in the last 48 bytes of the FXSAVE area.
const SW_BYTES: usize = 464;
const FXSAVE: usize = 512;
/// What follows it in an XSAVE image: which components it holds.
const XSAVE_HEADER: usize = 64;
/// The mark behind an XSAVE image, in bytes.
const MARK: usize = 4;
/// User code and stack segments of a 64-bit process.
const SEGMENTS: u64 = 0x002b_0000_0000_0033;
/// Interrupts enabled, and the bit that is always set.
const EFLAGS: u64 = 0x202;
/// Direction, trap and resume flags, which are clear when a handler begins.
const EFLAGS_CLEAR: u64 = 0x400 | 0x100 | 0x1_0000;
pub(super) const MXCSR_DEFAULT: u32 = 0x1f80;
const FCW_DEFAULT: u16 = 0x37f;

/// Where the vector and x87 state of an interrupted context is.
#[derive(Clone, Copy)]
enum Fp {
    /// As the kernel sets it for a handler.
    Init,
    /// In the kernel's own signal frame.
    Kernel(*const u8),
    /// xmm registers in a [`Frame`], the rest in the CPU.
    Legacy(*const [[u64; 2]; 16]),
    /// In the XSAVE area of a [`Frame`].
    Xsave(*const u8),
}

/// Where a guest goes on after a system call, as its own code knows it.
pub fn return_address(frame: &Frame) -> u64 {
    // SAFETY: records are never freed.
    let record = unsafe { &*frame.record };
    let back = record.resume.wrapping_sub(frame.rip);
    let at_site = back == 0 || back == SYSCALL_LEN;
    if at_site { frame.ra - back } else { frame.rip }
}

/// What a handler interrupts; after [`push`](Self::push), the entry of the handler.
pub struct Interrupted {
    mc: Mcontext,
    real: u64,
    fp: Fp,
    flags: u64,
}

impl Interrupted {
    /// A guest at the end of a system call. With `restart` it makes the call again
    /// when the handler has returned; `frame.rax` must then still be its number.
    pub fn of_call(frame: &Frame, restart: bool) -> Self {
        let (shown, real, rcx) = if restart {
            let entry = if frame.xsave.is_null() {
                entry::entry as *const () as u64
            } else {
                entry::entry_full as *const () as u64
            };
            (frame.ra - SYSCALL_LEN, entry, frame.record as u64)
        } else {
            (return_address(frame), frame.rip, frame.rip)
        };
        Interrupted {
            mc: Mcontext {
                r8: frame.r8,
                r9: frame.r9,
                r10: frame.r10,
                r11: EFLAGS,
                r12: frame.r12,
                r13: frame.r13,
                r14: frame.r14,
                r15: frame.r15,
                rdi: frame.rdi,
                rsi: frame.rsi,
                rbp: frame.rbp,
                rbx: frame.rbx,
                rdx: frame.rdx,
                rax: frame.rax,
                rcx,
                rsp: frame.rsp,
                rip: shown,
                eflags: EFLAGS,
                segments: SEGMENTS,
                err: 0,
                trapno: 0,
                oldmask: 0,
                cr2: 0,
                fpstate: 0,
                reserved: [0; 8],
            },
            real,
            fp: if frame.xsave.is_null() {
                Fp::Legacy(&raw const frame.xmm)
            } else {
                Fp::Xsave(frame.xsave)
            },
            flags: UC_SS,
        }
    }

    /// The context in the kernel's frame of a signal that arrived, or in one of ours.
    pub fn of_context(uc: &Ucontext) -> Self {
        let mut mc = uc.mc;
        if let Some(site) = slots::shown(mc.rip) {
            mc.rip = site;
        }
        Interrupted {
            mc,
            real: uc.mc.rip,
            fp: if uc.mc.fpstate == 0 {
                Fp::Init
            } else {
                Fp::Kernel(uc.mc.fpstate as *const u8)
            },
            flags: uc.flags,
        }
    }

    /// The context of one of our frames, kept where it is: the frame gets another
    /// handler and is entered again.
    pub fn reuse(
        frame: &mut SigFrame,
        info: &Info,
        mask: u64,
        stack: StackT,
        handler: u64,
    ) -> Self {
        let mut entry = Interrupted::of_context(&frame.uc);
        frame.info = *info;
        frame.uc.mask = mask;
        frame.uc.stack = stack;
        frame.handler = handler;
        entry.become_entry(frame as *mut SigFrame as u64, info.signal(), handler);
        entry
    }

    /// Its stack pointer.
    pub fn sp(&self) -> u64 {
        self.mc.rsp
    }

    /// Where a frame on its own stack may begin.
    pub fn below_red_zone(&self) -> u64 {
        self.mc.rsp - RED_ZONE as u64
    }

    /// Where the frame below `top` will be.
    ///
    /// # Safety
    /// As [`push`](Self::push).
    pub unsafe fn place(&self, top: u64) -> u64 {
        // SAFETY: the caller's contract.
        let (size, _) = unsafe { self.fp_size() };
        Self::below(top, size, size_of::<SigFrame>())
    }

    /// Where the kernel's own would be, which has the whole vector state and none of our words.
    pub fn kernels_place(&self, top: u64) -> u64 {
        Self::below(top, kernel_fp_size(), offset_of!(SigFrame, shown))
    }

    fn fp_below(top: u64, size: usize) -> u64 {
        top.wrapping_sub(size as u64) & !63
    }

    fn below(top: u64, fp: usize, frame: usize) -> u64 {
        let fp = Self::fp_below(top, fp);
        (fp.wrapping_sub(frame as u64) & !15).wrapping_sub(8)
    }

    /// Builds the frame of a handler below `top` and becomes the handler's entry.
    /// Returns the frame.
    ///
    /// # Safety
    /// The stack below `top` must be the program's, writable and unused, down to
    /// [`place`](Self::place); a context of a call must be that of the call the CPU is in.
    pub unsafe fn push(
        &mut self,
        top: u64,
        info: &Info,
        mask: u64,
        stack: StackT,
        handler: u64,
    ) -> *mut SigFrame {
        // SAFETY: the caller's contract.
        unsafe {
            let (size, marks) = self.fp_size();
            let fp = Self::fp_below(top, size);
            self.write_fp(fp as *mut u8, size, marks);
            let at = Self::below(top, size, size_of::<SigFrame>());
            let mut mc = self.mc;
            mc.fpstate = fp;
            mc.oldmask = mask;
            let frame = at as *mut SigFrame;
            frame.write(SigFrame {
                ret: restorer_address(),
                uc: Ucontext {
                    flags: self.flags & !UC_FP_XSTATE | if marks { UC_FP_XSTATE } else { 0 },
                    link: 0,
                    stack,
                    mc,
                    mask,
                },
                info: *info,
                shown: mc.rip,
                real: self.real,
                handler,
                kernel_mask: 0,
            });
            self.become_entry(at, info.signal(), handler);
            frame
        }
    }

    fn become_entry(&mut self, frame: u64, signal: i32, handler: u64) {
        self.mc.rip = handler;
        self.mc.rsp = frame;
        self.mc.rdi = signal as u64;
        self.mc.rsi = frame + INFO as u64;
        self.mc.rdx = frame + 8;
        self.mc.rax = 0;
        self.mc.eflags &= !EFLAGS_CLEAR;
        self.real = handler;
        self.fp = Fp::Init;
    }

    /// Size of the fpstate, and whether it carries an XSAVE image.
    ///
    /// # Safety
    /// As [`push`](Self::push).
    unsafe fn fp_size(&self) -> (usize, bool) {
        match self.fp {
            Fp::Init | Fp::Legacy(_) | Fp::Xsave(_) if rare::has_keys() => (kernel_fp_size(), true),
            Fp::Init | Fp::Legacy(_) => (FXSAVE, false),
            Fp::Xsave(_) => (xsave_size() + MARK, true),
            // SAFETY: the kernel wrote an FXSAVE area at least.
            Fp::Kernel(fp) => unsafe {
                let sw = fp.add(SW_BYTES).cast::<u32>();
                if sw.read() == FP_XSTATE_MAGIC1 {
                    (sw.add(1).read() as usize, true)
                } else {
                    (FXSAVE, false)
                }
            },
        }
    }

    /// # Safety
    /// As [`push`](Self::push).
    unsafe fn write_fp(&self, to: *mut u8, size: usize, marks: bool) {
        if rare::has_keys() && !matches!(self.fp, Fp::Kernel(_)) {
            debug_assert!(marks);
            // SAFETY: the caller's contract.
            return unsafe { self.write_image_with_rights(to, size) };
        }
        // SAFETY: `to` has `size` bytes; the sources have as many.
        unsafe {
            match self.fp {
                Fp::Kernel(fp) => ptr::copy_nonoverlapping(fp, to, size),
                Fp::Init => {
                    ptr::write_bytes(to, 0, FXSAVE);
                    to.cast::<u16>().write(FCW_DEFAULT);
                    to.add(24).cast::<u32>().write(MXCSR_DEFAULT);
                }
                Fp::Legacy(xmm) => {
                    asm!("fxsave64 [{}]", in(reg) to, options(nostack, preserves_flags));
                    ptr::copy_nonoverlapping(xmm.cast::<u8>(), to.add(160), 256);
                    ptr::write_bytes(to.add(SW_BYTES), 0, FXSAVE - SW_BYTES);
                }
                Fp::Xsave(image) => {
                    ptr::copy_nonoverlapping(image, to, size - MARK);
                    debug_assert!(marks);
                    write_marks(to, size, entry::XSAVE_MASK);
                }
            }
        }
    }

    /// Writes the state as an XSAVE image with PKRU.
    ///
    /// # Safety
    /// `to` must have `size` bytes, of which [`fp_size`](Self::fp_size) told; as
    /// [`push`](Self::push).
    unsafe fn write_image_with_rights(&self, to: *mut u8, size: usize) {
        const LEGACY: u64 = 3;
        const PKRU: u64 = 1 << keys::COMPONENT;
        // SAFETY: the caller's contract; the image holds every component that is enabled, PKRU
        // among them, and so the image of an entry.
        unsafe {
            ptr::write_bytes(to, 0, FXSAVE + XSAVE_HEADER);
            let features = to.add(FXSAVE).cast::<u64>();
            let (mut rights, mut mask) = (keys::read(), LEGACY | PKRU);
            match self.fp {
                // The kernel's, which is copied as it is, does not come here.
                Fp::Init | Fp::Kernel(_) => {
                    to.cast::<u16>().write(FCW_DEFAULT);
                    to.add(24).cast::<u32>().write(MXCSR_DEFAULT);
                    features.write(PKRU);
                    rights = keys::FIRST;
                }
                Fp::Legacy(xmm) => {
                    asm!("fxsave64 [{}]", in(reg) to, options(nostack, preserves_flags));
                    ptr::copy_nonoverlapping(xmm.cast::<u8>(), to.add(160), 256);
                    features.write(LEGACY | PKRU);
                }
                Fp::Xsave(image) => {
                    ptr::copy_nonoverlapping(image, to, xsave_size().min(size - MARK));
                    features.write(features.read() | PKRU);
                    mask |= entry::XSAVE_MASK;
                }
            }
            let pkru = to.add(keys::offset()).cast::<u64>();
            pkru.write_unaligned(u64::from(rights));
            write_marks(to, size, mask);
        }
    }

    /// Makes the kernel's own frame enter the handler when our handler returns.
    pub fn enter_from_kernel(&self, uc: &mut Ucontext, kernel_mask: u64) {
        let cr2 = uc.mc.cr2;
        uc.mc = self.mc;
        uc.mc.cr2 = cr2;
        // No state: the kernel gives the handler a fresh one.
        uc.mc.fpstate = 0;
        uc.mask = kernel_mask;
    }

    /// Makes a call's frame enter the handler when dispatch returns. Every signal
    /// must be blocked in the kernel: [`enter_handler`] unblocks them.
    ///
    /// # Safety
    /// As [`push`](Self::push), which must have been called.
    pub unsafe fn enter_from_call(&self, frame: &mut Frame, kernel_mask: u64) {
        // SAFETY: `sp` is the last frame pushed.
        unsafe { (*(self.sp() as *mut SigFrame)).kernel_mask = kernel_mask };
        frame.rip = enter_handler as *const () as u64;
        frame.rsp = self.sp();
        frame.xsave = ptr::null_mut();
        reset_fp();
    }

    /// What the restorer's hook answers to enter the handler; as
    /// [`enter_from_call`](Self::enter_from_call).
    ///
    /// # Safety
    /// As [`enter_from_call`](Self::enter_from_call).
    pub unsafe fn enter_from_return(&self, kernel_mask: u64) -> *mut SigFrame {
        let frame = self.sp() as *mut SigFrame;
        // SAFETY: `sp` is the last frame pushed or reused.
        unsafe { (*frame).kernel_mask = kernel_mask };
        reset_fp();
        frame
    }
}

impl SigFrame {
    /// The frame whose ucontext this is.
    ///
    /// # Safety
    /// `uc` must be what our restorer passed.
    pub unsafe fn of<'a>(uc: *mut Ucontext) -> &'a mut SigFrame {
        // SAFETY: frames are written whole.
        unsafe { &mut *uc.byte_sub(offset_of!(SigFrame, uc)).cast() }
    }

    /// Replaces the instruction pointer that was shown by the one it stood for,
    /// unless the handler set another.
    pub fn go_on_for_real(&mut self) {
        if self.uc.mc.rip == self.shown {
            self.uc.mc.rip = self.real;
        }
    }

    /// Stack pointer of the interrupted context.
    pub fn interrupted_sp(&self) -> u64 {
        self.uc.mc.rsp
    }

    /// What the handler interrupted, as the handler left it.
    pub fn interrupted(&self) -> Interrupted {
        let mut context = Interrupted::of_context(&self.uc);
        if context.mc.rip == self.shown {
            context.real = self.real;
        }
        context
    }
}

impl Ucontext {
    /// Where the signal arrived.
    pub fn ip(&self) -> u64 {
        self.mc.rip
    }

    /// The stack pointer there.
    pub fn sp(&self) -> u64 {
        self.mc.rsp
    }

    /// What the frame pointer's register holds.
    pub fn fp(&self) -> u64 {
        self.mc.rbp
    }

    /// Goes on elsewhere, with the same registers.
    pub fn set_ip(&mut self, ip: u64) {
        self.mc.rip = ip;
    }

    /// What a call has returned, where one was made.
    pub fn result(&self) -> i64 {
        self.mc.rax as i64
    }

    /// Sets it.
    pub fn set_result(&mut self, result: i64) {
        self.mc.rax = result as u64;
    }

    /// The registers of a call's arguments.
    pub fn args(&self) -> [u64; 6] {
        let mc = &self.mc;
        [mc.rdi, mc.rsi, mc.rdx, mc.r10, mc.r8, mc.r9]
    }

    /// Makes a call again, whose `syscall` is right before where this goes on.
    pub fn repeat(&mut self, nr: i64, args: [u64; 6]) {
        self.mc.rip -= SYSCALL_LEN;
        self.mc.rax = nr as u64;
        let mc = &mut self.mc;
        [mc.rdi, mc.rsi, mc.rdx, mc.r10, mc.r8, mc.r9] = args;
    }

    /// Enters dispatch with the call whose number and arguments are in the registers, as a
    /// site with this record; `full` saves the whole vector state.
    pub fn enter_call(&mut self, record: *const SiteRecord, full: bool) {
        self.mc.rip = if full {
            entry::entry_full as *const () as u64
        } else {
            entry::entry as *const () as u64
        };
        self.mc.rcx = record as u64;
    }

    /// If the instruction is one of those that may fault on a program's address,
    /// makes it report that instead. False if not.
    pub fn fix_up(&mut self) -> bool {
        if !user::may_fault_at(self.mc.rip) {
            return false;
        }
        self.mc.rip = user::fault_address();
        true
    }

    /// Bytes that a frame on top of this context takes at most, with the red zone above it.
    ///
    /// # Safety
    /// It must be the kernel's own, of the present signal.
    pub unsafe fn frame_size(&self) -> usize {
        // SAFETY: the caller's contract.
        let (fp, _) = unsafe { Interrupted::of_context(self).fp_size() };
        // The state is aligned to 64 bytes, the frame to 16.
        RED_ZONE + fp + 64 + size_of::<SigFrame>() + 16
    }

    /// A guest that may be moved to another processor begins again what depends on which it
    /// is on.
    pub fn restart_claim(&mut self) {
        self.mc.rip = claim::restarted(self.mc.rip);
    }

    /// If the kernel has interrupted a call, which would begin again here, ends it (-EINTR).
    pub fn end_repeated(&mut self) {
        const SYSCALL: u16 = 0x050f;
        let mc = &mut self.mc;
        // The instruction leaves there where it returns to.
        let was_made = mc.rcx == mc.rip.wrapping_add(SYSCALL_LEN);
        // No handler ends these.
        let always_repeated = match mc.rax as i64 {
            libc::SYS_clone | libc::SYS_clone3 | libc::SYS_fork | libc::SYS_vfork => true,
            libc::SYS_futex => matches!(
                mc.rsi as i32 & libc::FUTEX_CMD_MASK,
                libc::FUTEX_LOCK_PI | libc::FUTEX_LOCK_PI2 | libc::FUTEX_WAIT_REQUEUE_PI
            ),
            _ => false,
        };
        if was_made
            && !always_repeated
            && raw::is_readable(mc.rip)
            // SAFETY: code that can be read.
            && unsafe { (mc.rip as *const u16).read_unaligned() } == SYSCALL
        {
            mc.rip += SYSCALL_LEN;
            mc.rax = raw::err(libc::EINTR) as u64;
        }
    }

    /// If the thread is about to make an interruptible call that is to end, ends it.
    pub fn end_call(&mut self) {
        if interruptible::is_to_end(self.mc.rip, self.mc.rbx) {
            self.mc.rip = interruptible::end_address();
        }
    }

    /// Ends a [`watched_syscall`](super::watched_syscall) that has not begun, or would
    /// begin again.
    pub fn end_watched(&mut self) {
        if watched::is_at(self.mc.rip) {
            self.mc.rip = watched::ended();
        }
    }
}

/// Bytes of the vector state in the kernel's frames, with a mark behind an XSAVE image.
fn kernel_fp_size() -> usize {
    match entry::kernels_image_size() {
        0 => FXSAVE,
        image => image + MARK,
    }
}

/// Marks an XSAVE image of `size` bytes, the mark behind it among them, as one of those
/// components.
///
/// # Safety
/// `to` must have as many bytes.
unsafe fn write_marks(to: *mut u8, size: usize, components: u64) {
    // SAFETY: the caller's contract.
    unsafe {
        let sw = to.add(SW_BYTES).cast::<u32>();
        ptr::write_bytes(sw.cast::<u8>(), 0, FXSAVE - SW_BYTES);
        sw.write(FP_XSTATE_MAGIC1);
        sw.add(1).write(size as u32);
        sw.add(2).cast::<u64>().write_unaligned(components);
        sw.add(4).write((size - MARK) as u32);
        to.add(size - MARK)
            .cast::<u32>()
            .write_unaligned(FP_XSTATE_MAGIC2);
    }
}

/// Gives the x87 unit, MXCSR and PKRU the state a handler begins with.
fn reset_fp() {
    if rare::has_keys() {
        keys::set(keys::FIRST);
    }
    let mxcsr = MXCSR_DEFAULT;
    // SAFETY: what they held was saved in the signal frame.
    unsafe { asm!("fninit", "ldmxcsr [{}]", in(reg) &raw const mxcsr, options(nostack)) };
}

/// The stack pointer now.
#[inline(always)]
pub fn stack_pointer() -> u64 {
    let sp: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, rsp", out(reg) sp, options(nomem, nostack, preserves_flags)) };
    sp
}
