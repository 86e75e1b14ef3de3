//! Arbitrary environments: a configuration whose parts keep their promises, or
//! one printable line.
//!
//! `cargo fuzz run config` in `runtime/`. The input is an environment block:
//! `name=value` entries with a NUL after each.
#![no_main]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use gevent_runtime::config::{self, STACK_MAX, STACK_MIN};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|block: &[u8]| {
    let entries = block.split(|byte| *byte == 0).filter_map(|entry| {
        let equals = entry.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (&entry[..equals], &entry[equals + 1..]);
        Some((OsStr::from_bytes(name), OsStr::from_bytes(value)))
    });
    match config::parse(entries) {
        Ok(config) => {
            assert_eq!(config.selection.to_string().parse(), Ok(config.selection));
            if let Some(size) = config.stack_size {
                assert!(size % 4096 == 0 && (STACK_MIN..=STACK_MAX).contains(&size));
            }
            if let Some(filter) = config.events.filter {
                assert_eq!(filter.to_string().parse(), Ok(filter));
            }
        }
        Err(error) => {
            let line = error.to_string();
            assert!(line.starts_with(error.variable()) && line.len() < 1024);
            assert!(
                line.bytes()
                    .all(|byte| byte == b' ' || byte.is_ascii_graphic())
            );
        }
    }
});
