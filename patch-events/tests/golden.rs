//! The line of every event, as a user sees it.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Mutex;
use std::time::Duration;

use patch_events::events::*;
use patch_events::{Address, Filter, InstallError, Target, install, write_directly};

static OUTPUT: Mutex<Vec<u8>> = Mutex::new(Vec::new());

fn capture(_: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    OUTPUT.lock().unwrap().extend_from_slice(bytes);
    Ok(bytes.len())
}

/// The lines since the last call, without process id and time, which are
/// checked for their form.
fn lines() -> Vec<String> {
    let bytes = std::mem::take(&mut *OUTPUT.lock().unwrap());
    let text = String::from_utf8(bytes).unwrap();
    let start = format!("gevent-shim[{}] ", std::process::id());
    text.lines()
        .map(|line| {
            let rest = line.strip_prefix(&start).expect(line);
            let (seconds, event) = rest.split_once(' ').expect(line);
            let (whole, fraction) = seconds.split_once('.').expect(line);
            whole.parse::<u64>().expect(line);
            assert_eq!(fraction.len(), 6, "{line}");
            event.to_owned()
        })
        .collect()
}

const LIBC: &str = "/usr/lib/x86_64-linux-gnu/libc.so.6";

fn emit_every_event() {
    WillPatchAll { groups: "all" }.emit();
    WillPatchObject {
        object: LIBC,
        sites: 526,
    }
    .emit();
    Refused {
        object: LIBC,
        address: Address(0x7f00_1234_5678),
        symbol: Some("__libc_read"),
        reason: "a jump leads into it",
    }
    .emit();
    DidPatchObject {
        object: LIBC,
        patched: 525,
        refused: 1,
    }
    .emit();
    WillPatchGroup { group: "socket" }.emit();
    DidPatchGroup {
        group: "socket",
        items: 19,
    }
    .emit();
    DidPatchAll {
        objects: 2,
        sites: 571,
        refused: 1,
        duration: Duration::from_micros(1_480),
    }
    .emit();
    NotPatched {
        reason: "the text of libc cannot be made writable",
    }
    .emit();
    LoadedLate { threads: 3 }.emit();
    ThreadGroupOff {
        groups: "socket,dns",
    }
    .emit();
    Armed {}.emit();
    HubStarted {
        reactor: "io_uring",
        kernel_tid: 4242,
    }
    .emit();
    GuestStarted {
        tid: 4_194_305,
        stack: 8 << 20,
    }
    .emit();
    LookedUp {
        tid: 4_194_305,
        call: "getaddrinfo",
        subject: "example.org",
        duration: Duration::from_micros(20_170),
    }
    .emit();
    GuestEnded { tid: 4_194_305 }.emit();
}

const GOLDEN: [&str; 15] = [
    "INFO  gevent::patch: will patch the groups all",
    "INFO  gevent::patch: will patch /usr/lib/x86_64-linux-gnu/libc.so.6: 526 sites",
    "WARN  gevent::patch: refused the site at 0x7f0012345678 in __libc_read of \
     /usr/lib/x86_64-linux-gnu/libc.so.6: a jump leads into it",
    "INFO  gevent::patch: patched /usr/lib/x86_64-linux-gnu/libc.so.6: 525 sites, 1 refused",
    "INFO  gevent::patch: will patch the group socket",
    "INFO  gevent::patch: patched the group socket: 19 items",
    "INFO  gevent::patch: patched 571 sites in 2 objects, 1 refused, in 1.5ms",
    "WARN  gevent::patch: nothing is patched, the program runs as it is: the text of libc cannot \
     be made writable",
    "WARN  gevent::patch: loaded late: 3 kernel threads of the program cannot become cooperative",
    "WARN  gevent::patch: the group thread is off: threads stay kernel threads, socket,dns cannot \
     be cooperative",
    "INFO  gevent::hub: armed: the hub starts with the first thread",
    "INFO  gevent::hub: the hub runs on kernel thread 4242 and waits with io_uring",
    "DEBUG gevent::guest: guest 4194305 started on a stack of 8388608 bytes",
    "DEBUG gevent::guest: guest 4194305 looked example.org up with getaddrinfo in 20.2ms",
    "DEBUG gevent::guest: guest 4194305 ended",
];

#[test]
fn every_event_has_its_line() {
    // Before anything listens an event goes nowhere and is not made.
    emit_every_event();
    LoadedLate::emit_with(|| panic!("made although nobody listens"));
    assert!(lines().is_empty());

    install(&Filter::all(), &Target::Stderr, capture).unwrap();
    emit_every_event();
    let told = lines();
    assert_eq!(told, GOLDEN);

    assert_eq!(told.len(), ALL.len(), "every declared event is emitted");
    for (line, event) in told.iter().zip(ALL) {
        let start = format!("{:<5} {}: ", event.level, event.target);
        assert!(line.starts_with(&start), "{} tells {line}", event.name);
    }

    LoadedLate::emit_with(|| LoadedLate { threads: 1 });
    GuestStarted { tid: 7, stack: 0 }.emit();
    Refused {
        object: "/tmp/evil\nINFO fake\x1b[2J",
        address: Address(0),
        symbol: None,
        reason: "none",
    }
    .emit();
    assert_eq!(
        lines(),
        [
            "WARN  gevent::patch: loaded late: 1 kernel thread of the program cannot become \
             cooperative",
            "DEBUG gevent::guest: guest 7 started on a stack of unknown size",
            "WARN  gevent::patch: refused the site at 0x0 in an unnamed function of \
             /tmp/evil\\nINFO fake\\u{1b}[2J: none",
        ]
    );

    let again = install(&Filter::all(), &Target::Stderr, write_directly);
    assert!(matches!(again, Err(InstallError::Installed)));
}
