//! The table against what this machine's headers and libc know.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;

use super::*;

/// Says on the real standard error, past the harness's capture, that a test
/// could not run here.
fn skip(why: &str) {
    writeln!(std::io::stderr(), "skipped: {why}").unwrap();
}

/// Numbers and names of a kernel header's `#define __NR_name number` lines.
fn numbers(header: &str) -> Vec<(u64, &str)> {
    header
        .lines()
        .filter_map(|line| line.strip_prefix("#define __NR_"))
        .filter_map(|rest| {
            let (name, nr) = rest.split_once(char::is_whitespace)?;
            Some((nr.trim().parse().ok()?, name))
        })
        .collect()
}

/// Numbers in `mov $number,%eax; syscall` (`b8 imm32 0f 05`). A pair in the
/// middle of another instruction can't be told apart by its bytes: the caller
/// sees it as an unknown number.
fn sites(text: &[u8]) -> BTreeSet<u64> {
    text.windows(7)
        .filter(|code| code[0] == 0xb8 && code[5..] == [0x0f, 0x05])
        .map(|code| u32::from_le_bytes([code[1], code[2], code[3], code[4]]).into())
        .collect()
}

#[test]
fn rows_ascend_and_each_is_found_by_its_number() {
    assert!(TABLE.is_sorted_by(|a, b| a.nr < b.nr));
    for call in TABLE {
        assert_eq!(lookup(call.nr.into()), Some(call));
    }
    let found = (0..1024).filter(|&nr| lookup(nr).is_some()).count();
    assert_eq!(found, TABLE.len());
    assert_eq!(lookup(337), None);
    assert_eq!(lookup(LIMIT as u64), None);
    assert_eq!(lookup(u64::MAX), None);
}

#[test]
fn names_are_unique() {
    let names: BTreeSet<_> = TABLE.iter().map(|call| call.name).collect();
    assert_eq!(names.len(), TABLE.len());
}

#[test]
fn lookup_is_const() {
    const READ: Option<&Syscall> = lookup(libc::SYS_read as u64);
    assert_eq!(READ.unwrap().op, Some(Op::Read));
}

#[test]
fn operations_and_the_rows_that_name_them_correspond() {
    for (i, &op) in Op::ALL.iter().enumerate() {
        assert_eq!(op as usize, i);
        assert_eq!(op.syscall().op, Some(op));
        assert_eq!(op.syscall().nr, op.nr());
    }
    let rows = TABLE.iter().filter(|call| call.op.is_some());
    assert_eq!(rows.count(), Op::COUNT);
}

#[test]
fn only_waits_park() {
    let virtual_rows = TABLE.iter().filter(|call| call.level == Level::Virtual);
    for call in virtual_rows.filter(|call| call.parks) {
        let ends_the_guest = call.op == Some(Op::Exit);
        let never_sleeps = call.op == Some(Op::SchedYield);
        assert_eq!(
            call.restart == Restart::Uninterrupted,
            ends_the_guest || never_sleeps,
            "{}",
            call.name
        );
    }
}

/// Calls that wait for a disk alone, or for what a test cannot have: no cell of the
/// matrix can make them wait for a known time.
const WITHOUT_CELL: [&str; 14] = [
    "pread64",
    "preadv",
    "pwrite64",
    "pwritev",
    "fallocate",
    "getsockopt",
    "setsockopt",
    "init_module",
    "finit_module",
    "delete_module",
    "getrandom",
    "open_by_handle_at",
    "swapoff",
    "syslog",
];

/// The guest programs `matrix_*.c` make one thread wait in each of these while another
/// ticks.
#[test]
fn every_call_that_waits_has_a_cell_in_the_matrix() {
    let guests = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/guests");
    let mut covered = BTreeSet::new();
    for entry in fs::read_dir(guests).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if !(name.starts_with("matrix_") && name.ends_with(".c")) {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().filter_map(|l| l.strip_prefix("// covers: "));
        for call in lines.flat_map(str::split_whitespace) {
            assert!(
                text.contains(&format!("{{ \"{call}\", ")),
                "{name}: no cell {call}"
            );
            assert!(
                text.contains(&format!("SYS_{call}")),
                "{name}: no call of {call}"
            );
            covered.insert(call.to_owned());
        }
    }
    let waits: BTreeSet<_> = TABLE
        .iter()
        .filter(|call| call.parks && call.restart != Restart::Uninterrupted)
        .filter(|call| !WITHOUT_CELL.contains(&call.name))
        .map(|call| call.name.to_owned())
        .collect();
    let missing: Vec<_> = waits.difference(&covered).collect();
    assert!(missing.is_empty(), "no cell for {missing:?}");
    let may_wait = |name: &String| TABLE.iter().any(|call| call.parks && call.name == *name);
    let others: Vec<_> = covered.iter().filter(|name| !may_wait(name)).collect();
    assert!(
        others.is_empty(),
        "cells for what does not wait: {others:?}"
    );
}

