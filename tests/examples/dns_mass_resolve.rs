//! gevent's dns_mass_resolve: many names, ten at a time.

use std::net::ToSocketAddrs;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use gevent_shim::{Pool, monkey, yield_now};

static RESOLVED: AtomicUsize = AtomicUsize::new(0);
static RUNNING: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

fn job(number: u32) {
    MOST.fetch_max(RUNNING.fetch_add(1, SeqCst) + 1, SeqCst);
    yield_now(); // the others of the pool begin
    let found = (format!("127.0.1.{number}"), 0).to_socket_addrs();
    RESOLVED.fetch_add(usize::from(found.is_ok()), SeqCst);
    RUNNING.fetch_sub(1, SeqCst);
}

fn main() {
    monkey::patch_all().expect("nothing runs yet");
    let pool = Pool::new(10).expect("a size");
    for number in 1..=200 {
        pool.spawn(move || job(number));
    }
    println!("joined: {}", pool.join_timeout(Duration::from_secs(60)));
    println!("resolved: {}", RESOLVED.load(SeqCst));
    println!("at most {} at a time", MOST.load(SeqCst));
}
// Output:
// joined: true
// resolved: 200
// at most 10 at a time
