//! `gevent-shim doctor`: what would be patched, and why a program can't be.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use gevent_tests::library;

use crate::support::{Said, command, program, refused, said, say};

const MAIN: &str = "int main(void) { return 0; }";

/// The verdict on a file is "no", with a problem that has this part.
#[track_caller]
fn impossible(path: &Path, part: &str) {
    let said = say(&["doctor", path.to_str().unwrap()]);
    assert_eq!(said.status, Some(1), "{said:?}");
    assert!(
        said.out.ends_with("it would run as without the library\n"),
        "{said:?}"
    );
    let problems: Vec<_> = said
        .out
        .lines()
        .filter(|line| line.contains("PROBLEM"))
        .collect();
    assert!(
        problems.len() == 1 && problems[0].contains(part),
        "{part}: {said:?}"
    );
}

/// The sites that are told of a library.
fn sites(said: &Said, library: &str) -> usize {
    let line = said
        .out
        .lines()
        .find(|line| line.contains(library))
        .unwrap();
    let count = line
        .rsplit(": ")
        .next()
        .and_then(|rest| rest.split(' ').next());
    count.unwrap().parse().unwrap()
}

#[test]
fn the_machine_and_its_libc() {
    let said = say(&["doctor"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(
        said.out
            .contains(library::find().unwrap().to_str().unwrap())
    );
    assert!(said.out.contains("reactor   "));
    assert!(
        said.out
            .ends_with("programs can be made cooperative here\n"),
        "{said:?}"
    );
    assert!(sites(&said, "/libc.so.6") > 100);
}

#[test]
fn what_is_told_is_what_happens() {
    let directory = tempfile::tempdir().unwrap();
    let text = "#include <pthread.h>\n#include <stddef.h>\n\
        static void *body(void *p) { return p; }\n\
        int main(void) { pthread_t t; pthread_create(&t, NULL, body, NULL); return pthread_join(t, NULL); }";
    let path = program(directory.path(), text, &[]);
    let path = path.to_str().unwrap();
    let told = say(&["doctor", path]);
    assert_eq!(told.status, Some(0), "{told:?}");
    let sites: usize = ["/libc.so.6", "/ld-linux-x86-64.so.2"]
        .iter()
        .map(|object| sites(&told, object))
        .sum();
    assert_eq!(told.out.matches(" sites").count(), 2, "{told:?}");
    let events = say(&["run", "--events", "gevent::patch=info", "--", path]);
    // "… patched N sites in 3 objects, …"
    let line = events
        .err
        .lines()
        .find(|line| line.contains("objects, 0 refused"));
    let line = line.unwrap_or_else(|| panic!("{events:?}"));
    assert!(
        line.contains(&format!(" patched {sites} sites in ")),
        "{sites}: {line}"
    );
}

#[test]
fn what_no_library_can_be_loaded_beside() {
    let directory = tempfile::tempdir().unwrap();
    let fixed = program(directory.path(), MAIN, &["-static"]);
    impossible(&fixed, "is statically linked");

    let dynamic = directory.path().join("dynamic");
    std::fs::copy("/bin/true", &dynamic).unwrap();
    let with = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = std::fs::read(&dynamic).unwrap();
        change(&mut bytes);
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        path
    };
    impossible(&with("arm", &|bytes| bytes[18] = 0xb7), "another processor");
    impossible(&with("small", &|bytes| bytes[4] = 1), "32-bit");
    impossible(&with("short", &|bytes| bytes.truncate(70)), "damaged");
    impossible(
        &with("text", &|bytes| *bytes = b"words\n".to_vec()),
        "neither an ELF",
    );
    impossible(&with("empty", &|bytes| bytes.clear()), "neither an ELF");
    impossible(
        &with("musl", &|bytes| {
            let name = b"/lib64/ld-linux-x86-64.so.2\0";
            let at = bytes
                .windows(name.len())
                .position(|window| window == name)
                .unwrap();
            bytes[at..at + name.len()].fill(0);
            bytes[at..at + 15].copy_from_slice(b"/lib/ld-musl.so");
        }),
        "/lib/ld-musl.so",
    );

    let go = directory.path().join("go");
    let made = Command::new("objcopy")
        .args(["--add-section", ".go.buildinfo=/etc/hostname"])
        .args([&dynamic, &go])
        .status()
        .unwrap();
    assert!(made.success());
    impossible(&go, "is a Go program");
}

#[test]
fn privileged_programs_are_out_of_reach() {
    let su = Path::new("/bin/su");
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("copy");
    std::fs::copy("/bin/true", &copy).unwrap();
    // Root's own set-user-ID programs are not privileged for root.
    if std::os::unix::fs::chown(&copy, Some(65534), None).is_ok() {
        std::fs::set_permissions(&copy, PermissionsExt::from_mode(0o4755)).unwrap();
        impossible(&copy, "is set-user-ID");
    } else {
        impossible(su, "is set-user-ID");
    }
}

#[test]
fn a_script_is_its_interpreters_affair() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("script");
    std::fs::write(&script, "#!/usr/bin/env -S sh -e\n").unwrap();
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    let said = say(&["doctor", script.to_str().unwrap()]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(
        said.out.contains("is a script, run by ") && said.out.contains("/sh, dynamically linked"),
        "{said:?}"
    );

    std::fs::write(&script, format!("#!{}\n", script.display())).unwrap();
    impossible(&script, "too many scripts");
}

#[test]
fn what_isnt_there_is_one_line() {
    refused(
        &say(&["doctor", "/nonexistent"]),
        1,
        &["/nonexistent", "No such file"],
    );
    refused(
        &say(&["doctor", "nosuch-program"]),
        1,
        &["nosuch-program", "PATH"],
    );
    refused(&say(&["doctor", "/"]), 1, &["not a file"]);
    let said = say(&["doctor", "--library", "/nonexistent.so"]);
    assert_eq!(said.status, Some(1), "{said:?}");
    assert!(
        said.out
            .contains("library   PROBLEM: no library at /nonexistent.so"),
        "{said:?}"
    );
}

#[test]
fn wrong_settings_are_told_too() {
    let said = said(command(&["doctor"]).env("GEVENT_SHIM_LOOP", "kqueue"));
    assert_eq!(said.status, Some(1), "{said:?}");
    assert!(
        said.out
            .contains("setting   PROBLEM: GEVENT_SHIM_LOOP=\"kqueue\""),
        "{said:?}"
    );
}
