//! The way from the C library's start-up code to `main`, on every glibc.
//!
//! Since glibc 2.34 that code calls `__libc_start_main` by a version which older ones do not
//! have, and leaves the program's initialisers to it. The build script leads the call
//! here. The function is found by its name alone, and is given one that runs the initialisers,
//! as the start-up code of older glibcs gave it: every version takes that.
#![allow(unsafe_code)]

use core::arch::{asm, global_asm};
use core::ffi::{c_char, c_int, c_void};

use gevent_runtime::{arch, objects};

// In: main, argc, argv, the initialisers' function or null (rcx), and what concerns the
// end of the program (r8, r9), all of which is kept. Seven words and the return address: the
// stack is as the ABI wants it.
global_asm!(
    ".text",
    ".hidden gevent_shim_start_main",
    ".globl gevent_shim_start_main",
    ".type gevent_shim_start_main,@function",
    "gevent_shim_start_main:",
    "lea rax, [rip + {initialise}]",
    "test rcx, rcx",
    "cmovz rcx, rax",
    "push rdi",
    "push rsi",
    "push rdx",
    "push rcx",
    "push r8",
    "push r9",
    "push r9",
    "call {find}",
    "pop r9",
    "pop r9",
    "pop r8",
    "pop rcx",
    "pop rdx",
    "pop rsi",
    "pop rdi",
    "jmp rax",
    ".size gevent_shim_start_main, . - gevent_shim_start_main",
    initialise = sym initialise,
    find = sym find,
);

/// libc's function. The dynamic linker has done its work; nothing else has run.
extern "C" fn find() -> *mut c_void {
    if let Some(found) = objects::find_in_libc(c"__libc_start_main") {
        return found;
    }
    loop {
        // SAFETY: ends the process.
        unsafe { arch::syscall(libc::SYS_exit_group as u64, [127, 0, 0, 0, 0, 0]) };
    }
}

type Initialiser = extern "C" fn(c_int, *const *const c_char, *const *const c_char);

extern "C" fn initialise(
    count: c_int,
    arguments: *const *const c_char,
    environment: *const *const c_char,
) {
    let (mut at, end): (*const Initialiser, *const Initialiser);
    // By instructions: two variables of Rust would be taken for different objects, of which
    // none begins where the other one ends.
    // SAFETY: the linker's marks around the program's initialisers.
    unsafe {
        asm!(
            "lea {}, [rip + __init_array_start]",
            "lea {}, [rip + __init_array_end]",
            out(reg) at,
            out(reg) end,
            options(nomem, nostack, preserves_flags),
        );
    }
    while at != end {
        // SAFETY: functions of this type stand between the marks.
        unsafe {
            (*at)(count, arguments, environment);
            at = at.add(1);
        }
    }
}
