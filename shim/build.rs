//! Link arguments of the preloaded library.

#[path = "src/own_libc/names.rs"]
#[allow(dead_code)]
mod names;

fn main() {
    // See src/own_libc and src/thread_exit.rs. Only the library: a program that links the
    // crate has libc's functions, and keeps the destructors of its threads.
    let names = names::OWN.iter().chain(names::REAL);
    // The library exports a function of that name, for the program.
    let names = names.filter(|&&name| name != "pthread_create");
    for name in names.chain(&["__tls_get_addr"]) {
        let whose = if names::KEYS.contains(name) {
            "std"
        } else {
            "own"
        };
        argument(&format!("--defsym={name}=gevent_shim_{whose}_{name}"));
    }
    argument("--wrap=pthread_create");
    argument("--defsym=__cxa_thread_atexit_impl=gevent_shim_thread_atexit");
    argument("--wrap=clock_gettime");
    // What the library exports and uses itself is its own.
    argument("-Bsymbolic-functions");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=src/own_libc/names.rs");
}

fn argument(text: &str) {
    println!("cargo:rustc-cdylib-link-arg=-Wl,{text}");
}
