//! The line of every event, as a user sees it.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Mutex;
use std::time::Duration;

use patch_events::events::*;
use patch_events::{
    Address, Filter, Format, InstallError, PathTemplate, Target, install, write_directly,
};

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
    emit_patching();
    emit_warnings();
    emit_hub();
    emit_guests();
}

fn emit_patching() {
    WillPatchAll { groups: "all" }.emit();
    Vetoed {
        what: "the group socket",
        reason: "libtrace.so objects",
    }
    .emit();
    WillPatchObject {
        object: LIBC,
        sites: 526,
    }
    .emit();
    DidPatchSite {
        object: LIBC,
        address: Address(0x7f00_1234_0000),
        symbol: Some("__libc_write"),
        mechanism: "jump",
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
}

fn emit_warnings() {
    LoadedLate {
        threads: 2,
        names: "app, logger",
    }
    .emit();
    ThreadGroupOff {
        groups: "socket,dns",
    }
    .emit();
    GroupsContradict {
        group: "socket",
        without: "select",
        consequence: "waiting for several sockets stops every thread",
    }
    .emit();
    StaysPatched { call: "close" }.emit();
    ProgramNotPatched {
        program: "/bin/tool",
        reason: "is statically linked",
    }
    .emit();
    CaughtInstead {
        reason: "the text of libc cannot be made writable",
    }
    .emit();
    ThreadsStayKernels {
        object: "/lib/plugin.so",
    }
    .emit();
    SitesCaught {
        object: LIBC,
        count: 2,
    }
    .emit();
    SitesRefused {
        object: LIBC,
        count: 1,
    }
    .emit();
}

fn emit_hub() {
    Armed {}.emit();
    HubStarted {
        reactor: "io_uring",
        kernel_tid: 4242,
    }
    .emit();
    HubsLimited {
        hubs: 2,
        reason: "there can be no further kernel threads",
    }
    .emit();
    HubRescued {
        hubs: 2,
        kernel_tid: 4243,
    }
    .emit();
    RescueRefused {
        reason: "what belongs to a kernel thread was changed",
    }
    .emit();
    RingRefused { errno: 1 }.emit();
    FileMissing {
        path: "/proc/self/statm",
        errno: 24,
    }
    .emit();
    NotWatched { errno: 28 }.emit();
    Catching {}.emit();
    NotCatching {
        reason: "the kernel has no Syscall User Dispatch",
    }
    .emit();
    ForkReinitialised {
        child: 43,
        parent: 42,
    }
    .emit();
    WouldBlockForever {
        guests: 2,
        graph: "1 waits for the mutex 0x10 of 2; 2 waits for the mutex 0x20 of 1",
    }
    .emit();
    HubBlocked {
        tid: 42,
        blocked: Duration::from_millis(120),
        doing: "its own code",
        backtrace: "compute+0x10 in /bin/app < main+0x20 in /bin/app",
    }
    .emit();
    PoolFull { threads: 256 }.emit();
    PoolMissing {}.emit();
    Filtered {
        calls: "epoll_ctl, epoll_pwait2",
        others: 2,
    }
    .emit();
    FilterInherited {
        calls: "io_uring_setup",
        untried: 0,
    }
    .emit();
    MemoryShort {}.emit();
    LocksGuarded { process: 77 }.emit();
    LocksNotGuarded { errno: 11 }.emit();
    ClockNotWatched { errno: 24 }.emit();
    MemoryPassed {
        bytes: 2_000_000,
        limit: 1_000_000,
    }
    .emit();
    MemoryBack {
        bytes: 900_000,
        limit: 1_000_000,
    }
    .emit();
    EventsLost { count: 3 }.emit();
}

fn emit_guests() {
    GuestStarted {
        tid: 4_194_305,
        creator: 42,
        stack: 8 << 20,
    }
    .emit();
    GuestMadeAt {
        tid: 4_194_305,
        backtrace: "main+0x20 in /bin/app",
    }
    .emit();
    LookedUp {
        tid: 4_194_305,
        call: "getaddrinfo",
        subject: "example.org",
        duration: Duration::from_micros(20_170),
    }
    .emit();
    GuestEnded {
        tid: 4_194_305,
        lived: Duration::from_millis(1_500),
    }
    .emit();
    Called {
        tid: 4_194_305,
        call: "recvfrom",
        fd: Some(7),
        address: None,
        ret: 64,
        waited: Duration::from_micros(2_500),
    }
    .emit();
    Waiting {
        tid: 4_194_305,
        call: "futex",
        fd: None,
        address: Some("0x7f00"),
        waited: Duration::from_secs(2),
    }
    .emit();
}

const GOLDEN: &[&str] = &[
    "INFO  gevent::patch: will patch the groups all",
    "WARN  gevent::patch: the group socket must not be patched: libtrace.so objects",
    "INFO  gevent::patch: will patch /usr/lib/x86_64-linux-gnu/libc.so.6: 526 sites",
    "TRACE gevent::patch: patched the site at 0x7f0012340000 in __libc_write of \
     /usr/lib/x86_64-linux-gnu/libc.so.6 with a jump",
    "WARN  gevent::patch: refused the site at 0x7f0012345678 in __libc_read of \
     /usr/lib/x86_64-linux-gnu/libc.so.6: a jump leads into it",
    "INFO  gevent::patch: patched /usr/lib/x86_64-linux-gnu/libc.so.6: 525 sites, 1 refused",
    "INFO  gevent::patch: will patch the group socket",
    "INFO  gevent::patch: patched the group socket: 19 items",
    "INFO  gevent::patch: patched 571 sites in 2 objects, 1 refused, in 1.5ms",
    "WARN  gevent::patch: nothing is patched, the program runs as it is: the text of libc cannot \
     be made writable",
    "WARN  gevent::patch: loaded late: 2 kernel threads of the program cannot become cooperative: \
     app, logger",
    "WARN  gevent::patch: the group thread is off: threads stay kernel threads, socket,dns cannot \
     be cooperative",
    "WARN  gevent::patch: the group socket is on without select: waiting for several sockets stops \
     every thread",
    "WARN  gevent::patch: close stays patched: threads cannot be cooperative without it",
    "WARN  gevent::patch: /bin/tool runs as it is: it is statically linked",
    "WARN  gevent::patch: calls are caught by Syscall User Dispatch, which is slower: the text of \
     libc cannot be made writable",
    "WARN  gevent::patch: new threads are not cooperative: /lib/plugin.so holds the runtime of Go",
    "WARN  gevent::patch: 2 sites of /usr/lib/x86_64-linux-gnu/libc.so.6 cannot be patched: calls \
     there are caught by Syscall User Dispatch, which is slower",
    "WARN  gevent::patch: 1 site of /usr/lib/x86_64-linux-gnu/libc.so.6 cannot be patched: what \
     blocks there stops every thread",
    "INFO  gevent::hub: armed: the hub starts with the first thread",
    "INFO  gevent::hub: the hub runs on kernel thread 4242 and waits with io_uring",
    "WARN  gevent::hub: 2 hubs run and no more: there can be no further kernel threads",
    "INFO  gevent::hub: a thread is blocked in the kernel: the others run on kernel thread 4243",
    "WARN  gevent::hub: a thread is blocked in the kernel, and with it all others: what belongs to a kernel thread was changed",
    "INFO  gevent::hub: there is no io_uring: error 1",
    "WARN  gevent::hub: /proc/self/statm cannot be opened: error 24",
    "WARN  gevent::hub: a descriptor cannot be watched and is looked at again and again: error 28",
    "INFO  gevent::hub: calls that no patched site makes are caught",
    "WARN  gevent::hub: calls that no patched site makes are not caught: the kernel has no \
     Syscall User Dispatch",
    "INFO  gevent::hub: the hub of process 43, forked from 42, was made anew",
    "WARN  gevent::hub: 2 threads wait and nothing can wake them: 1 waits for the mutex 0x10 of 2; \
     2 waits for the mutex 0x20 of 1",
    "WARN  gevent::hub: thread 42 has kept the others from running for 120.0ms with its own code: \
     compute+0x10 in /bin/app < main+0x20 in /bin/app",
    "WARN  gevent::hub: all 256 threads of the offload pool are busy",
    "WARN  gevent::hub: no thread can be made for the offload pool",
    "WARN  gevent::hub: the program has installed a filter of system calls, which does not let the library make: epoll_ctl, epoll_pwait2 (other threads on this hub: 2)",
    "WARN  gevent::hub: a filter of system calls that was there before the program kills for: \
     [io_uring_setup] (not tried for want of time: 0)",
    "WARN  gevent::hub: the kernel gives no more memory: the library lives on its reserve",
    "INFO  gevent::hub: process 77 marks the robust locks of threads if this process is killed",
    "WARN  gevent::hub: robust locks of threads are not marked if this process is killed: error 11",
    "WARN  gevent::hub: waits until a time of day see within a second that the clock was set: \
     error 24",
    "WARN  gevent::hub: 2000000 bytes of memory are resident, more than 1000000",
    "INFO  gevent::hub: 900000 bytes of memory are resident, less than 1000000 again",
    "WARN  gevent::hub: 3 events were lost on the way to you",
    "DEBUG gevent::guest: guest 4194305 started by 42 on a stack of 8388608 bytes",
    "TRACE gevent::guest: guest 4194305 was made at main+0x20 in /bin/app",
    "DEBUG gevent::guest: guest 4194305 looked example.org up with getaddrinfo in 20.2ms",
    "DEBUG gevent::guest: guest 4194305 ended after 1.5s",
    "TRACE gevent::call: guest 4194305 waited 2.5ms in recvfrom(7) = 64",
    "TRACE gevent::call: guest 4194305 has been waiting for 2.0s in futex(0x7f00)",
];

#[test]
fn every_event_has_its_line() {
    // Before anything listens an event goes nowhere and is not made.
    emit_every_event();
    LoadedLate::emit_with(|| panic!("made although nobody listens"));
    assert!(lines().is_empty());

    let directory = tempfile::tempdir().unwrap();
    let path = PathTemplate::new(directory.path().join("events").as_os_str()).unwrap();
    install(&Filter::all(), &Target::File(path), Format::Text, capture).unwrap();
    emit_every_event();
    let told = lines();
    assert_eq!(told, GOLDEN);

    assert_eq!(told.len(), all().count(), "every declared event is emitted");
    for (line, event) in told.iter().zip(all()) {
        let start = format!("{:<5} {}: ", event.level, event.target);
        assert!(line.starts_with(&start), "{} tells {line}", event.name);
    }

    LoadedLate::emit_with(|| LoadedLate {
        threads: 1,
        names: "app",
    });
    GuestStarted {
        tid: 7,
        creator: 1,
        stack: 0,
    }
    .emit();
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
             cooperative: app",
            "DEBUG gevent::guest: guest 7 started by 1 on a stack of unknown size",
            "WARN  gevent::patch: refused the site at 0x0 in an unnamed function of \
             /tmp/evil\\nINFO fake\\u{1b}[2J: none",
        ]
    );

    let again = install(
        &Filter::all(),
        &Target::Stderr,
        Format::Text,
        write_directly,
    );
    assert!(matches!(again, Err(InstallError::Installed)));
}
