//! gevent's concurrent_download, with an unmodified libcurl: 100 requests that the server of
//! the first argument answers after 100 ms each, five times. One after another they would
//! take 10 s, ten at a time 1 s; the fastest of the five is compared, as other programs may
//! take the processor.
//!
//! What it needs of libcurl is declared here: a crate of bindings would build a libcurl of its
//! own where there are no headers of the system's.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_long, c_void};
use std::time::{Duration, Instant};

use gevent_shim::{joinall, monkey, spawn};

#[link(name = "libcurl.so.4", kind = "dylib", modifiers = "+verbatim")]
unsafe extern "C" {
    fn curl_global_init(flags: c_long) -> c_int;
    fn curl_easy_init() -> *mut c_void;
    fn curl_easy_setopt(curl: *mut c_void, option: c_int, ...) -> c_int;
    fn curl_easy_perform(curl: *mut c_void) -> c_int;
    fn curl_easy_cleanup(curl: *mut c_void);
}

const CURLOPT_NOSIGNAL: c_int = 99;
const CURLOPT_WRITEDATA: c_int = 10001;
const CURLOPT_URL: c_int = 10002;
const CURLOPT_WRITEFUNCTION: c_int = 20011;
const CURL_GLOBAL_DEFAULT: c_long = 3;

unsafe extern "C" fn take(bytes: *const c_char, size: usize, n: usize, body: *mut c_void) -> usize {
    // SAFETY: libcurl's bytes and the body that `download` passes.
    unsafe {
        let bytes = std::slice::from_raw_parts(bytes.cast::<u8>(), size * n);
        (*body.cast::<Vec<u8>>()).extend_from_slice(bytes);
    }
    size * n
}

fn download(url: &CStr) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    // SAFETY: as libcurl documents these functions and options; the handle is this call's.
    let error = unsafe {
        let curl = curl_easy_init();
        curl_easy_setopt(curl, CURLOPT_URL, url.as_ptr());
        curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1 as c_long);
        curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take as *const c_void);
        curl_easy_setopt(curl, CURLOPT_WRITEDATA, &raw mut body);
        let error = curl_easy_perform(curl);
        curl_easy_cleanup(curl);
        error
    };
    (error == 0).then_some(body)
}

fn main() {
    let url = std::env::args().nth(1).expect("the URL of a server");
    let url = CString::new(url).expect("a URL");
    // SAFETY: before there are other threads.
    assert_eq!(unsafe { curl_global_init(CURL_GLOBAL_DEFAULT) }, 0);
    monkey::patch_all().expect("nothing runs yet");
    let mut done = 0;
    let mut fastest = Duration::MAX;
    for _ in 0..5 {
        let begin = Instant::now();
        let jobs: Vec<_> = (0..100)
            .map(|_| {
                let url = url.clone();
                spawn(move || download(&url))
            })
            .collect();
        joinall(&jobs, Some(Duration::from_secs(60)));
        fastest = fastest.min(begin.elapsed());
        let bodies = jobs.iter().filter_map(|job| job.value().flatten());
        done += bodies.filter(|body| body == b"hello").count();
    }
    eprintln!("100 downloads of 100 ms took {} ms", fastest.as_millis());
    println!("{done} downloads");
    println!(
        "100 in less than 500 ms: {}",
        fastest < Duration::from_millis(500)
    );
}
// Output:
// 500 downloads
// 100 in less than 500 ms: true
