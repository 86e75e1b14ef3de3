//! `gevent-shim run`: the program is what it would be without, but cooperative.

use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;

use gevent_tests::library;

use crate::support::{Said, command, launcher, program, refused, said, say};

/// Prints whether a thread is a guest, then how SIGPIPE is handled, the open
/// descriptors and the arguments; exits with 7.
const PROGRAM: &str = r#"
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>
#include <sys/syscall.h>
static void *body(void *unused) {
    puts(syscall(SYS_gettid) >= 1 << 22 ? "guest" : "kernel thread");
    return unused;
}
int main(int argc, char **argv) {
    struct sigaction action;
    sigaction(SIGPIPE, NULL, &action);
    printf("%s", action.sa_handler == SIG_IGN ? "ignored" : "default");
    for (int fd = 0; fd < 100; fd++)
        if (fcntl(fd, F_GETFD) >= 0) printf(" %d", fd);
    for (int i = 1; i < argc; i++) printf(" [%s]", argv[i]);
    puts("");
    fflush(stdout);
    pthread_t thread;
    pthread_create(&thread, NULL, body, NULL);
    pthread_join(thread, NULL);
    return 7;
}
"#;

/// What the program says without the library, but for the thread.
fn bare(script: &str) -> Said {
    let mut command = std::process::Command::new("timeout");
    let mut said = said(
        command
            .args(["30", "sh", "-c", script])
            .env_remove(library::VARIABLE),
    );
    said.out = said.out.replace("kernel thread", "guest");
    said
}

#[test]
fn the_program_is_itself_with_guests_for_threads() {
    let directory = tempfile::tempdir().unwrap();
    let path = program(directory.path(), PROGRAM, &[]);
    let path = path.to_str().unwrap();
    let bare = bare(&format!("exec {path} --help 'a b'"));
    assert!(bare.out.contains(" [--help] [a b]\nguest\n"), "{bare:?}");
    for words in [
        &["run", "--", path, "--help", "a b"][..],
        &["run", path, "--help", "a b"],
    ] {
        assert_eq!(say(words), bare);
    }
}

#[test]
fn what_the_caller_set_up_is_inherited() {
    let directory = tempfile::tempdir().unwrap();
    let path = program(directory.path(), PROGRAM, &[]);
    let script = |before: &str| {
        let path = path.display();
        format!("trap '' PIPE; exec {before} {path} <&- 2>&- 5</dev/null")
    };
    let run = format!("{} run --", launcher().display());
    let bare = bare(&script(""));
    assert!(bare.out.starts_with("ignored 1 5"), "{bare:?}");
    let mut command = std::process::Command::new("timeout");
    command.args(["30", "sh", "-c", &script(&run)]);
    assert_eq!(said(command.env_remove(library::VARIABLE)), bare);
}

#[test]
fn what_the_library_cannot_reach_is_told_and_runs() {
    let directory = tempfile::tempdir().unwrap();
    let main = "int main(void) { return 5; }";
    let fixed = program(directory.path(), main, &["-static"]);
    let fixed = fixed.to_str().unwrap();
    let script = directory.path().join("script");
    std::fs::write(&script, format!("#!{fixed}\n")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&script, mode).unwrap();
    let script = script.to_str().unwrap();
    for path in [fixed, script] {
        let said = say(&["run", "--", path]);
        assert_eq!((said.status, &*said.out), (Some(5), ""), "{said:?}");
        let line = format!("gevent-shim: {path} runs as it is: it is statically linked: ");
        assert!(said.err.starts_with(&line), "{said:?}");
        assert_eq!(said.err.lines().count(), 1, "{said:?}");
        let said = said_when_disabled(path);
        assert_eq!((said.status, &*said.err), (Some(5), ""), "{said:?}");
    }
}

fn said_when_disabled(path: &str) -> crate::support::Said {
    said(command(&["run", "--", path]).env("GEVENT_SHIM_DISABLE", "1"))
}

#[test]
fn groups_can_be_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let path = program(directory.path(), PROGRAM, &[]);
    let path = path.to_str().unwrap();
    for (options, thread) in [
        (&["--no-dns", "--no-file"][..], "guest"),
        (&["--only", "socket,time"], "guest"),
        (&["--no-thread"], "kernel thread"),
    ] {
        let said = say(&[&["run"], options, &["--", path]].concat());
        assert_eq!(said.status, Some(7), "{said:?}");
        assert!(
            said.out.ends_with(&format!("\n{thread}\n")),
            "{options:?}: {said:?}"
        );
    }
    let said = say(&["run", "--only", "socket", "--no-time", "--", "env"]);
    assert!(
        said.out.contains("GEVENT_SHIM_PATCH=thread,socket,-time\n"),
        "{said:?}"
    );
}

