//! Every value a variable takes or refuses, and arbitrary environments.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use proptest::prelude::*;

use super::settings::*;
use super::*;
use crate::group::{Group, GroupSet};

fn of(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
    parse(pairs.iter().copied())
}

fn ok(name: &str, value: &str) -> Config {
    of(&[(name, value)]).unwrap_or_else(|error| panic!("{error}"))
}

fn line(pairs: &[(&str, &str)]) -> String {
    match of(pairs) {
        Ok(config) => panic!("{pairs:?} was taken as {config:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn an_environment_without_us_is_the_default() {
    let config = of(&[("PATH", "/bin"), ("GEVENT_LOOP", "x"), ("GEVENT_SHIM", "y")]);
    assert_eq!(config, Ok(Config::DEFAULT));
    assert_eq!(of(&[]), Ok(Config::default()));
}

#[test]
fn an_empty_value_is_no_value() {
    for setting in &SETTINGS {
        assert_eq!(of(&[(setting.name, "")]), Ok(Config::DEFAULT));
    }
}

#[test]
fn the_first_of_one_name_counts() {
    let config = of(&[(LOOP, "epoll"), (LOOP, "io_uring")]).unwrap();
    assert_eq!(config.loop_kind, LoopKind::Epoll);
}

#[test]
fn a_declaration_says_what_is_so() {
    for setting in &SETTINGS {
        let Setting {
            name,
            takes,
            default,
            meaning,
            needs,
            ..
        } = setting;
        assert!(name.starts_with(PREFIX));
        let plain = |text: &str| {
            text.bytes()
                .all(|byte| byte == b' ' || byte.is_ascii_graphic())
        };
        assert!(plain(takes) && plain(default) && plain(meaning), "{name}");
        assert!(meaning.ends_with('.') && !takes.ends_with('.'), "{name}");
        assert_eq!(
            SETTINGS.iter().filter(|other| other.name == *name).count(),
            1
        );
        let is_there = |needed: &&str| SETTINGS.iter().any(|other| other.name == *needed);
        assert!(needs.iter().all(is_there));
        // Where the default is a value, it is the one that counts. Any words are a path.
        let mut config = Config::DEFAULT;
        if *takes != patch_events::InvalidPath::EXPECTED
            && !default.contains(' ')
            && needs.is_empty()
            && setting.read(OsStr::new(default), &mut config).is_ok()
        {
            assert_eq!(config, Config::DEFAULT, "{name}");
        }
    }
    let takes = |name| {
        SETTINGS
            .iter()
            .find(|setting| setting.name == name)
            .unwrap()
            .takes
    };
    let groups: Vec<_> = Group::ALL.iter().map(|group| group.name()).collect();
    assert!(takes(PATCH).ends_with(&format!(" {}", groups.join(", "))));
    assert!(takes(LOOP).ends_with(&format!(
        " {}",
        LoopKind::ALL.map(LoopKind::name).join(", ")
    )));
}

#[test]
fn everything_that_is_wrong_is_found() {
    let (config, errors) = check([
        (LOOP, "kqueue"),
        (PREEMPT, "20"),
        ("GEVENT_SHIM_X", ""),
        (STACK_SIZE, "1"),
    ]);
    assert_eq!(config.preempt, Some(Duration::from_millis(20)));
    let variables: Vec<_> = errors.iter().map(ConfigError::variable).collect();
    assert_eq!(variables, [LOOP, STACK_SIZE, "GEVENT_SHIM_X"]);
}

#[test]
fn switch() {
    for on in ["1", "yes", "true", "YES", "True", " 1 "] {
        assert!(ok(DISABLE, on).disable, "{on:?}");
    }
    for off in ["0", "no", "false", "NO", "False"] {
        assert!(!ok(DISABLE, off).disable, "{off:?}");
    }
    for bad in ["2", "on", "off", "y", "01", "-1", " "] {
        assert!(
            line(&[(DISABLE, bad)]).ends_with("expected 1, yes or true, or 0, no or false"),
            "{bad:?}"
        );
    }
}

#[test]
fn disabled_looks_at_nothing_else() {
    let config = of(&[
        (PATCH, "nonsense"),
        ("GEVENT_SHIM_NOSUCH", "1"),
        (EVENTS, "?"),
        (DISABLE, "1"),
    ])
    .unwrap();
    assert!(config.disable);
    assert_eq!(config.selection, Selection::ALL);
}

#[test]
fn groups() {
    assert_eq!(ok(PATCH, "none").selection.groups(), GroupSet::NONE);
    assert_eq!(
        ok(PATCH, "-file,-sys").selection.groups(),
        GroupSet::ALL.without(Group::File).without(Group::Sys)
    );
    assert_eq!(
        ok(PATCH, "socket,thread").selection.groups(),
        GroupSet::of(&[Group::Socket, Group::Thread])
    );
    assert_eq!(
        line(&[(PATCH, "sockets")]),
        "GEVENT_SHIM_PATCH=\"sockets\" (the nearest is socket): expected a comma list of all, \
         none, a group or a system call, or -group or -call; the groups are socket, dns, time, \
         select, thread, os, subprocess, signal, queue, file, sys"
    );
}

#[test]
fn programs_are_chosen_by_name() {
    let config = of(&[(ONLY, "app, worker"), (SKIP, "worker")]).unwrap();
    let chooses = |names: &[&str]| {
        let names: Vec<_> = names.iter().map(OsStr::new).collect();
        config.chooses(&names)
    };
    assert!(chooses(&["app"]) && chooses(&["python3", "app"]));
    assert!(!chooses(&["sh"]) && !chooses(&["worker"]) && !chooses(&["app", "worker"]));
    assert!(Config::DEFAULT.chooses(&[OsStr::new("sh")]));
    for bad in ["/bin/sh", "a,,b", ","] {
        assert!(line(&[(SKIP, bad)]).ends_with("expected a comma list of file names"));
    }
}

#[test]
fn plugins() {
    let paths = |list| ok(PLUGINS, list).plugins;
    assert_eq!(paths("/a.so"), [Path::new("/a.so")]);
    assert_eq!(
        paths("./a b.so,/b.so:c/d.so"),
        ["./a b.so", "/b.so", "c/d.so"].map(Path::new)
    );
    for bad in ["a.so", "/a.so,", "/a.so,,/b.so", ":"] {
        assert!(line(&[(PLUGINS, bad)]).contains("a list of paths with a slash"));
    }
    // Whom an event is for is asked for by either.
    assert!(of(&[(PLUGINS, "/a.so"), (MAX_MEMORY, "1G")]).is_ok());
    assert_eq!(
        line(&[(MAX_MEMORY, "1G")]),
        "GEVENT_SHIM_MAX_MEMORY=\"1G\": has no effect unless GEVENT_SHIM_EVENTS or \
         GEVENT_SHIM_PLUGINS is set"
    );
}

#[test]
fn loops() {
    for (text, kind) in [
        ("auto", LoopKind::Auto),
        ("io_uring", LoopKind::IoUring),
        ("epoll", LoopKind::Epoll),
        (" EPOLL", LoopKind::Epoll),
    ] {
        assert_eq!(ok(LOOP, text).loop_kind, kind);
    }
    for bad in ["iouring", "io-uring", "libev", "epoll,auto"] {
        assert_eq!(
            line(&[(LOOP, bad)]),
            format!("GEVENT_SHIM_LOOP=\"{bad}\": expected one of auto, io_uring, epoll")
        );
    }
}

#[test]
fn hubs() {
    assert_eq!(ok(HUBS, "1").hubs, 1);
    assert_eq!(ok(HUBS, &HUBS_MAX.to_string()).hubs, HUBS_MAX);
    for auto in ["auto", "AUTO"] {
        assert!((1..=HUBS_MAX).contains(&ok(HUBS, auto).hubs));
    }
    for bad in ["0", "-1", "+2", "1.5", "two", &(HUBS_MAX + 1).to_string()] {
        let told = line(&[(HUBS, bad)]);
        let most = format!("expected a number from 1 to {HUBS_MAX}, or auto");
        assert!(told.ends_with(&most), "{told}");
    }
}

#[test]
fn stack_sizes() {
    for (text, bytes) in [
        ("16384", 16384),
        ("16K", 16384),
        ("16k", 16384),
        ("16385", 20480),
        ("0000016384", 16384),
        (" 1M ", 1 << 20),
        ("2g", 2 << 30),
        ("1024G", STACK_MAX),
    ] {
        assert_eq!(ok(STACK_SIZE, text).stack_size, Some(bytes), "{text:?}");
    }
    for bad in [
        "0",
        "16383",
        "15K",
        "1025G",
        "1T",
        "K",
        "-1",
        "+16384",
        "16 K",
        "16KB",
        "0x8000",
        "1.5M",
        "1_000_000",
        "18446744073709551615",
        "18446744073709551616",
        "99999999999999999G",
        "\u{661}6384",
        "1\u{212a}",
    ] {
        assert!(
            line(&[(STACK_SIZE, bad)])
                .ends_with("expected bytes, or a number with K, M or G, from 16K to 1024G"),
            "{bad:?}"
        );
    }
}

#[test]
fn events() {
    let silent = ok(EVENTS, "0").events;
    assert_eq!(silent, Config::DEFAULT.events);
    let all = ok(EVENTS, "1").events;
    assert_eq!(all.filter, Some(Filter::usual()));
    assert_eq!(all.target, Target::Stderr);
    let config = of(&[
        (EVENTS_FILE, "/tmp/e.%p"),
        (EVENTS, "gevent::patch=info,gevent::hub"),
    ])
    .unwrap();
    assert_eq!(
        config.events.filter.unwrap().to_string(),
        "gevent::patch=info,gevent::hub=trace"
    );
    let Target::File(path) = config.events.target else {
        panic!("a file was asked for");
    };
    assert_eq!(path.expand(7).as_os_str(), "/tmp/e.7");
    let refused = line(&[(EVENTS, "gevent::patsch=info")]);
    assert!(
        refused.starts_with(
            "GEVENT_SHIM_EVENTS=\"gevent::patsch=info\": expected 1 for all but calls, all, "
        ),
        "{refused}"
    );
    assert_eq!(
        line(&[(EVENTS, "1"), (EVENTS_FILE, "/tmp/%d")]),
        "GEVENT_SHIM_EVENTS_FILE=\"/tmp/%d\": expected a path, with %p for the process id and \
         %% for a percent sign"
    );
    assert_eq!(
        line(&[(EVENTS_FILE, "/tmp/e")]),
        "GEVENT_SHIM_EVENTS_FILE=\"/tmp/e\": has no effect unless GEVENT_SHIM_EVENTS is set"
    );
    let off = of(&[(EVENTS, "off"), (EVENTS_FILE, "/tmp/e")]).unwrap();
    assert_eq!(off.events.filter, None);
}

#[test]
fn unknown_names_point_to_the_nearest() {
    for (name, nearest) in [
        ("GEVENT_SHIM_PATHC", PATCH),
        ("GEVENT_SHIM_patch", PATCH),
        ("GEVENT_SHIM_STACKSIZE", STACK_SIZE),
        ("GEVENT_SHIM_EVENT", EVENTS),
        ("GEVENT_SHIM_EVENT_FILE", EVENTS_FILE),
        ("GEVENT_SHIM_DISABLED", DISABLE),
        ("GEVENT_SHIM_LOOPS", LOOP),
    ] {
        assert_eq!(
            line(&[(name, "1")]),
            format!("{name}: not a known variable; the nearest is {nearest}")
        );
    }
    assert!(line(&[("GEVENT_SHIM_", "")]).starts_with("GEVENT_SHIM_: not a known variable"));
}

#[test]
fn hostile_bytes_are_escaped_and_cut() {
    let value = OsString::from_vec(b"\x1b[31m\n\xff\"".to_vec());
    let error = parse([(OsString::from(LOOP), value)]).unwrap_err();
    assert_eq!(error.variable(), LOOP);
    assert_eq!(
        error.to_string(),
        r#"GEVENT_SHIM_LOOP="\x1b[31m\n\xff\"": expected one of auto, io_uring, epoll"#
    );
    let long = "x".repeat(200_000);
    let shown = format!("\"{}...\"", "x".repeat(64));
    assert!(line(&[(LOOP, &long)]).contains(&shown));
    assert!(line(&[(&format!("{PREFIX}{long}"), "1")]).len() < 200);
}

/// Names and values near enough to real ones that arbitrary ones meet the
/// parsers.
fn variable() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let name = prop_oneof![
        8 => proptest::sample::select(SETTINGS.to_vec()).prop_map(|setting| setting.name.into()),
        1 => proptest::collection::vec(any::<u8>(), 0..20)
            .prop_map(|rest| [PREFIX.as_bytes(), &rest].concat()),
        1 => proptest::collection::vec(any::<u8>(), 0..20),
    ];
    let value = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        "[-, a-zA-Z0-9=:%_]{0,30}".prop_map(String::into_bytes),
        "(all|none|-?socket|-?file|1|0|info|gevent::hub=debug|16K|epoll)(,-?[a-z]{0,4})?"
            .prop_map(String::into_bytes),
    ];
    (name, value)
}

