//! Patching late: the program has threads already, which stay kernel threads.
#![allow(unsafe_code)] // calls of libc's as a program makes them

use std::io::{ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Barrier, Condvar, LazyLock, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use gevent_shim::monkey::{self, PatchError};
use gevent_shim::*;

use crate::patching::sleeps_overlap;

crate::tests! {
    late_it_warns_and_patches
    late_a_thread_that_cannot_be_stopped_is_an_error
    late_waits_go_on
    late_work_goes_on
    late_locks_are_shared
    late_futexes_may_be_bad
    late_threads_are_joined
    late_descriptors_are_shared
    late_signals_reach_both
    late_threads_spawn_greenlets
    late_threads_open_objects
    late_threads_fork
    late_threads_run_programs
    late_twice_in_a_child
    a_pool_closes_what_a_greenlet_used
}

/// What `f` writes to standard error.
fn standard_error(f: impl FnOnce()) -> String {
    // The same each time: what is told goes to the standard error that there was first.
    static PIPE: LazyLock<(PipeReader, PipeWriter)> = LazyLock::new(|| {
        let pipe = std::io::pipe().unwrap();
        // SAFETY: a descriptor of ours alone.
        let set = unsafe { libc::fcntl(pipe.0.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
        assert_eq!(set, 0);
        pipe
    });
    let (mut reader, writer) = (&PIPE.0, &PIPE.1);
    // SAFETY: descriptors of this process, which has one thread that writes there.
    let own = unsafe {
        let own = libc::dup(2);
        assert_eq!(libc::dup2(writer.as_raw_fd(), 2), 2);
        own
    };
    f();
    // SAFETY: as above.
    unsafe {
        assert_eq!(libc::dup2(own, 2), 2);
        libc::close(own);
    }
    let mut said = Vec::new();
    // What is there has been read when nothing more is.
    let end = reader.read_to_end(&mut said).map_err(|error| error.kind());
    assert_eq!(end, Err(ErrorKind::WouldBlock));
    String::from_utf8(said).unwrap()
}

/// Patches, and what that says.
fn patch_late() -> String {
    let mut outcome = Ok(());
    let said = standard_error(|| outcome = monkey::patch_all());
    outcome.unwrap();
    said
}

fn gettid() -> i32 {
    // SAFETY: no arguments.
    unsafe { libc::gettid() }
}

/// A thread that is there before the patching, and waits at `gate` twice.
fn old_thread(gate: &Arc<Barrier>) -> JoinHandle<bool> {
    let gate = Arc::clone(gate);
    let thread = thread::Builder::new().name("old".to_owned());
    let spawned = thread.spawn(move || {
        gate.wait();
        gate.wait();
        get_hub().is_guest()
    });
    spawned.unwrap()
}

fn late_it_warns_and_patches() {
    let gate = Arc::new(Barrier::new(2));
    let old = old_thread(&gate);
    gate.wait();
    let said = patch_late();
    assert_eq!(
        said,
        "gevent-shim: patching late: 1 threads stay kernel threads: old\n"
    );
    assert_eq!(patch_late(), "");
    assert!(get_hub().is_running() && get_hub().is_guest());
    assert!(sleeps_overlap());
    assert_eq!(spawn(|| get_hub().is_guest()).get().ok(), Some(true));
    gate.wait();
    assert!(!old.join().unwrap());
}

fn late_a_thread_that_cannot_be_stopped_is_an_error() {
    let gate = Arc::new(Barrier::new(2));
    let old = thread::spawn({
        let gate = Arc::clone(&gate);
        move || {
            // SAFETY: a set of this thread's own.
            unsafe {
                let mut all = std::mem::zeroed();
                libc::sigfillset(&mut all);
                libc::pthread_sigmask(libc::SIG_BLOCK, &all, std::ptr::null_mut());
            }
            gate.wait();
            gate.wait();
        }
    });
    gate.wait();
    let patient = Old::new();
    let mut outcome = Ok(());
    let said = standard_error(|| outcome = monkey::patch_all());
    assert!(
        matches!(outcome, Err(PatchError::Late(3, _))),
        "{outcome:?}"
    );
    assert!(said.starts_with("gevent-shim: patching comes too late: the process has 3 threads"));
    assert!(
        said.ends_with("blocks signal 63\n") && said.lines().count() == 1,
        "{said}"
    );
    assert!(!get_hub().is_running());
    // All goes on, on kernel threads.
    assert_eq!(spawn(|| get_hub().is_guest()).get().ok(), Some(false));
    assert!(sleeps_overlap());
    gate.wait();
    old.join().unwrap();
    assert!(wait_all(None));
    // Another thread may succeed, though it was stopped in vain.
    let done = patient.run(|| {
        let said = patch_late();
        (said.lines().count(), get_hub().is_guest(), sleeps_overlap())
    });
    assert_eq!(done, (1, true, true));
    assert!(get_hub().is_running() && !get_hub().is_guest());
}

/// Until the thread sleeps in call `nr`.
fn until_in_call(tid: i32, nr: i64) {
    let file = format!("/proc/self/task/{tid}/syscall");
    let wanted = format!("{nr} ");
    while !std::fs::read_to_string(&file).is_ok_and(|text| text.starts_with(&wanted)) {
        thread::yield_now();
    }
}

/// A thread that has begun `f`, and is in call `nr` or (0) anywhere.
fn thread_in<T: Send + 'static>(nr: i64, f: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let (told, told_by) = mpsc::channel();
    let thread = thread::spawn(move || {
        told.send(gettid()).unwrap();
        f()
    });
    let tid = told_by.recv().unwrap();
    if nr != 0 {
        until_in_call(tid, nr);
    }
    thread
}

fn late_waits_go_on() {
    let (mut from, mut to) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let (reader, writer) = std::io::pipe().unwrap();
        from.push(reader);
        to.push(writer);
    }
    let [read, poll, epoll] = [0, 1, 2].map(|n| from[n].as_raw_fd());
    let cond = Arc::new((Mutex::new(false), Condvar::new()));
    let (send, receive) = mpsc::channel::<i32>();
    let threads = [
        thread_in(libc::SYS_read, move || {
            let mut byte = [0u8; 1];
            // SAFETY: a buffer of one byte.
            unsafe { libc::read(read, byte.as_mut_ptr().cast(), 1) as i32 }
        }),
        thread_in(libc::SYS_poll, move || {
            let mut wait = libc::pollfd {
                fd: poll,
                events: libc::POLLIN,
                revents: 0,
            };
            // SAFETY: one entry.
            unsafe { libc::poll(&mut wait, 1, -1) }
        }),
        thread_in(libc::SYS_epoll_wait, move || {
            // SAFETY: events of this thread's own.
            unsafe {
                let set = libc::epoll_create1(0);
                let mut event = libc::epoll_event {
                    events: libc::EPOLLIN as u32,
                    u64: 0,
                };
                libc::epoll_ctl(set, libc::EPOLL_CTL_ADD, epoll, &mut event);
                let ready = libc::epoll_wait(set, &mut event, 1, -1);
                libc::close(set);
                ready
            }
        }),
        thread_in(libc::SYS_futex, {
            let cond = Arc::clone(&cond);
            move || {
                let guard = cond.0.lock().unwrap();
                let (set, result) = cond
                    .1
                    .wait_timeout_while(guard, Duration::from_secs(100), |set| !*set)
                    .unwrap();
                i32::from(*set && !result.timed_out())
            }
        }),
        thread_in(libc::SYS_futex, move || receive.recv().unwrap()),
    ];
    let begin = Instant::now();
    let sleeper = thread_in(libc::SYS_clock_nanosleep, move || {
        let time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 200_000_000,
        };
        // SAFETY: a time of this thread's own.
        let left = unsafe { libc::nanosleep(&time, std::ptr::null_mut()) };
        (left, begin.elapsed())
    });
    patch_late();
    assert!(get_hub().is_guest());
    // Guests end the waits.
    let ender = spawn(move || {
        for mut writer in to {
            writer.write_all(b"x").unwrap();
        }
        *cond.0.lock().unwrap() = true;
        cond.1.notify_one();
        send.send(1).unwrap();
    });
    ender.join();
    for (n, thread) in threads.into_iter().enumerate() {
        assert_eq!(thread.join().unwrap(), 1, "thread {n}");
    }
    let (left, slept) = sleeper.join().unwrap();
    assert!(
        left == 0 && slept >= Duration::from_millis(200),
        "{slept:?}"
    );
}

