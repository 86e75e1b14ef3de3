//! Other threads in the process, which may be anywhere in libc: unless they may be stopped
//! nothing is patched.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Barrier, Mutex, MutexGuard, PoisonError};

use gevent_shim::arm::{self, ArmError};
use gevent_shim::image::Layout;
use gevent_shim::maps::{self, Kind};
use gevent_shim::others::{Moves, NotStopped, stopped};

/// Each test is about all threads of the process.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the text of libc in memory is that of its file.
fn libc_is_as_in_its_file() -> bool {
    let objects = maps::objects(&maps::read().unwrap());
    let libc = objects.iter().find(|o| o.kind == Kind::Libc).unwrap();
    let file = std::fs::read(&libc.path).unwrap();
    let layout = Layout::parse(&file).unwrap();
    let load = layout.loads.iter().find(|l| l.exec).unwrap();
    let text = libc.mappings.iter().find(|m| m.exec).unwrap();
    let part = &file[text.offset as usize..][..load.size as usize];
    // SAFETY: mapped and readable, and nothing writes there while we look.
    let memory = unsafe { std::slice::from_raw_parts(text.start as *const u8, part.len()) };
    memory == part
}

#[test]
fn nothing_is_patched() {
    let _alone = alone();
    let barrier = Barrier::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| barrier.wait());
        let armed = arm::arm_thread_creation();
        let outcome = arm::patch_all();
        barrier.wait();
        assert!(
            matches!(armed, Err(ArmError::OtherThreads(Some(2..)))),
            "{armed:?}"
        );
        assert_eq!(outcome, Default::default());
    });
    assert!(libc_is_as_in_its_file());
    // It is not tried again.
    assert_eq!(arm::patch_all(), Default::default());
    assert!(libc_is_as_in_its_file());
}

#[test]
fn threads_stand_still_and_go_on() {
    const THREADS: usize = 8;
    let _alone = alone();
    let counts: [AtomicU32; THREADS] = Default::default();
    let now = || counts.each_ref().map(|count| count.load(Ordering::SeqCst));
    let end = AtomicBool::new(false);
    let gate = Barrier::new(THREADS + 1);
    std::thread::scope(|scope| {
        for count in &counts {
            scope.spawn(|| {
                gate.wait();
                while !end.load(Ordering::Relaxed) {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        gate.wait();
        for _ in 0..20 {
            let looks = stopped(&Moves::default(), &[], || {
                let before = now();
                (0..100_000).for_each(|_| std::hint::spin_loop());
                (before, now())
            });
            let (before, after) = looks.unwrap();
            assert_eq!(before, after);
        }
        let before = now();
        while now().iter().zip(&before).any(|(now, then)| now == then) {
            std::thread::yield_now();
        }
        end.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_thread_that_blocks_everything_is_left_alone() {
    let _alone = alone();
    let gate = Barrier::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // SAFETY: a set of this thread's own.
            unsafe {
                let mut all = std::mem::zeroed();
                libc::sigfillset(&mut all);
                libc::pthread_sigmask(libc::SIG_BLOCK, &all, std::ptr::null_mut());
            }
            gate.wait();
            gate.wait();
        });
        gate.wait();
        let mut ran = false;
        let outcome = stopped(&Moves::default(), &[], || ran = true);
        assert!(
            matches!(outcome, Err(NotStopped::Blocked(_))),
            "{outcome:?}"
        );
        assert!(!ran);
        gate.wait();
    });
}
