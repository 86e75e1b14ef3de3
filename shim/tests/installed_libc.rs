//! Plans the libc and the dynamic linker of this system, from their files, and
//! checks the plan against a decoding of all their functions.

use gevent_shim::image::{Image, Layout};
use gevent_shim::maps;
use gevent_shim::plan::plan;
use gevent_shim::scan::{Boundaries, Wanted, candidates, makes_threads, scan};
use gevent_shim::unwind::Unwind;
use iced_x86::{Code, Decoder, DecoderOptions, OpKind};

fn file(name: &str) -> Vec<u8> {
    let objects = maps::objects(&maps::read().unwrap());
    let named = |p: &std::path::Path| p.file_name().unwrap().to_str().unwrap().starts_with(name);
    let object = objects.iter().find(|o| named(&o.path)).unwrap();
    std::fs::read(&object.path).unwrap()
}

fn with_image(name: &str, check: impl Fn(&Image<'_>)) {
    let file = file(name);
    let layout = Layout::parse(&file).unwrap();
    let part = |offset, size| &file[offset as usize..(offset + size) as usize];
    let parts: Vec<&[u8]> = layout
        .loads
        .iter()
        .map(|l| part(l.offset, l.size))
        .collect();
    check(&Image::new(&layout, &parts).unwrap());
}

/// The `syscall` instructions and the targets of all direct jumps and calls in
/// functions with an entry in the unwind tables.
fn decode_all(image: &Image<'_>) -> (Vec<u64>, Boundaries) {
    let unwind = Unwind::parse(image).unwrap();
    let (mut sites, mut targets) = (Vec::new(), Vec::new());
    for text in image.texts() {
        let mut at = text.end();
        while let Some((f, _)) = unwind.at_or_before(at) {
            if f.start < text.addr {
                break;
            }
            if !f.signal_return {
                let code =
                    &text.bytes[(f.start - text.addr) as usize..(f.end - text.addr) as usize];
                for i in Decoder::with_ip(64, code, f.start, DecoderOptions::NONE) {
                    if i.code() == Code::Syscall {
                        sites.push(i.ip());
                    }
                    if i.op_count() > 0 && i.op0_kind() == OpKind::NearBranch64 {
                        targets.push(i.near_branch_target());
                    }
                }
            }
            at = f.start - 1;
        }
    }
    (sites, Boundaries::new(targets))
}

#[test]
fn every_site_has_a_window_that_nothing_jumps_into() {
    for name in ["libc.so", "ld-linux"] {
        with_image(name, |image| {
            let found = candidates(image, Wanted::All);
            let plan = plan(&scan(image, &found, &[]), |start, end| {
                image.get(start, end - start)
            });
            assert_eq!(
                plan.missed().collect::<Vec<_>>(),
                Vec::<&(u64, _)>::new(),
                "{name}"
            );
            let (sites, targets) = decode_all(image);
            assert!(sites.len() > 20, "{name}");
            for site in sites {
                assert!(
                    plan.windows.iter().any(|w| w.site == site),
                    "{name} {site:#x}"
                );
            }
            for w in &plan.windows {
                assert!(!targets.inside(w.start, w.end), "{name} {w:?}");
            }
        });
    }
}

#[test]
fn what_is_patched_at_load_is_found() {
    with_image("libc.so", |image| {
        let found = candidates(image, Wanted::AtLoad);
        let plan = plan(&scan(image, &found, &[]), |start, end| {
            image.get(start, end - start)
        });
        // One each of execve, prctl and syscall, and the functions for execveat.
        assert!((5..14).contains(&plan.windows.len()), "{plan:?}");
        assert_eq!(plan.missed().count(), 0);
        let threads = found.iter().filter(|&&site| makes_threads(image, site));
        assert!((1..4).contains(&threads.count()), "{found:x?}");
    });
}