fn late_work_goes_on() {
    static END: AtomicBool = AtomicBool::new(false);
    fn again_and_again(count: &AtomicU64, mut f: impl FnMut()) -> bool {
        while !END.load(Ordering::Relaxed) {
            f();
            count.fetch_add(1, Ordering::Relaxed);
        }
        true
    }
    let counts: Arc<[AtomicU64; 6]> = Arc::default();
    let work: [fn(&AtomicU64) -> bool; 6] = [
        |count| {
            again_and_again(count, || {
                // SAFETY: what was taken is given back.
                unsafe { libc::free(std::hint::black_box(libc::malloc(300_000))) }
            })
        },
        |count| {
            let mut null = std::fs::File::create("/dev/null").unwrap();
            again_and_again(count, move || null.write_all(b"some words").unwrap())
        },
        |count| again_and_again(count, || thread::spawn(|| ()).join().unwrap()),
        |count| {
            let (mut reader, mut writer) = std::io::pipe().unwrap();
            again_and_again(count, move || {
                writer.write_all(b"x").unwrap();
                reader.read_exact(&mut [0]).unwrap();
            })
        },
        |count| again_and_again(count, || drop(std::fs::read("/proc/self/stat").unwrap())),
        |count| again_and_again(count, || thread::sleep(Duration::from_micros(10))),
    ];
    let threads: Vec<_> = work
        .into_iter()
        .enumerate()
        .map(|(n, work)| {
            let counts = Arc::clone(&counts);
            thread_in(0, move || work(&counts[n]))
        })
        .collect();
    let all_have_worked = |since: &[u64]| {
        while counts
            .iter()
            .zip(since)
            .any(|(count, &since)| count.load(Ordering::Relaxed) < since + 3)
        {
            thread::sleep(Duration::from_micros(100));
        }
    };
    let now = || {
        counts
            .iter()
            .map(|c| c.load(Ordering::Relaxed))
            .collect::<Vec<_>>()
    };
    all_have_worked(&now());
    patch_late();
    assert!(get_hub().is_guest());
    all_have_worked(&now());
    assert!(sleeps_overlap());
    all_have_worked(&now());
    END.store(true, Ordering::Relaxed);
    for thread in threads {
        assert!(thread.join().unwrap());
    }
}

