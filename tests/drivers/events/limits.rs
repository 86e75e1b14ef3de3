//! What the hub makes do without is told: descriptors, io_uring, threads, watches.

use std::path::{Path, PathBuf};

use gevent_tests::compile;

use crate::program::{named, told};

/// A guest program that is also run bare and preloaded, where its output is looked at.
fn guest(name: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("guests")
        .join(name)
        .with_extension("c");
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("events");
    std::fs::create_dir_all(&directory).unwrap();
    let output = directory.join(name);
    compile::build(&source, &[], &output).unwrap();
    output
}

const FILTER: &str = "gevent::hub=info,gevent::patch=warn";
const LOOPS: [&str; 3] = ["auto", "io_uring", "epoll"];

#[test]
fn a_ring_that_is_refused_is_told_and_the_loop_is_epoll() {
    let program = guest("limit_ring");
    for kind in LOOPS {
        let events = told(&program, FILTER, &[("GEVENT_SHIM_LOOP", kind)]);
        let refused = named(&events, "RingRefused");
        assert_eq!(refused.len(), (kind != "epoll") as usize, "{events:?}");
        for event in refused {
            assert_eq!(event["fields"]["errno"], libc::EPERM);
        }
        let started = named(&events, "HubStarted");
        assert!(!started.is_empty());
        assert!(started.iter().all(|e| e["fields"]["reactor"] == "epoll"));
    }
}

#[test]
fn a_pool_that_can_have_no_thread_is_told_once() {
    let program = guest("limit_pool");
    for kind in LOOPS {
        let events = told(&program, FILTER, &[("GEVENT_SHIM_LOOP", kind)]);
        assert_eq!(named(&events, "PoolMissing").len(), 1, "{events:?}");
    }
}

#[test]
fn memory_that_is_not_given_is_told_once() {
    let program = guest("limit_memory_running");
    for kind in LOOPS {
        let events = told(&program, FILTER, &[("GEVENT_SHIM_LOOP", kind)]);
        assert_eq!(named(&events, "MemoryShort").len(), 1, "{events:?}");
    }
}

#[test]
fn descriptors_that_cannot_be_watched_are_told_once() {
    let program = guest("limit_watches");
    for kind in LOOPS {
        let events = told(&program, FILTER, &[("GEVENT_SHIM_LOOP", kind)]);
        for name in ["NotWatched", "ClockNotWatched"] {
            let all = named(&events, name);
            let [event] = all.as_slice() else {
                panic!("{name}: {events:?}");
            };
            assert_eq!(event["fields"]["errno"], libc::ENOSPC);
        }
    }
}

#[test]
fn descriptors_that_are_missing_are_told() {
    let program = guest("limit_descriptors_hard");
    for kind in LOOPS {
        let events = told(&program, FILTER, &[("GEVENT_SHIM_LOOP", kind)]);
        // With none the program stays bare; with a few, the hub does without the rest.
        let bare = named(&events, "NotPatched");
        let because = |reason: &str| {
            let mut events = bare.iter();
            events.any(|event| event["fields"]["reason"] == reason)
        };
        assert!(because("no descriptors are left for the hub"), "{bare:?}");
        let mut without = vec!["FileMissing", "ClockNotWatched"];
        if kind != "epoll" {
            without.push("RingRefused");
        }
        for name in without {
            let all = named(&events, name);
            assert!(!all.is_empty(), "{name}: {events:?}");
            for event in all {
                assert_eq!(event["fields"]["errno"], libc::EMFILE, "{event}");
            }
        }
    }
}

#[test]
fn a_filter_that_the_program_installs_is_told() {
    let program = guest("filter_strict");
    for kind in LOOPS {
        let events = told(&program, FILTER, &[("GEVENT_SHIM_LOOP", kind)]);
        let all = named(&events, "Filtered");
        assert!(!all.is_empty(), "{events:?}");
        for event in all {
            let calls = event["fields"]["calls"].as_str().unwrap();
            assert!(calls.contains("epoll"), "{event}");
        }
    }
}
