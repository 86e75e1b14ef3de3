//! An unmodified libpq: 100 queries of 100 ms each at the same time, five times, then a
//! time-out around one that blocks. One after another they would take 10 s, ten at a time 1 s;
//! the fastest of the five is compared, as other programs may take the processor. The first
//! argument says where the server is.
//!
//! What it needs of libpq is declared here, to need no headers.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::time::{Duration, Instant};

use gevent_shim::{joinall, monkey, spawn, with_timeout};

#[link(name = "libpq.so.5", kind = "dylib", modifiers = "+verbatim")]
unsafe extern "C" {
    fn PQconnectdb(settings: *const c_char) -> *mut c_void;
    fn PQstatus(connection: *const c_void) -> c_int;
    fn PQexec(connection: *mut c_void, query: *const c_char) -> *mut c_void;
    fn PQresultStatus(result: *const c_void) -> c_int;
    fn PQclear(result: *mut c_void);
    fn PQfinish(connection: *mut c_void);
}

const CONNECTION_OK: c_int = 0;
const PGRES_TUPLES_OK: c_int = 2;
const PGRES_FATAL_ERROR: c_int = 7;

struct Connection(*mut c_void);

// SAFETY: libpq allows a connection to be used by one thread after another.
unsafe impl Send for Connection {}

impl Connection {
    fn new(settings: &CStr) -> Self {
        // SAFETY: a string.
        Connection(unsafe { PQconnectdb(settings.as_ptr()) })
    }

    fn is_open(&self) -> bool {
        // SAFETY: a connection.
        unsafe { PQstatus(self.0) == CONNECTION_OK }
    }

    /// libpq's function that waits for the whole answer; the status of it.
    fn exec(&mut self, query: &CStr) -> c_int {
        // SAFETY: a connection that nobody else uses; the result is freed once.
        unsafe {
            let result = PQexec(self.0, query.as_ptr());
            let status = PQresultStatus(result);
            PQclear(result);
            status
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: the last use.
        unsafe { PQfinish(self.0) };
    }
}

fn main() {
    let settings = std::env::args().nth(1).expect("where the server is");
    let settings = CString::new(settings).expect("settings");
    monkey::patch_all().expect("nothing runs yet");
    let jobs: Vec<_> = (0..100)
        .map(|_| {
            let settings = settings.clone();
            spawn(move || Connection::new(&settings))
        })
        .collect();
    joinall(&jobs, Some(Duration::from_secs(60)));
    let mut connections: Vec<_> = jobs.iter().filter_map(|job| job.take().ok()).collect();
    let open = connections.iter().filter(|connection| connection.is_open());
    println!("{} connections", open.count());

    let mut done = 0;
    let mut fastest = Duration::MAX;
    for _ in 0..5 {
        let begin = Instant::now();
        let jobs: Vec<_> = connections
            .drain(..)
            .map(|mut connection| {
                spawn(move || {
                    let status = connection.exec(c"SELECT pg_sleep(0.1)");
                    (connection, status)
                })
            })
            .collect();
        joinall(&jobs, Some(Duration::from_secs(60)));
        fastest = fastest.min(begin.elapsed());
        for (connection, status) in jobs.iter().filter_map(|job| job.take().ok()) {
            done += usize::from(status == PGRES_TUPLES_OK);
            connections.push(connection);
        }
    }
    eprintln!("100 queries of 100 ms took {} ms", fastest.as_millis());
    println!("{done} queries");
    println!(
        "100 in less than 500 ms: {}",
        fastest < Duration::from_millis(500)
    );

    let connection = &mut connections[0];
    let mut status = -1;
    let outcome = with_timeout(Duration::from_millis(100), || {
        status = connection.exec(c"SELECT pg_sleep(3600)");
    });
    println!("libpq failed: {}", status == PGRES_FATAL_ERROR);
    println!("by the time-out: {}", outcome.unwrap_err());
}
// Output:
// 100 connections
// 500 queries
// 100 in less than 500 ms: true
// libpq failed: true
// by the time-out: timed out after 100ms