proptest! {
    #[test]
    fn any_environment_is_a_configuration_or_one_line(
        pairs in proptest::collection::vec(variable(), 0..5)
    ) {
        let pairs = pairs
            .into_iter()
            .map(|(name, value)| (OsString::from_vec(name), OsString::from_vec(value)));
        match parse(pairs) {
            Ok(config) => {
                if let Some(size) = config.stack_size {
                    prop_assert!(size % PAGE == 0 && (STACK_MIN..=STACK_MAX).contains(&size));
                }
            }
            Err(error) => {
                let line = error.to_string();
                prop_assert!(line.starts_with(error.variable()));
                prop_assert!(line.len() < 1024);
                prop_assert!(line.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()));
            }
        }
    }

    #[test]
    fn what_is_shown_is_read_back(
        bits in proptest::collection::vec(any::<bool>(), Group::ALL.len()),
        kind in proptest::sample::select(LoopKind::ALL.to_vec()),
        pages in STACK_MIN / PAGE..=STACK_MAX / PAGE,
    ) {
        let groups: GroupSet = Group::ALL
            .iter()
            .zip(&bits)
            .filter(|(_, on)| **on)
            .map(|(group, _)| *group)
            .collect();
        let config = of(&[
            (PATCH, &groups.to_string()),
            (LOOP, kind.name()),
            (STACK_SIZE, &(pages * PAGE).to_string()),
        ])
        .unwrap();
        prop_assert_eq!(config.selection.groups(), groups);
        prop_assert_eq!(config.loop_kind, kind);
        prop_assert_eq!(config.stack_size, Some(pages * PAGE));
    }
}
