//! Patching by the program itself: each group, several, and what the environment says.

use std::ffi::CString;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gevent_shim::monkey::{self, PatchError};
use gevent_shim::*;

crate::tests! {
    socket_alone dns_alone time_alone select_alone thread_alone os_alone subprocess_alone
    signal_alone queue_alone file_alone sys_alone
    a_group_alone_leaves_the_others_to_the_kernel
    groups_add_to_each_other
    all_of_them_more_than_once
    the_environment_leaves_groups_out
    the_environment_leaves_calls_out
    the_environment_may_forbid_it
    without_patching_greenlets_are_kernel_threads
}

/// Whether a group or call is cooperative.
fn is_patched(name: &str) -> bool {
    let name = CString::new(name).unwrap();
    // SAFETY: a string.
    #[allow(unsafe_code)]
    let known = unsafe { query::gevent_is_patched(name.as_ptr()) };
    assert!(known >= 0, "{name:?}");
    known == 1
}

fn names_of_patched() -> Vec<&'static str> {
    let names = GroupSet::ALL.iter().map(|group| group.name());
    names.filter(|name| is_patched(name)).collect()
}

/// With one group there are greenlets, and of the others only what they need.
fn alone(patch: fn() -> Result<(), PatchError>, group: &str) {
    assert!(!get_hub().is_running());
    patch().unwrap();
    assert!(get_hub().is_running() && get_hub().is_guest());
    let mut wanted = vec!["thread", group];
    wanted.dedup();
    let found = names_of_patched();
    assert!(wanted.iter().all(|name| found.contains(name)), "{found:?}");
    let more = ["thread", "signal", "sys", group];
    assert!(found.iter().all(|name| more.contains(name)), "{found:?}");
    assert_eq!(spawn(|| get_hub().is_guest()).get().ok(), Some(true));
}

macro_rules! alone {
    ($($test:ident $patch:ident $group:literal)*) => {$(
        fn $test() {
            alone(monkey::$patch, $group);
        }
    )*};
}

alone! {
    socket_alone patch_socket "socket"
    dns_alone patch_dns "dns"
    time_alone patch_time "time"
    select_alone patch_select "select"
    thread_alone patch_thread "thread"
    os_alone patch_os "os"
    subprocess_alone patch_subprocess "subprocess"
    signal_alone patch_signal "signal"
    queue_alone patch_queue "queue"
    file_alone patch_file "file"
    sys_alone patch_sys "sys"
}

/// Whether sleeps of libc's overlap: the shorter one, which begins last, ends first.
pub fn sleeps_overlap() -> bool {
    let order = Arc::new(Mutex::new(Vec::new()));
    let sleepers = [500, 1].map(|ms| {
        let order = Arc::clone(&order);
        spawn(move || {
            std::thread::sleep(Duration::from_millis(ms));
            order.lock().unwrap().push(ms);
        })
    });
    joinall(&sleepers, None);
    let order = order.lock().unwrap();
    *order == [1, 500]
}

fn a_group_alone_leaves_the_others_to_the_kernel() {
    never_preempt();
    monkey::patch_socket().unwrap();
    assert!(!sleeps_overlap());
}

fn groups_add_to_each_other() {
    never_preempt();
    monkey::patch_socket().unwrap();
    assert!(!is_patched("time") && !sleeps_overlap());
    monkey::patch_time().unwrap();
    assert!(is_patched("time") && is_patched("socket") && sleeps_overlap());
    assert!(!is_patched("dns") && !is_patched("file"));
    monkey::patch(GroupSet::of(&[PatchGroup::Dns, PatchGroup::File])).unwrap();
    assert!(is_patched("dns") && is_patched("file") && !is_patched("queue"));
}

fn all_of_them_more_than_once() {
    monkey::patch_all().unwrap();
    let all = names_of_patched();
    assert_eq!(all.len(), GroupSet::ALL.iter().count());
    monkey::patch_all().unwrap();
    monkey::patch_time().unwrap();
    // Also from a greenlet.
    assert!(spawn(|| monkey::patch_all().is_ok()).get().unwrap());
    assert_eq!(names_of_patched(), all);
}

/// Sets a variable of the environment, before there are threads.
fn set(name: &str, value: &str) {
    // SAFETY: the only thread.
    #[allow(unsafe_code)]
    unsafe {
        std::env::set_var(name, value);
    }
}

/// Who waits in the kernel stops the others until it returns.
fn never_preempt() {
    set("GEVENT_SHIM_PREEMPT", "0");
}

fn the_environment_leaves_groups_out() {
    never_preempt();
    set("GEVENT_SHIM_PATCH", "-dns,-time");
    monkey::patch_socket().unwrap();
    for patch in [monkey::patch_all, monkey::patch_dns, monkey::patch_time] {
        patch().unwrap();
        assert!(!is_patched("dns") && !is_patched("time"));
    }
    assert!(is_patched("file") && !sleeps_overlap());
}

fn the_environment_leaves_calls_out() {
    set("GEVENT_SHIM_PATCH", "-recvfrom");
    monkey::patch_time().unwrap();
    assert!(!is_patched("recvfrom") && !is_patched("sendto"));
    monkey::patch_socket().unwrap();
    assert!(!is_patched("recvfrom") && is_patched("sendto"));
}

fn the_environment_may_forbid_it() {
    set("GEVENT_SHIM_PATCH", "nosuch");
    assert!(matches!(monkey::patch_all(), Err(PatchError::Config(_))));
    set("GEVENT_SHIM_PATCH", "all");
    set("GEVENT_SHIM_DISABLE", "1");
    let refused = monkey::patch_all().unwrap_err();
    assert!(matches!(refused, PatchError::Disabled), "{refused}");
    assert!(!get_hub().is_running());
    assert_eq!(spawn(|| 1).get().unwrap(), 1);
}

fn without_patching_greenlets_are_kernel_threads() {
    let hub = get_hub();
    assert!(!hub.is_running() && !hub.is_guest());
    assert_eq!(hub.statistics(), HubStatistics::default());
    assert_eq!(spawn(|| get_hub().is_guest()).get().ok(), Some(false));
    assert!(sleeps_overlap());
}
