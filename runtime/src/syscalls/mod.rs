//! Every system call of Linux on x86-64 and what becomes of it: data only.
//!
//! [`TABLE`] has one row for each number, in the order of the kernel's
//! `arch/x86/entry/syscalls/syscall_64.tbl`. Dispatch, the support table in the
//! README, the names in events and the coverage tests all derive from it, so
//! that they can't disagree. The rows are in `table.rs`; this file says what a
//! column means.
//!
//! All of it is built at compile time and read-only: it may be read in guest
//! mode and from signal handlers.

mod table;
#[cfg(test)]
mod tests;

use crate::group::Group;
pub use table::{Op, TABLE};

/// One row: a system call.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Syscall {
    /// The number in `rax`.
    pub nr: u16,
    /// The kernel's name, as in `__NR_name`.
    pub name: &'static str,
    /// The group it is patched with.
    pub group: Group,
    /// What becomes of it.
    pub level: Level,
    /// The operation that carries it out: of [`Level::Virtual`] rows and of
    /// [`Level::Offloaded`] ones that need one of their own.
    pub op: Option<Op>,
    /// When it is handed over: of the other [`Level::Offloaded`] rows.
    pub how: Option<How>,
    /// Whether the operation may give the CPU to another guest before it
    /// returns.
    pub parks: bool,
    /// What a signal handler that interrupts the call does to it.
    pub restart: Restart,
    /// For [`Level::MayBlock`] the reason; for other levels a limit of which
    /// the program should know. Empty if there is none. One sentence in
    /// Markdown.
    pub note: &'static str,
}

impl Syscall {
    /// Whether we carry it out, here or elsewhere.
    pub const fn is_ours(&self) -> bool {
        self.op.is_some() || self.how.is_some()
    }
}

/// What becomes of a call that a guest makes.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// Carried out by an operation of ours.
    Virtual,
    /// Run elsewhere (io_uring or a helper thread) while the guest is parked, whenever
    /// it may wait; as it is otherwise.
    Offloaded,
    /// Runs as it is, for a short time bounded by the kernel's own work.
    Native,
    /// Runs as it is, and stops the hub while it waits. The note says for what.
    MayBlock,
}

/// Which calls of an offloaded row are handed over.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum How {
    /// All of them.
    Always,
    /// Those whose first argument is a path on a file system that waits for others.
    Path,
    /// Those whose first two arguments are such a path.
    PathAt,
    /// All of them while such a file system is mounted: they have several paths.
    Paths,
    /// Those whose first argument is a descriptor on such a file system.
    Descriptor,
}

impl Level {
    /// The name in the support table.
    pub const fn name(self) -> &'static str {
        match self {
            Level::Virtual => "virtual",
            Level::Offloaded => "offloaded",
            Level::Native => "native",
            Level::MayBlock => "may block",
        }
    }
}

/// What the kernel does with a waiting call when a signal handler interrupts
/// it: the lists of `signal(7)`, "Interruption of system calls and library
/// functions by signal handlers" and "by stop signals", with the kernel's
/// internal error number for each (`include/linux/errno.h`), which also decides
/// what happens when a signal ends the wait and no handler runs.
///
/// A call that has already moved data returns what it moved in every case.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Restart {
    /// No handler ends it: it doesn't wait, or its wait isn't interruptible (a
    /// local disk is not a slow device in `signal(7)`'s sense). FUSE servers
    /// and network file systems may still answer `EINTR`.
    Uninterrupted,
    /// `EINTR` whatever the handler's flags, and after a stop signal and
    /// `SIGCONT` too. In the kernel: plain `EINTR`.
    Never,
    /// `EINTR` if a handler ran, whatever its flags; begun again if none ran.
    /// In the kernel: `ERESTARTNOHAND`.
    NoHandler,
    /// Begun again if the handler has `SA_RESTART` or none ran; else `EINTR`.
    /// In the kernel: `ERESTARTSYS`.
    OnSaRestart,
    /// [`Never`](Restart::Never) if the descriptor is a socket with a time-out
    /// for this direction (`SO_RCVTIMEO`: accept and receive; `SO_SNDTIMEO`:
    /// connect and send), else [`OnSaRestart`](Restart::OnSaRestart). In the
    /// kernel: `sock_intr_errno`. `signal(7)` adds `recvmmsg` with a time-out
    /// of its own.
    SocketTimeout,
    /// `EINTR` if a handler ran, whatever its flags; if none ran, continued
    /// with the time that is left. In the kernel: `ERESTART_RESTARTBLOCK`. A
    /// `clock_nanosleep` to an absolute time has nothing to count: it is
    /// [`NoHandler`](Restart::NoHandler).
    RestartBlock,
    /// [`RestartBlock`](Restart::RestartBlock) if the call has a time-out, else
    /// [`OnSaRestart`](Restart::OnSaRestart). This is `FUTEX_WAIT` and
    /// `FUTEX_WAIT_BITSET`; `FUTEX_LOCK_PI` is always begun again.
    FutexTimeout,
    /// Begun again whatever the handler's flags. In the kernel:
    /// `ERESTARTNOINTR`.
    Always,
}

/// One more than the largest number [`lookup`] can find; a power of two, so
/// that a bitmap of all calls has whole words.
pub const LIMIT: usize = 512;

/// [`INDEX`] of a number that no call has.
const NONE: u16 = u16::MAX;

/// The row of each number.
static INDEX: [u16; LIMIT] = index();

const fn index() -> [u16; LIMIT] {
    let mut index = [NONE; LIMIT];
    let mut row = 0;
    while row < TABLE.len() {
        let call = &TABLE[row];
        assert!(
            row == 0 || TABLE[row - 1].nr < call.nr,
            "rows ascend by number"
        );
        let ours = matches!(call.level, Level::Virtual | Level::Offloaded);
        let one = call.op.is_some() != call.how.is_some();
        assert!(ours == one, "virtual and offloaded rows name what is done");
        assert!(
            call.how.is_none() || matches!(call.level, Level::Offloaded),
            "virtual rows name an op"
        );
        assert!(ours || !call.parks, "only an op parks");
        assert!(
            !matches!(call.level, Level::MayBlock) || !call.note.is_empty(),
            "a call that may block says why"
        );
        index[call.nr as usize] = row as u16;
        row += 1;
    }
    index
}

/// The call of number `nr`, or `None` if Linux has none that we know. Takes
/// constant time.
#[inline]
pub const fn lookup(nr: u64) -> Option<&'static Syscall> {
    if nr >= LIMIT as u64 {
        return None;
    }
    match INDEX[nr as usize] {
        NONE => None,
        row => Some(&TABLE[row as usize]),
    }
}

impl Op {
    /// Number of operations. `op as usize` is less than it.
    pub const COUNT: usize = Op::ALL.len();

    /// The row that names this operation. Takes constant time.
    pub const fn syscall(self) -> &'static Syscall {
        &TABLE[INDEX[self.nr() as usize] as usize]
    }
}
