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
const RETURN: u16 = 0x06;
const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;

fn instruction(code: u16, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt: 0, jf, k }
}

/// Has the process that runs `command` answer these calls with their errnos from before it
/// executes the program.
pub fn deny(command: &mut Command, denied: &[Denied]) {
    let mut code = vec![instruction(LOAD_WORD, 0, 0)];
    for one in denied {
        let number = u32::try_from(one.nr).expect("a number of a call");
        code.push(instruction(JUMP_EQUAL, 1, number));
        code.push(instruction(RETURN, 0, ERRNO | one.errno.unsigned_abs()));
    }
    code.push(instruction(RETURN, 0, ALLOW));
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
