//! gevent's first example: three host names are looked up at the same time.

use std::net::{IpAddr, ToSocketAddrs};
use std::time::Duration;

use gevent_shim::{joinall, monkey, spawn};

/// std's look-up, which calls libc's `getaddrinfo`.
fn gethostbyname(name: &str) -> Option<IpAddr> {
    let mut found = (name, 0).to_socket_addrs().ok()?;
    found.find(|address| address.is_ipv4()).map(|a| a.ip())
}

fn main() {
    monkey::patch_all().expect("nothing runs yet");
    let names = ["localhost", "127.0.0.2", "127.0.0.3"];
    let jobs = names.map(|name| spawn(move || gethostbyname(name)));
    println!(
        "{} ended",
        joinall(&jobs, Some(Duration::from_secs(2))).len()
    );
    for (name, job) in names.iter().zip(&jobs) {
        match job.value().flatten() {
            Some(address) => println!("{name}: {address}"),
            None => println!("{name}: not found"),
        }
    }
}
// Output:
// 3 ended
// localhost: 127.0.0.1
// 127.0.0.2: 127.0.0.2
// 127.0.0.3: 127.0.0.3
