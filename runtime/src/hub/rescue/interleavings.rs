//! Every interleaving of a kernel thread that enters our code and a monitor that hands its guests
//! over, found by loom. The baton is compiled a second time here, with loom's atomics.
#![allow(unsafe_code)]

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, Ordering::AcqRel, Ordering::Relaxed};
use loom::sync::{Arc, Mutex};
use loom::thread;

mod sync {
    pub(super) use loom::sync::atomic::{AtomicU32, Ordering};

    pub(super) fn sleep(_: &AtomicU32, _: u32) {
        loom::thread::yield_now();
    }

    pub(super) fn wake(_: &AtomicU32) {}
}

#[allow(clippy::duplicate_mod, dead_code)]
#[path = "baton.rs"]
mod baton;

use baton::Baton;

struct Shared {
    baton: Baton,
    is_shared: AtomicBool,
    in_shim: AtomicBool,
    /// As the kernel has it. Who looks, and who wakes, pass a barrier there.
    asleep: AtomicBool,
    giant: Mutex<()>,
    /// What is the hub's.
    hub: UnsafeCell<u32>,
}

// SAFETY: that is what the test is about: loom checks each access.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

impl Shared {
    fn use_hub(&self) {
        // SAFETY: loom checks it.
        self.hub.with_mut(|hub| unsafe { *hub += 1 });
    }

    fn block(&self) {
        self.asleep.swap(true, AcqRel);
        thread::yield_now();
        self.asleep.swap(false, AcqRel);
    }

    /// The entry into our code. Whether it has the giant lock to take.
    fn enter(&self) -> bool {
        self.in_shim.store(true, Relaxed);
        self.is_shared.load(Relaxed) && self.baton.settle()
    }

    /// `rescue::decide`, and what the spare does. Whether it was handed over.
    fn rescue(&self) -> bool {
        self.baton.ask();
        self.is_shared.store(true, Relaxed);
        let away = self.asleep.fetch_or(false, AcqRel) && !self.in_shim.load(Relaxed);
        if away {
            self.use_hub();
        } else {
            self.is_shared.store(false, Relaxed);
        }
        self.baton.decide(away);
        if away {
            let _giant = self.giant.lock().unwrap();
            self.use_hub();
        }
        away
    }
}

/// A kernel thread blocks, in its guest's code or in ours, and then uses the hub.
fn check(in_shim: bool) {
    loom::model(move || {
        let shared = Arc::new(Shared {
            baton: Baton::of(sync::AtomicU32::new(0)),
            is_shared: AtomicBool::new(false),
            in_shim: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            giant: Mutex::new(()),
            hub: UnsafeCell::new(0),
        });
        let its = Arc::clone(&shared);
        let blocked = thread::spawn(move || {
            let mut out = false;
            if in_shim {
                out = its.enter();
            }
            its.block();
            if !in_shim {
                out = its.enter();
            }
            let _giant = out.then(|| its.giant.lock().unwrap());
            its.use_hub();
        });
        let handed_over = shared.rescue();
        blocked.join().unwrap();
        let uses = if handed_over { 3 } else { 1 };
        // SAFETY: nobody else is left.
        assert_eq!(shared.hub.with(|hub| unsafe { *hub }), uses);
        assert!(!(in_shim && handed_over));
    });
}

#[test]
fn who_is_blocked_in_its_own_code_settles_before_it_uses_the_hub() {
    check(false);
}

#[test]
fn who_is_blocked_in_our_code_keeps_the_hub() {
    check(true);
}
