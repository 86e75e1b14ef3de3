//! The registers of a guest at one of its system calls.
//!
//! A *site* is one `syscall` instruction in the text of a patched object. The
//! engine overwrites it with a jump to a stub of that site; the stub jumps to
//! [`arch::entry`](crate::arch::entry), which builds a `Frame` on the guest's
//! own stack, below the red zone, and calls
//! [`dispatch`](crate::dispatch::dispatch). When dispatch returns, every
//! register is loaded from the same frame, so dispatch changes what the guest
//! sees by writing to it: `rax` for the result, `rip` and `rsp` to enter a
//! signal handler, `rip` set back by [`SYSCALL_LEN`] to run the real
//! instruction in the stub (calls that return twice).

/// Length in bytes of the `syscall` instruction that stands immediately before
/// every [`SiteRecord::resume`].
pub const SYSCALL_LEN: u64 = 2;

/// What a stub tells the entry about its site. Stubs are emitted by the engine
/// and load the address of this record into `rcx` before they jump.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SiteRecord {
    /// Where to go on in the stub. The two bytes before it are the stub's own
    /// `syscall` instruction.
    pub resume: u64,
    /// Address of the instruction after the original `syscall`: the return
    /// address that unwinders see, so that they find the object's own FDE.
    pub ra: u64,
}

/// The saved registers. `rcx` and `r11` are absent: the instruction destroys
/// them, so no caller relies on them. Flags are absent for the same reason
/// (every inline `syscall` of a compiler clobbers them).
///
/// `arch::entry` uses the offsets of these fields through `offset_of!`.
#[repr(C)]
#[derive(Debug, Clone)]
pub struct Frame {
    /// xmm0 to xmm15.
    pub xmm: [[u64; 2]; 16],
    /// XSAVE area with the full vector state, or null. Only sites outside
    /// libc's own family need it: libc is baseline x86-64.
    pub xsave: *mut u8,
    /// The site's record: what `rcx` held at the entry (or a slot's in its place, see
    /// [`catch`](crate::catch)). With it the entry can be
    /// entered again, which is how a call is restarted after a signal handler.
    pub record: *const SiteRecord,
    #[allow(missing_docs)]
    pub r8: u64,
    #[allow(missing_docs)]
    pub r9: u64,
    #[allow(missing_docs)]
    pub r10: u64,
    #[allow(missing_docs)]
    pub r12: u64,
    #[allow(missing_docs)]
    pub r13: u64,
    #[allow(missing_docs)]
    pub r14: u64,
    #[allow(missing_docs)]
    pub r15: u64,
    #[allow(missing_docs)]
    pub rbx: u64,
    #[allow(missing_docs)]
    pub rbp: u64,
    #[allow(missing_docs)]
    pub rdi: u64,
    #[allow(missing_docs)]
    pub rsi: u64,
    #[allow(missing_docs)]
    pub rdx: u64,
    /// On entry the call's number, on return its result (`-errno` on failure).
    pub rax: u64,
    /// The stack pointer at the site.
    pub rsp: u64,
    /// [`SiteRecord::resume`].
    pub rip: u64,
    /// [`SiteRecord::ra`].
    pub ra: u64,
}

/// Bytes between the stack pointer at the site and the end of the frame: the
/// red zone of the System V ABI.
pub const RED_ZONE: usize = 128;

const _: () = assert!(size_of::<Frame>().is_multiple_of(16));

impl Frame {
    /// The six arguments of the call, in order.
    #[inline]
    pub fn args(&self) -> [u64; 6] {
        [self.rdi, self.rsi, self.rdx, self.r10, self.r8, self.r9]
    }

    /// Makes the guest run the real instruction in its stub, with all its
    /// registers as they were, when dispatch returns.
    #[inline]
    pub fn run_native(&mut self) {
        self.rip -= SYSCALL_LEN;
    }
}
