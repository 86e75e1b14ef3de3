//! Link arguments of the preloaded library.

fn main() {
    // See src/thread_exit.rs. Only the library: a program that links the crate keeps
    // the destructors of its threads.
    println!(
        "cargo:rustc-cdylib-link-arg=-Wl,--defsym=__cxa_thread_atexit_impl=gevent_shim_thread_atexit"
    );
    println!("cargo:rerun-if-changed=build.rs");
}
