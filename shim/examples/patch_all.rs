//! A preloadable library that patches every site at load and wants every call:
//! the tests run whole programs under it.
#![allow(unsafe_code)]

use gevent_runtime::wanted::{self, ExecMapping, TABLE_LEN};

#[ctor::ctor(unsafe)]
fn load() {
    gevent_shim_test_want_all(true);
    let outcome = gevent_shim::arm::patch_all();
    assert!(outcome.libc_complete && outcome.sites > 100, "{outcome:?}");
}

/// Wants every call, or only the creation of threads.
#[unsafe(no_mangle)]
pub extern "C" fn gevent_shim_test_want_all(on: bool) {
    for nr in 0..TABLE_LEN {
        let creates = matches!(nr as i64, libc::SYS_clone | libc::SYS_clone3);
        wanted::want(nr, on || creates);
    }
}

/// What the runtime does after an executable mapping was made.
#[unsafe(no_mangle)]
pub extern "C" fn gevent_shim_test_mapped(addr: usize, len: usize) {
    gevent_shim::arm::on_exec_mapping(&ExecMapping {
        addr,
        len,
        access: libc::PROT_READ | libc::PROT_EXEC,
        fd: -1,
        offset: 0,
    });
}
