//! Which system calls enter dispatch, and how the runtime asks the engine for
//! more patched sites.
//!
//! Every stub tests [`TABLE`] before it leaves the program's own path, so a call
//! that nobody wants costs one load. The engine patches in two steps: at load
//! only the sites of thread creation and of what else is looked at before there is a
//! thread; everything else when the runtime calls [`patch_all`] for the program's first
//! thread. A program that never makes a thread so pays for a few sites.
//!
//! Synchronization: an entry of `TABLE` is one byte, read by stubs without
//! ordering; a stub may see an old value for a while, which only decides who
//! carries out that one call. The two function pointers are set once, by the
//! constructor of the library, before the program runs; both are published with
//! release and read with acquire.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

/// Numbers the table covers: all of Linux's and room for 40 more. A number
/// above goes to the kernel.
pub const TABLE_LEN: usize = 512;

/// By number: not zero if dispatch wants the call.
pub static TABLE: [AtomicU8; TABLE_LEN] = initial();

/// Calls that enter from the first.
const AT_LOAD: [i64; 6] = [
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_prctl,
    libc::SYS_seccomp,
];

const fn initial() -> [AtomicU8; TABLE_LEN] {
    let mut table = [const { AtomicU8::new(0) }; TABLE_LEN];
    let mut i = 0;
    while i < AT_LOAD.len() {
        table[AT_LOAD[i] as usize] = AtomicU8::new(1);
        i += 1;
    }
    table
}

/// Sends call `nr` to dispatch from now on, or to the kernel. Numbers outside
/// the table always go to the kernel. Any thread, any mode, signal-safe.
pub fn want(nr: usize, on: bool) {
    if let Some(entry) = TABLE.get(nr) {
        entry.store(on as u8, Ordering::Relaxed);
    }
}

/// What [`patch_all`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PatchOutcome {
    /// Sites that now lead to dispatch, those of the constructor included.
    pub sites: u32,
    /// Sites left as they were, in objects outside libc's family.
    pub refused: u32,
    /// False: libc could not be patched as a whole, so nothing is patched at
    /// all, the engine has told why, and the program must run bare.
    pub libc_complete: bool,
}

/// A file that has been mapped executable, and the arguments of the mmap(2) that did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecMapping {
    /// Where.
    pub addr: usize,
    /// Bytes.
    pub len: usize,
    /// PROT_READ and the like.
    pub access: i32,
    /// The file's descriptor.
    pub fd: i32,
    /// Where in the file it begins.
    pub offset: u64,
}

impl ExecMapping {
    /// What a call with these arguments has made at `addr`.
    pub fn of([_, len, access, _, fd, offset]: [u64; 6], addr: usize) -> Self {
        ExecMapping {
            addr,
            len: len as usize,
            access: access as i32,
            fd: fd as i32,
            offset,
        }
    }
}

/// The engine's services.
#[derive(Debug, Clone, Copy)]
pub struct Patcher {
    /// Patches every site of every loaded object.
    pub patch_all: fn() -> PatchOutcome,
    /// Gives every object the code again that it had. Whether that was possible. While the caller
    /// is the process's only thread.
    pub unpatch_all: fn() -> bool,
    /// Patches the sites of an object that the dynamic linker maps right now.
    pub on_exec_mapping: fn(&ExecMapping),
    /// Runs a function while no thread that was there before the hub is in the middle of
    /// changing a list of libc's.
    pub outside_libc: fn(&mut dyn FnMut()),
}

static PATCHER: OnceLock<Patcher> = OnceLock::new();

/// Registers the engine. Only the first call counts.
pub fn set_patcher(patcher: Patcher) {
    let _ = PATCHER.set(patcher);
}

/// Takes every patch back, as [`Patcher::unpatch_all`] says.
pub fn unpatch_all() -> bool {
    PATCHER.get().is_some_and(|patcher| (patcher.unpatch_all)())
}

/// Patches everything. Call it from the dispatch of the program's first thread
/// creation, while the caller is the process's only kernel thread (or the engine was told
/// that it is not); it allocates. `None` if no engine is registered.
pub fn patch_all() -> Option<PatchOutcome> {
    PATCHER.get().map(|patcher| (patcher.patch_all)())
}

/// Runs `f`, which changes a list of libc's, while no thread that was there before the hub does.
pub fn outside_libc(f: &mut dyn FnMut()) {
    match PATCHER.get() {
        Some(patcher) => (patcher.outside_libc)(f),
        None => f(),
    }
}

/// Tells the engine that a file has just been mapped executable. Host mode (it
/// allocates and reads files), before the program runs again.
pub fn on_exec_mapping(mapping: &ExecMapping) {
    if let Some(patcher) = PATCHER.get() {
        (patcher.on_exec_mapping)(mapping);
    }
}