fn late_locks_are_shared() {
    const ROUNDS: u64 = 2_000;
    let gate = Arc::new(Barrier::new(2));
    let total = Arc::new(Mutex::new(0));
    let add = |total: Arc<Mutex<u64>>| {
        for round in 0..ROUNDS {
            let mut held = total.lock().unwrap();
            let value = *held;
            if round % 64 == 0 {
                thread::yield_now();
            }
            *held = value + 1;
        }
    };
    let old = thread::spawn({
        let (gate, total) = (Arc::clone(&gate), Arc::clone(&total));
        move || {
            let held = total.lock().unwrap();
            gate.wait();
            gate.wait();
            drop(held);
            add(total);
        }
    });
    gate.wait();
    patch_late();
    let greenlets: Vec<_> = (0..3)
        .map(|_| {
            spawn({
                let total = Arc::clone(&total);
                move || add(total)
            })
        })
        .collect();
    // They wait for the lock of a kernel thread, which does not keep the hub.
    assert!(sleeps_overlap());
    assert!(greenlets.iter().all(|greenlet| !greenlet.ready()));
    gate.wait();
    joinall(&greenlets, None);
    old.join().unwrap();
    assert_eq!(*total.lock().unwrap(), 4 * ROUNDS);
}

fn late_futexes_may_be_bad() {
    const OPERATIONS: [i32; 5] = [
        libc::FUTEX_WAIT,
        libc::FUTEX_CMP_REQUEUE,
        libc::FUTEX_WAKE_OP,
        libc::FUTEX_LOCK_PI,
        libc::FUTEX_UNLOCK_PI,
    ];
    let errors = || {
        let bad = 4096usize;
        OPERATIONS.map(|operation| {
            let operation = operation | libc::FUTEX_PRIVATE_FLAG;
            // SAFETY: nothing is mapped there.
            let ret = unsafe { libc::syscall(libc::SYS_futex, bad, operation, 0, 0, bad, 0) };
            (ret, std::io::Error::last_os_error().raw_os_error())
        })
    };
    let old = Old::new();
    patch_late();
    let expected = [(-1, Some(libc::EFAULT)); OPERATIONS.len()];
    assert_eq!(old.run(errors), expected);
    assert_eq!(thread::spawn(errors).join().unwrap(), expected);
    assert_eq!(errors(), expected);
}

