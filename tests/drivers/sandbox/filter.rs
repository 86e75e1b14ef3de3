//! Filters of system calls (seccomp(2)) for a process that is about to run a program.
#![allow(unsafe_code)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// A call that is answered with an errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied {
    pub nr: i64,
    pub errno: i32,
}

// Of linux/bpf_common.h and linux/seccomp.h.
const LOAD_WORD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_ANY_SET: u16 = 0x45;
const RETURN: u16 = 0x06;
const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;
const KILL_PROCESS: u32 = 0x8000_0000;
const KILL_THREAD: u32 = 0;
/// Places in `struct seccomp_data`: the number, and the low halves of arguments.
const NUMBER: u32 = 0;
const fn argument(index: u32) -> u32 {
    16 + 8 * index
}

fn instruction(code: u16, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt: 0, jf, k }
}

fn number(nr: i64) -> u32 {
    u32::try_from(nr).expect("a number of a call")
}

/// Has the process that runs `command` answer these calls with their errnos from before it
/// executes the program.
pub fn deny(command: &mut Command, denied: &[Denied]) {
    let answers = denied
        .iter()
        .map(|one| (one.nr, ERRNO | one.errno.unsigned_abs()));
    install(command, by_number(answers));
}

/// Has the process killed for this call, or the thread that makes it.
pub fn kill(command: &mut Command, nr: i64, thread: bool) {
    let answer = if thread { KILL_THREAD } else { KILL_PROCESS };
    install(command, by_number([(nr, answer)].into_iter()));
}

/// Has clone3(2) answered with ENOSYS, so that libc makes threads by clone(2), and the process
/// killed for a clone that makes no thread.
pub fn kill_processes(command: &mut Command) {
    let code = vec![
        instruction(LOAD_WORD, 0, NUMBER),
        instruction(JUMP_EQUAL, 1, number(libc::SYS_clone3)),
        instruction(RETURN, 0, ERRNO | libc::ENOSYS.unsigned_abs()),
        instruction(JUMP_EQUAL, 4, number(libc::SYS_clone)),
        instruction(LOAD_WORD, 0, argument(0)),
        instruction(JUMP_ANY_SET, 1, libc::CLONE_THREAD as u32),
        instruction(RETURN, 0, ALLOW),
        instruction(RETURN, 0, KILL_PROCESS),
        instruction(RETURN, 0, ALLOW),
    ];
    install(command, code);
}

fn by_number(answers: impl Iterator<Item = (i64, u32)>) -> Vec<libc::sock_filter> {
    let mut code = vec![instruction(LOAD_WORD, 0, NUMBER)];
    for (nr, answer) in answers {
        code.push(instruction(JUMP_EQUAL, 1, number(nr)));
        code.push(instruction(RETURN, 0, answer));
    }
    code.push(instruction(RETURN, 0, ALLOW));
    code
}

/// Has the process refused what makes memory executable that was writable, as systemd does for
/// MemoryDenyWriteExecute= where the kernel has no such thing of its own, and, with EACCES,
/// SELinux without `execmem`.
pub fn deny_new_code(command: &mut Command, errno: i32) {
    const WRITE: u32 = libc::PROT_WRITE as u32;
    const EXEC: u32 = libc::PROT_EXEC as u32;
    const SHM_EXEC: u32 = 0o100_000;
    let refuse = ERRNO | errno.unsigned_abs();
    let mut code = Vec::new();
    // Both bits of the third argument.
    code.extend([
        instruction(LOAD_WORD, 0, NUMBER),
        instruction(JUMP_EQUAL, 4, number(libc::SYS_mmap)),
        instruction(LOAD_WORD, 0, argument(2)),
        instruction(JUMP_ANY_SET, 2, WRITE),
        instruction(JUMP_ANY_SET, 1, EXEC),
        instruction(RETURN, 0, refuse),
    ]);
    for (nr, bit) in [
        (libc::SYS_mprotect, EXEC),
        (libc::SYS_pkey_mprotect, EXEC),
        (libc::SYS_shmat, SHM_EXEC),
    ] {
        code.extend([
            instruction(LOAD_WORD, 0, NUMBER),
            instruction(JUMP_EQUAL, 3, number(nr)),
            instruction(LOAD_WORD, 0, argument(2)),
            instruction(JUMP_ANY_SET, 1, bit),
            instruction(RETURN, 0, refuse),
        ]);
    }
    code.push(instruction(RETURN, 0, ALLOW));
    install(command, code);
}

fn install(command: &mut Command, code: Vec<libc::sock_filter>) {
    // SAFETY: between fork and exec the closure makes two system calls and touches no memory
    // but the filter's.
    unsafe {
        command.pre_exec(move || {
            let program = libc::sock_fprog {
                len: code.len() as u16,
                filter: code.as_ptr().cast_mut(),
            };
            let filter = libc::SECCOMP_MODE_FILTER;
            if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
                || libc::prctl(libc::PR_SET_SECCOMP, filter, &raw const program) != 0
            {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
}

/// Reads a list of denied calls: name, number and errno a line.
pub fn profile(text: &str) -> Vec<Denied> {
    let line = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let mut number = || words.next().and_then(|word| word.parse::<i32>().ok());
        Some(Denied {
            nr: number()?.into(),
            errno: number()?,
        })
    };
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|text| line(text).unwrap_or_else(|| panic!("no denied call: {text:?}")))
        .collect()
}
