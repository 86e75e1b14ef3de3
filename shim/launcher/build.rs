//! Link arguments of the launcher, with which it runs on glibc 2.28 wherever it was built.

#[path = "../src/own_libc/names.rs"]
#[allow(dead_code)]
mod names;

fn main() {
    for name in names::NEWER {
        argument(&format!("--defsym={name}=gevent_shim_own_{name}"));
    }
    // See src/start.rs.
    argument("--defsym=__libc_start_main=gevent_shim_start_main");
    // std does without where it is not there (glibc 2.29).
    argument("--defsym=posix_spawn_file_actions_addchdir_np=0");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=../src/own_libc/names.rs");
}

fn argument(text: &str) {
    println!("cargo:rustc-link-arg-bins=-Wl,{text}");
}