fn late_threads_are_joined() {
    let (send, receive) = mpsc::channel::<JoinHandle<i32>>();
    let old = thread_in(0, move || {
        // A guest ends before it is joined, another after.
        let sum = receive
            .iter()
            .map(|guest| guest.join().unwrap())
            .sum::<i32>();
        // A thread of a kernel thread is one.
        let own = thread::spawn(|| get_hub().is_guest()).join().unwrap();
        assert!(!own);
        sum
    });
    let ends_later = thread_in(libc::SYS_clock_nanosleep, || {
        thread::sleep(Duration::from_millis(50));
        7
    });
    patch_late();
    let quick = thread::spawn(|| 1);
    while !quick.is_finished() {
        thread::yield_now();
    }
    send.send(quick).unwrap();
    send.send(thread::spawn(|| {
        thread::sleep(Duration::from_millis(50));
        2
    }))
    .unwrap();
    drop(send);
    // Guests wait for kernel threads, and others go on meanwhile.
    let joiner = spawn(move || old.join().unwrap());
    assert!(sleeps_overlap());
    assert_eq!(ends_later.join().unwrap(), 7);
    assert_eq!(joiner.get().unwrap(), 3);
}

/// Has the old thread carry out functions.
struct Old {
    send: Option<mpsc::Sender<Box<dyn FnOnce() + Send>>>,
    thread: Option<JoinHandle<()>>,
}

impl Old {
    fn new() -> Self {
        let (send, receive) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        let thread = thread_in(libc::SYS_futex, move || receive.iter().for_each(|f| f()));
        Old {
            send: Some(send),
            thread: Some(thread),
        }
    }

    fn run<T: Send + 'static>(&self, f: impl FnOnce() -> T + Send + 'static) -> T {
        let (send, receive) = mpsc::channel();
        let run = Box::new(move || send.send(f()).unwrap());
        self.send.as_ref().unwrap().send(run).unwrap();
        receive.recv().unwrap()
    }
}

impl Drop for Old {
    fn drop(&mut self) {
        self.send.take();
        self.thread.take().unwrap().join().unwrap();
    }
}

/// A pair of stream sockets.
fn sockets() -> [i32; 2] {
    let mut pair = [0; 2];
    // SAFETY: room for two descriptors.
    let made = unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, pair.as_mut_ptr()) };
    assert_eq!(made, 0);
    pair
}

/// What receiving one byte gives: its value, or a negated errno.
fn receive(fd: i32) -> i32 {
    let mut byte = 0u8;
    // SAFETY: room for one byte.
    match unsafe { libc::recv(fd, (&raw mut byte).cast(), 1, 0) } {
        1 => i32::from(byte),
        0 => 0,
        _ => -std::io::Error::last_os_error().raw_os_error().unwrap(),
    }
}

fn send_byte(fd: i32, byte: u8) {
    // SAFETY: one byte.
    assert_eq!(unsafe { libc::send(fd, (&raw const byte).cast(), 1, 0) }, 1);
}

fn close(fd: i32) -> i32 {
    // SAFETY: a descriptor of the caller's.
    unsafe { libc::close(fd) }
}

