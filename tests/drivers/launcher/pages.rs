//! `gevent-shim config`, the completions and the manual page.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::{command, said, say};

/// The names of the settings, as the README's table has them.
fn settings() -> Vec<String> {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let (_, table) = readme.split_once("<!-- settings-table:begin -->").unwrap();
    let (table, _) = table.split_once("<!-- settings-table:end -->").unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| row.split('`').next().unwrap().to_owned())
        .collect()
}

#[test]
fn every_setting_with_its_value_and_meaning() {
    let said_plainly = said(command(&["config"]).env_remove("GEVENT_SHIM_HUBS"));
    assert_eq!(said_plainly.status, Some(0), "{said_plainly:?}");
    let blocks: Vec<_> = said_plainly.out.split("GEVENT_SHIM_").collect();
    let settings = settings();
    assert!(settings.len() >= 7);
    for name in &settings {
        let name = name.trim_start_matches("GEVENT_SHIM_");
        let block = blocks
            .iter()
            .find(|block| block.starts_with(&format!("{name}\n")));
        let block = block.unwrap_or_else(|| panic!("{name}: {said_plainly:?}"));
        for field in ["  value    unset: ", "  takes    ", "  meaning  "] {
            assert!(block.contains(field), "{block}");
        }
    }
    let said = said(
        command(&["config"])
            .env("GEVENT_SHIM_LOOP", "epoll")
            .env("GEVENT_SHIM_PREEMPT", "\x1b[31m")
            .env("GEVENT_SHIM_LOP", "x"),
    );
    assert_eq!(said.status, Some(1), "{said:?}");
    assert!(
        said.out.contains("GEVENT_SHIM_LOOP\n  value    epoll\n"),
        "{said:?}"
    );
    let lines: Vec<_> = said.err.lines().collect();
    assert_eq!(lines.len(), 2, "{said:?}");
    assert!(
        lines[0].starts_with("gevent-shim: GEVENT_SHIM_PREEMPT=\"\\x1b[31m\": expected "),
        "{said:?}"
    );
    assert!(
        lines[1].starts_with("gevent-shim: GEVENT_SHIM_LOP: not a known variable"),
        "{said:?}"
    );
}

#[test]
fn shells_take_their_completions() {
    let said = say(&["completions", "bash"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    let mut bash = Command::new("bash")
        .arg("-n")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    bash.stdin
        .take()
        .unwrap()
        .write_all(said.out.as_bytes())
        .unwrap();
    assert!(bash.wait().unwrap().success());
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let said = say(&["completions", shell]);
        for word in ["doctor", "no-dns", "stack-size"] {
            assert!(said.out.contains(word), "{shell}, {word}");
        }
    }
}

#[test]
fn the_manual_page_has_every_option() {
    let said = say(&["man"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(said.out.contains(".TH gevent-shim 1"), "{said:?}");
    let text = said.out.replace("\\-", "-");
    for name in settings() {
        if !["GEVENT_SHIM_DISABLE", "GEVENT_SHIM_PATCH"].contains(&&*name) {
            assert!(text.contains(&name), "{name}");
        }
    }
    for option in ["--no-socket", "--only", "--library", "GEVENT-SHIM DOCTOR"] {
        assert!(text.contains(option), "{option}");
    }
}

#[test]
fn a_full_disk_is_a_line() {
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let mut command = command(&["man"]);
    let output = command.stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let line = String::from_utf8(output.stderr).unwrap();
    assert!(
        line.starts_with("gevent-shim: cannot write to standard output: "),
        "{line}"
    );
}