/// A few rows of each kind from the lists of signal(7).
#[test]
fn restarts_are_those_of_signal_7() {
    let restart = |nr: i64| lookup(nr as u64).unwrap().restart;
    for nr in [libc::SYS_wait4, libc::SYS_flock, libc::SYS_mq_timedsend] {
        assert_eq!(restart(nr), Restart::OnSaRestart);
    }
    for nr in [libc::SYS_accept, libc::SYS_recvmsg, libc::SYS_sendto] {
        assert_eq!(restart(nr), Restart::SocketTimeout);
    }
    for nr in [
        libc::SYS_pause,
        libc::SYS_rt_sigsuspend,
        libc::SYS_rt_sigtimedwait,
        libc::SYS_epoll_wait,
        libc::SYS_epoll_pwait,
        libc::SYS_poll,
        libc::SYS_ppoll,
        libc::SYS_select,
        libc::SYS_pselect6,
        libc::SYS_msgrcv,
        libc::SYS_msgsnd,
        libc::SYS_semop,
        libc::SYS_semtimedop,
        libc::SYS_clock_nanosleep,
        libc::SYS_nanosleep,
        libc::SYS_io_getevents,
    ] {
        assert!(
            matches!(
                restart(nr),
                Restart::Never | Restart::NoHandler | Restart::RestartBlock
            ),
            "{} is never restarted after a handler",
            lookup(nr as u64).unwrap().name
        );
    }
}

#[test]
fn notes_are_sentences() {
    for call in TABLE.iter().filter(|call| !call.note.is_empty()) {
        assert!(call.note.ends_with('.'), "{}: {}", call.name, call.note);
        assert!(!call.note.contains(['|', '\n']), "{} in a table", call.name);
    }
}

#[test]
fn every_number_of_the_kernel_header_is_here() {
    let path = "/usr/include/x86_64-linux-gnu/asm/unistd_64.h";
    let Ok(header) = fs::read_to_string(path) else {
        return skip(&format!("no {path}"));
    };
    let numbers = numbers(&header);
    assert!(numbers.len() > 300, "{path} has another form");
    for (nr, name) in numbers {
        let call = lookup(nr).unwrap_or_else(|| panic!("{name} ({nr}) is missing"));
        assert_eq!(call.name, name, "the name of {nr}");
    }
}

#[test]
fn every_number_in_the_text_of_libc_is_here() {
    // "start-end r-xp offset device inode path"
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let Some(libc) = maps.lines().find(|line| {
        line.contains(" r-xp ") && (line.ends_with("/libc.so.6") || line.contains("/libc-2."))
    }) else {
        return skip("no libc.so.6 in this process");
    };
    let fields: Vec<_> = libc.split_whitespace().collect();
    let (start, end) = fields[0].split_once('-').unwrap();
    let hex = |digits| u64::from_str_radix(digits, 16).unwrap();
    let mut text = vec![0; (hex(end) - hex(start)) as usize];
    let file = fs::File::open(fields[5]).unwrap();
    let length = file.read_at(&mut text, hex(fields[2])).unwrap();

    let sites = sites(&text[..length]);
    assert!(sites.len() > 200, "{} numbers in libc's text", sites.len());
    for nr in sites {
        assert!(lookup(nr).is_some(), "libc makes call {nr}");
    }
}

#[test]
fn parsers_see_what_is_there() {
    assert_eq!(
        numbers(
            "#define __NR_read 0\n#define __NR_futex\t202\n#define X 1\n#define __NR_syscalls\n"
        ),
        [(0, "read"), (202, "futex")]
    );
    let code = [
        0x90, 0xb8, 0xca, 0, 0, 0, 0x0f, 0x05, 0xb8, 1, 0, 0, 0, 0xc3,
    ];
    assert_eq!(sites(&code), BTreeSet::from([202]));
}