fn late_descriptors_are_shared() {
    let old = Old::new();
    patch_late();
    for _ in 0..50 {
        let [a, b] = sockets();
        // The hub knows it by now.
        let waits = spawn(move || receive(a));
        idle();
        send_byte(b, 1);
        assert_eq!(waits.get().unwrap(), 1);
        let waits = spawn(move || receive(a));
        idle();
        // A kernel thread closes the number, and has another kind of file there.
        let (reader, mut writer) = old.run(move || {
            assert_eq!(close(a), 0);
            assert_eq!(close(a), -1);
            let (reader, writer) = std::io::pipe().unwrap();
            (reader, writer)
        });
        assert_eq!(reader.as_raw_fd(), a);
        // As bare, the wait goes on with what it was for.
        let reads = spawn(move || {
            let mut byte = [0];
            (&reader).read_exact(&mut byte).unwrap();
            (byte[0], reader)
        });
        idle();
        assert!(!waits.ready() && !reads.ready());
        writer.write_all(&[2]).unwrap();
        let (byte, reader) = reads.take().unwrap();
        assert_eq!(byte, 2);
        send_byte(b, 3);
        assert_eq!(waits.get().unwrap(), 3);
        close(b);
        drop(reader);
    }
    // Flags that a kernel thread sets count.
    let [a, b] = sockets();
    let timed = spawn(move || receive(a));
    idle();
    send_byte(b, 1);
    timed.join();
    old.run(move || {
        // SAFETY: a descriptor of this test.
        unsafe { libc::fcntl(a, libc::F_SETFL, libc::O_NONBLOCK) }
    });
    assert_eq!(spawn(move || receive(a)).get().unwrap(), -libc::EAGAIN);
    // So does what it puts in a number's place.
    let [c, d] = sockets();
    // SAFETY: descriptors of this test.
    assert_eq!(old.run(move || unsafe { libc::dup2(c, a) }), a);
    let waits = spawn(move || receive(a));
    idle();
    assert!(!waits.ready());
    send_byte(d, 5);
    assert_eq!(waits.get().unwrap(), 5);
    // SAFETY: as above.
    let closed = old.run(move || unsafe { libc::syscall(libc::SYS_close_range, a, a, 0) });
    assert_eq!(closed, 0);
    assert_eq!(receive(a), -libc::EBADF);
    assert_eq!([b, c, d].map(close), [0; 3]);
}

fn late_signals_reach_both() {
    static WHERE: AtomicI32 = AtomicI32::new(0);
    extern "C" fn note(_: i32) {
        WHERE.store(gettid(), Ordering::SeqCst);
    }
    let old = Old::new();
    patch_late();
    // A kernel thread sets the handler that a guest runs.
    old.run(|| {
        // SAFETY: a handler that stores a number.
        unsafe { libc::signal(libc::SIGUSR1, note as *const () as libc::sighandler_t) };
    });
    let (tell, told) = mpsc::channel();
    let guest = thread::spawn(move || {
        // SAFETY: no arguments.
        tell.send((unsafe { libc::pthread_self() }, gettid()))
            .unwrap();
        // SAFETY: no arguments; ended by the handler.
        unsafe { libc::pause() }
    });
    let (pthread, tid) = told.recv().unwrap();
    // SAFETY: a thread that waits.
    let sent = old.run(move || unsafe { libc::pthread_kill(pthread, libc::SIGUSR1) });
    assert_eq!(sent, 0);
    assert_eq!(guest.join().unwrap(), -1);
    assert_eq!(WHERE.load(Ordering::SeqCst), tid);
    // And a guest's signal reaches the kernel thread.
    // SAFETY: no arguments.
    let (pthread, tid) = old.run(|| (unsafe { libc::pthread_self() }, gettid()));
    // SAFETY: a thread that is there.
    assert_eq!(unsafe { libc::pthread_kill(pthread, libc::SIGUSR1) }, 0);
    while WHERE.load(Ordering::SeqCst) != tid {
        thread::sleep(Duration::from_micros(100));
    }
    // A kernel thread cancels a guest.
    let (tell, told) = mpsc::channel();
    let waits = thread::spawn(move || {
        // SAFETY: no arguments.
        tell.send(unsafe { libc::pthread_self() }).unwrap();
        thread::park();
    });
    let pthread = told.recv().unwrap();
    // SAFETY: signal 0 only asks.
    let asked = old.run(move || unsafe { libc::pthread_kill(pthread, 0) });
    assert_eq!(asked, 0);
    waits.thread().unpark();
    waits.join().unwrap();
}

