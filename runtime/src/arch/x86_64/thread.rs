//! Kernel threads, and processes on our memory, that libc does not know.
#![allow(unsafe_code)]

use core::arch::asm;

/// What a thread shares with its process, as libc's threads do (clone(2)), and that it
/// gets a thread pointer, and a word that says from before it runs until after it ended
/// that it lives.
const FLAGS: u64 = (libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_SYSVSEM
    | libc::CLONE_SETTLS
    | libc::CLONE_PARENT_SETTID
    | libc::CLONE_CHILD_CLEARTID) as u64;

/// What a process shares that only keeps our memory: nothing else. No signal tells of its
/// end.
const PROCESS: u64 =
    (libc::CLONE_VM | libc::CLONE_SETTLS | libc::CLONE_PARENT_SETTID | libc::CLONE_CHILD_CLEARTID)
        as u64;

/// Makes a kernel thread that calls `body(argument)` and ends when that returns. It
/// inherits the caller's signal mask and credentials. While it lives `alive` holds its
/// id, and zero afterwards, when nothing uses its stack any more. Its id, or `-errno`.
///
/// # Safety
/// `stack_top` must be the 16-byte aligned end of a stack of its own, `thread_pointer`
/// the FS base for the thread: at it and before it, memory for whatever `body` reads
/// there. `body` must not use libc, which has made nothing for this thread, nor
/// `thread_local!`, and must not unwind.
pub unsafe fn spawn_thread(
    stack_top: u64,
    thread_pointer: u64,
    alive: *mut u32,
    body: unsafe extern "C" fn(usize),
    argument: usize,
) -> i64 {
    // SAFETY: the caller's contract.
    unsafe { spawn(FLAGS, stack_top, thread_pointer, alive, body, argument) }
}

/// As [`spawn_thread`], but a child process that shares nothing but the memory.
///
/// # Safety
/// As [`spawn_thread`].
pub unsafe fn spawn_process(
    stack_top: u64,
    thread_pointer: u64,
    alive: *mut u32,
    body: unsafe extern "C" fn(usize),
    argument: usize,
) -> i64 {
    // SAFETY: the caller's contract.
    unsafe { spawn(PROCESS, stack_top, thread_pointer, alive, body, argument) }
}

unsafe fn spawn(
    flags: u64,
    stack_top: u64,
    thread_pointer: u64,
    alive: *mut u32,
    body: unsafe extern "C" fn(usize),
    argument: usize,
) -> i64 {
    let asked = [
        flags,
        stack_top,
        alive as u64,
        alive as u64,
        thread_pointer,
        0,
    ];
    if super::is_refused(libc::SYS_clone as u64, &asked) {
        return -i64::from(libc::EPERM);
    }
    let ret: i64;
    // The child finds every register as the parent left it, but rax, rcx, r11 and rsp.
    // SAFETY: the parent goes on behind the block as after any call; the child never
    // leaves it.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r13",
            "call r12",
            "xor edi, edi",
            "mov eax, {exit}",
            "syscall",
            "ud2",
            "2:",
            exit = const libc::SYS_exit,
            inlateout("rax") libc::SYS_clone => ret,
            in("rdi") flags,
            in("rsi") stack_top,
            in("rdx") alive,
            in("r10") alive,
            in("r8") thread_pointer,
            in("r12") body as usize,
            in("r13") argument,
            lateout("rcx") _, lateout("r11") _,
        );
    }
    ret
}
