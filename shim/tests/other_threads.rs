//! With another thread in the process, which may be anywhere in libc, nothing is
//! patched, and what was patched at load is taken back.
#![allow(unsafe_code)]

use std::sync::Barrier;

use gevent_shim::arm;
use gevent_shim::image::Layout;
use gevent_shim::maps::{self, Kind};

/// Whether the text of libc in memory is that of its file.
fn libc_is_as_in_its_file() -> bool {
    let objects = maps::objects(&maps::read().unwrap());
    let libc = objects.iter().find(|o| o.kind == Kind::Libc).unwrap();
    let file = std::fs::read(&libc.path).unwrap();
    let layout = Layout::parse(&file).unwrap();
    let load = layout.loads.iter().find(|l| l.exec).unwrap();
    let text = libc.mappings.iter().find(|m| m.exec).unwrap();
    let part = &file[text.offset as usize..][..load.size as usize];
    // SAFETY: mapped and readable, and nothing writes there while we look.
    let memory = unsafe { std::slice::from_raw_parts(text.start as *const u8, part.len()) };
    memory == part
}

#[test]
fn nothing_stays_patched() {
    arm::arm_thread_creation().unwrap();
    assert!(!libc_is_as_in_its_file());
    let barrier = Barrier::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| barrier.wait());
        let outcome = arm::patch_all();
        barrier.wait();
        assert_eq!(outcome, Default::default());
    });
    assert!(libc_is_as_in_its_file());
    // It is not tried again.
    assert_eq!(arm::patch_all(), Default::default());
    assert!(libc_is_as_in_its_file());
}
