//! Kills of greenlets that run or wait on another kernel thread than who kills them: on
//! another hub, where there are two; anywhere where greenlets are kernel threads.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use gevent_shim::*;

crate::tests! {
    a_kill_reaches_one_that_runs_elsewhere
    a_kill_reaches_one_that_waits_elsewhere
    a_kill_that_is_caught_elsewhere
    a_kill_reaches_one_that_has_not_begun_elsewhere
    a_time_out_is_over_elsewhere
}

const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(20);

/// Whether there is more than one kernel thread for greenlets.
pub fn several() -> bool {
    !crate::on_hub() || std::env::var_os(crate::HUBS).is_some()
}

/// The kernel's number of the thread that runs the caller now, which the preloaded library
/// hides from it.
fn kernel_thread() -> u64 {
    type Call = unsafe extern "C" fn() -> i64;
    type Find = unsafe extern "C" fn(*const libc::c_char) -> Option<Call>;
    // SAFETY: the functions of the interface, with their types.
    #[allow(unsafe_code)]
    unsafe {
        let find = libc::dlsym(libc::RTLD_DEFAULT, c"gevent_get_original".as_ptr());
        if find.is_null() {
            return libc::syscall(libc::SYS_gettid) as u64;
        }
        let find: Find = std::mem::transmute(find);
        let gettid = find(c"gettid".as_ptr()).expect("gettid is a call that is ours");
        gettid() as u64
    }
}

/// A greenlet that says where it runs.
#[derive(Clone, Default)]
struct Whereabouts {
    thread: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Whereabouts {
    fn say(&self) {
        self.thread.store(kernel_thread(), SeqCst);
    }

    /// Computes until it may stop.
    fn spin(&self) {
        while !self.stop.load(SeqCst) {
            self.say();
            std::hint::spin_loop();
        }
    }

    /// Gives others their turn until it may stop, so that another hub may run it.
    fn stay_until_found(&self) {
        while !self.stop.load(SeqCst) {
            self.say();
            yield_now();
        }
    }

    /// Returns when it has said that it runs, on another thread than the caller if there is
    /// one. The caller does not wait, so where there are several hubs another one runs it.
    fn found(&self) {
        let begin = Instant::now();
        loop {
            let there = self.thread.load(SeqCst);
            if there != 0 && (!several() || there != kernel_thread()) {
                return;
            }
            if !several() {
                yield_now();
            }
            assert!(begin.elapsed() < Duration::from_secs(60), "never elsewhere");
            std::hint::spin_loop();
        }
    }
}

fn a_kill_reaches_one_that_runs_elsewhere() {
    let own = Whereabouts::default();
    let greenlet = spawn({
        let own = own.clone();
        move || {
            own.spin();
            sleep(LONG);
        }
    });
    own.found();
    // It does not wait, and so is not ended.
    assert!(!greenlet.kill_with(GreenletExit, Wait::No));
    assert!(!greenlet.kill_with(GreenletExit, Wait::For(SHORT)));
    assert!(!greenlet.is_dead());
    own.stop.store(true, SeqCst);
    assert!(greenlet.kill_with(GreenletExit, Wait::Forever));
    assert!(matches!(greenlet.try_get(), Err(GetError::Exit)));
}

fn a_kill_reaches_one_that_waits_elsewhere() {
    let never = Event::new();
    for wait in [Wait::Forever, Wait::For(LONG), Wait::No] {
        let own = Whereabouts::default();
        let greenlet = spawn({
            let (own, never) = (own.clone(), never.clone());
            move || {
                // The caller may lose its turn to it at first.
                own.stay_until_found();
                never.wait();
            }
        });
        own.found();
        own.stop.store(true, SeqCst);
        let ended = greenlet.kill_with(GreenletExit, wait);
        assert!(ended || wait == Wait::No);
        greenlet.join();
        assert!(matches!(greenlet.try_get(), Err(GetError::Exit)));
    }
}

fn a_kill_that_is_caught_elsewhere() {
    let gate = Event::new();
    let own = Whereabouts::default();
    let greenlet = spawn({
        let (own, gate) = (own.clone(), gate.clone());
        move || {
            own.spin();
            let caught = catch_unwind(AssertUnwindSafe(|| sleep(LONG))).unwrap_err();
            assert_eq!(caught.downcast_ref(), Some(&"meant"));
            gate.wait(); // goes on, and is not killed again
            "went on"
        }
    });
    own.found();
    assert!(!greenlet.kill_with("meant", Wait::For(SHORT)));
    own.stop.store(true, SeqCst);
    assert!(!greenlet.join_timeout(SHORT));
    gate.set();
    assert_eq!(greenlet.get().unwrap(), "went on");
}

fn a_kill_reaches_one_that_has_not_begun_elsewhere() {
    let own = Whereabouts::default();
    let ran = Arc::new(AtomicBool::new(false));
    let spawner = spawn({
        let (own, ran) = (own.clone(), Arc::clone(&ran));
        move || {
            let later = |ran: Arc<AtomicBool>| {
                spawn_later(Duration::from_secs(60), move || ran.store(true, SeqCst))
            };
            let both = [later(Arc::clone(&ran)), later(ran)];
            own.spin();
            both
        }
    });
    own.found();
    own.stop.store(true, SeqCst);
    let [one, two] = spawner.take().unwrap();
    assert!(one.kill_with(GreenletExit, Wait::For(LONG)));
    two.kill();
    assert!(one.is_dead() && two.is_dead() && !ran.load(SeqCst));
    // Its thread has been told: it ends now, not when it was to begin.
    assert!(wait_all(Some(Duration::from_secs(30))));
}

fn a_time_out_is_over_elsewhere() {
    let own = Whereabouts::default();
    let greenlet = spawn({
        let own = own.clone();
        move || {
            with_timeout(SHORT, || {
                own.spin();
                sleep(LONG);
            })
            .is_err()
        }
    });
    own.found();
    let begin = Instant::now();
    while begin.elapsed() < 2 * SHORT {
        std::hint::spin_loop();
    }
    own.stop.store(true, SeqCst);
    assert!(greenlet.get().unwrap());
}