fn late_threads_spawn_greenlets() {
    let old = Old::new();
    patch_late();
    spawn(|| ()).join();
    let (value, is_guest) = old.run(|| {
        let greenlet = spawn(|| (gettid(), get_hub().is_guest()));
        greenlet.get().unwrap()
    });
    assert!(is_guest && value != 0);
    let queue = Queue::unbounded();
    let got = spawn({
        let queue = queue.clone();
        move || queue.get().unwrap()
    });
    old.run(move || queue.put(4).unwrap());
    assert_eq!(got.get().unwrap(), 4);
}

fn late_threads_open_objects() {
    let old = Old::new();
    patch_late();
    let names = [c"libresolv.so.2", c"libnss_dns.so.2", c"libanl.so.1"];
    let opened = old.run(move || {
        // SAFETY: libraries of libc's.
        names.map(|name| unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) } as usize)
    });
    assert!(opened.iter().all(|&handle| handle != 0));
    assert!(sleeps_overlap());
}

/// The exit status of a child that a thread forks, which makes a thread of its own.
fn child_with_a_thread() -> i32 {
    // SAFETY: the child ends here.
    unsafe {
        match libc::fork() {
            0 => {
                let made = thread::spawn(|| vec![1u8; 1 << 20].len() == 1 << 20);
                libc::_exit(i32::from(!made.join().unwrap()));
            }
            pid => {
                let mut status = -1;
                assert_eq!(libc::waitpid(pid, &mut status, 0), pid);
                status
            }
        }
    }
}

fn late_threads_fork() {
    let old = Old::new();
    patch_late();
    let sleeper = spawn(|| thread::sleep(Duration::from_millis(20)));
    for _ in 0..10 {
        assert_eq!(old.run(child_with_a_thread), 0);
        assert_eq!(child_with_a_thread(), 0);
    }
    sleeper.join();
    assert!(sleeps_overlap());
}

/// What a program prints that is started with its standard output elsewhere.
fn output_of_a_program() -> String {
    let mut program = std::process::Command::new("sh");
    let output = program.args(["-c", "echo $((6 * 7))"]).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

fn late_threads_run_programs() {
    let old = Old::new();
    patch_late();
    let [a, b] = sockets();
    let waits = spawn(move || receive(a));
    idle();
    // What the child does with its descriptors and handlers is not the parent's affair.
    for _ in 0..20 {
        assert_eq!(old.run(output_of_a_program), "42\n");
        assert_eq!(output_of_a_program(), "42\n");
    }
    let pool = ThreadPool::new(1).unwrap();
    assert_eq!(pool.apply(output_of_a_program).unwrap(), "42\n");
    send_byte(b, 1);
    assert_eq!(waits.get().unwrap(), 1);
    assert_eq!([a, b].map(close), [0; 2]);
}

fn late_twice_in_a_child() {
    // The child of a late program has one thread, whose own threads are guests.
    let old = Old::new();
    patch_late();
    // SAFETY: the child ends here.
    unsafe {
        match libc::fork() {
            0 => {
                let guest = thread::spawn(|| get_hub().is_guest()).join().unwrap();
                libc::_exit(i32::from(!guest));
            }
            pid => {
                let mut status = -1;
                assert_eq!(libc::waitpid(pid, &mut status, 0), pid);
                assert_eq!(status, 0);
            }
        }
    }
    drop(old);
}

fn a_pool_closes_what_a_greenlet_used() {
    monkey::patch_all().unwrap();
    let pool = ThreadPool::new(1).unwrap();
    // Its threads make kernel threads, and join them.
    let made = pool.apply(|| thread::spawn(|| get_hub().is_guest()).join().unwrap());
    assert!(!made.unwrap());
    for _ in 0..50 {
        let [a, b] = sockets();
        let waits = spawn(move || receive(a));
        idle();
        send_byte(b, 1);
        assert_eq!(waits.get().unwrap(), 1);
        assert_eq!(pool.apply(move || close(a)).unwrap(), 0);
        let (reader, mut writer) = std::io::pipe().unwrap();
        assert_eq!(reader.as_raw_fd(), a);
        let reads = spawn(move || {
            let mut byte = [0];
            (&reader).read_exact(&mut byte).unwrap();
            byte[0]
        });
        idle();
        writer.write_all(&[2]).unwrap();
        assert_eq!(reads.get().unwrap(), 2);
        close(b);
    }
}