#[test]
fn options_set_variables_and_preloaded_libraries_stay() {
    let library = library::find().unwrap();
    let mut with = command(&["run", "--preempt=5", "--loop", "epoll", "--", "env"]);
    // The dynamic linker passes over a library that isn't there, with a warning.
    let said = said(
        with.env("LD_PRELOAD", "/nonexistent/a.so")
            .env("GEVENT_SHIM_LOOP", "auto"),
    );
    assert_eq!(said.status, Some(0), "{said:?}");
    for line in [
        "GEVENT_SHIM_PREEMPT=5".to_owned(),
        "GEVENT_SHIM_LOOP=epoll".to_owned(),
        format!("LD_PRELOAD=/nonexistent/a.so:{}", library.display()),
    ] {
        assert!(
            said.out.lines().any(|other| other == line),
            "{line}: {said:?}"
        );
    }
}

#[test]
fn an_installed_library_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let [bin, lib] = ["bin", "lib/gevent-shim"].map(|name| directory.path().join(name));
    for path in [&bin, &lib] {
        std::fs::create_dir_all(path).unwrap();
    }
    std::fs::copy(launcher(), bin.join("gevent-shim")).unwrap();
    let run = || {
        let mut command = std::process::Command::new("timeout");
        command
            .arg("30")
            .arg(bin.join("gevent-shim"))
            .args(["run", "env"]);
        said(
            command
                .env_remove(library::VARIABLE)
                .env_remove("LD_PRELOAD"),
        )
    };
    refused(&run(), 125, &["no libgevent_shim.so in", "--library"]);
    let installed = lib.join("libgevent_shim.so");
    symlink(library::find().unwrap(), &installed).unwrap();
    assert!(run().out.contains(&format!(
        "LD_PRELOAD={}\n",
        library::find().unwrap().display()
    )));
}

#[test]
fn a_programs_death_is_its_own() {
    let status = command(&["run", "--", "sh", "-c", "kill -KILL $$"])
        .status()
        .unwrap();
    // timeout(1) dies of the signal too.
    assert!(
        status.signal() == Some(9) || status.code() == Some(137),
        "{status:?}"
    );
}

#[test]
fn what_cant_be_run_is_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let text = directory.path().join("text");
    std::fs::write(&text, "words").unwrap();
    let text = text.to_str().unwrap();
    let blank = directory.path().join("a b");
    std::fs::create_dir(&blank).unwrap();
    let spaced = blank.join("l.so");
    symlink("/etc/passwd", &spaced).unwrap();
    std::fs::copy("/etc/passwd", blank.join("copy.so")).unwrap();
    let copy = blank.join("copy.so");
    for (words, status, parts) in [
        (
            &["run", "nosuch-program"][..],
            127,
            &["nosuch-program", "No such file"][..],
        ),
        (&["run", text], 126, &["Permission denied"]),
        (
            &["run", "--loop", "kqueue", "env"],
            125,
            &["GEVENT_SHIM_LOOP=\"kqueue\": expected one of"],
        ),
        (
            &["run", "--events-file", "/tmp/e", "env"],
            125,
            &["GEVENT_SHIM_EVENTS_FILE", "no effect"],
        ),
        (
            &["run", "--library", "/nonexistent.so", "env"],
            125,
            &["/nonexistent.so"],
        ),
        (&["run", "--library", "/", "env"], 125, &["not a file"]),
        (
            &["run", "--library", copy.to_str().unwrap(), "env"],
            125,
            &["blank or a colon"],
        ),
    ] {
        refused(&say(words), status, parts);
    }
    let mut unknown = command(&["run", "env"]);
    refused(
        &said(unknown.env("GEVENT_SHIM_PACTH", "all")),
        125,
        &["the nearest is GEVENT_SHIM_PATCH"],
    );
}

#[test]
fn a_wrong_command_line_is_explained() {
    for (words, part) in [
        (&["run"][..], "<PROGRAM>"),
        (&["run", "--only", "sockets", "env"], "'socket'"),
        (&["run", "--lop", "epoll", "env"], "'--loop'"),
        (&["doctr"], "'doctor'"),
        (&[], "Usage:"),
    ] {
        let said = say(words);
        assert_eq!(said.status, Some(2), "{said:?}");
        assert!(
            said.err.contains(part) && said.out.is_empty(),
            "{part}: {said:?}"
        );
    }
}
