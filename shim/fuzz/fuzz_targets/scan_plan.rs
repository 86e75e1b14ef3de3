//! Scan and plan of arbitrary functions, of arbitrary files, and of arbitrary
//! kept plans: no panic, and windows that are disjoint and hold no live address.
#![no_main]

#[path = "../../tests/synthetic/mod.rs"]
mod synthetic;

use gevent_shim::image::{Image, Layout};
use gevent_shim::plan::{HOP_LEN, JUMP_LEN, Plan, plan};
use gevent_shim::scan::{Wanted, candidates, scan};
use gevent_shim::{cache, trampoline};
use libfuzzer_sys::fuzz_target;
use synthetic::{Object, TEXT};

fn check(plan: &Plan, live: &[u64]) {
    let mut free_from = 0;
    for w in &plan.windows {
        let least = if w.room.is_some() { HOP_LEN } else { JUMP_LEN };
        assert!(w.start >= free_from && w.end - w.start >= least && w.is_well_formed());
        assert!(!live.iter().any(|&a| w.start < a && a < w.end));
        free_from = w.end;
        let targets = trampoline::Targets {
            table: 0,
            entry_slot: w.end,
            record: w.end,
        };
        if let Ok(stub) = trampoline::encode(w, 0, w.end + 0x1000, &targets) {
            assert!(stub.code.len() <= trampoline::STUB_MAX);
        }
    }
    let file = cache::encode(plan).expect("every plan has a form");
    assert_eq!(cache::decode(&file).as_ref(), Some(plan));
}

fn of_image(image: &Image<'_>, live: &[u64]) {
    for wanted in [Wanted::All, Wanted::AtLoad] {
        let found = candidates(image, wanted);
        let plan = plan(&scan(image, &found, live), |start, end| {
            image.get(start, end - start)
        });
        check(&plan, live);
    }
}

fuzz_target!(|input: (Vec<(Vec<u8>, u8)>, Vec<u8>, Vec<u16>)| {
    let (functions, data, live) = input;
    let functions: Vec<_> = functions
        .into_iter()
        .map(|(c, n)| (c, u32::from(n)))
        .collect();
    let live: Vec<u64> = live.into_iter().map(|a| TEXT + u64::from(a)).collect();
    let mut object = Object::new(&functions);
    object.data = data;
    check(&object.plan(&live), &live);
    of_image(&object.image(), &live);
    if let Some(plan) = cache::decode(&object.data) {
        let image = object.image();
        cache::fits(&plan, &[], |start, len| image.get(start, len));
    }
    if let Ok(layout) = Layout::parse(&object.data) {
        let part = |offset: u64, size: u64| {
            object
                .data
                .get(offset as usize..(offset + size) as usize)
                .unwrap_or(&[])
        };
        let parts: Vec<_> = layout
            .loads
            .iter()
            .map(|l| part(l.offset, l.size))
            .collect();
        if let Ok(image) = Image::new(&layout, &parts) {
            of_image(&image, &[]);
        }
    }
});
