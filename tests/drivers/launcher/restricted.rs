//! Where no code can be made, or there is no /proc: what `run` and `doctor` say, and that programs run.

use std::path::{Path, PathBuf};

use crate::support::{Said, launcher, program, said};
use gevent_tests::mode;
use std::process::Command;

/// Becomes the program of its arguments with no new code allowed (PR_SET_MDWE); with `-n`
/// without Syscall User Dispatch too. Exit status 77 if the kernel has no such restriction.
const RESTRICTED: &str = r#"
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(int count, char **arguments)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_prctl, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 59, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { 6, filter };
	int none = count > 1 && strcmp(arguments[1], "-n") == 0;
	if (none && (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
		     prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0))
		return 99;
	if (prctl(65, 1, 0, 0, 0) != 0)
		return 77;
	execvp(arguments[1 + none], arguments + 1 + none);
	return 98;
}
"#;

const THREADS: &str = r#"
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
static int ends[2];
static void *reads(void *byte) { return (void *)(read(ends[0], byte, 1) != 1); }
int main(void)
{
	pthread_t thread;
	char byte;
	if (pipe(ends) != 0 || pthread_create(&thread, NULL, reads, &byte) != 0)
		return 1;
	usleep(1000);
	if (write(ends[1], "x", 1) != 1 || pthread_join(thread, NULL) != 0)
		return 2;
	return puts("read") < 0;
}
"#;

struct Restricted {
    directory: tempfile::TempDir,
    wrapper: PathBuf,
}

impl Restricted {
    /// `None` if the kernel is too old (Linux 6.3).
    fn new() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let wrapper = program(directory.path(), RESTRICTED, &[]);
        let named = directory.path().join("restricted");
        std::fs::rename(wrapper, &named).unwrap();
        let this = Restricted {
            directory,
            wrapper: named,
        };
        let status = this.say(&["/bin/true"]).status;
        if status == Some(77) {
            eprintln!("this kernel has no PR_SET_MDWE");
            return None;
        }
        assert_eq!(status, Some(0));
        Some(this)
    }

    fn threads(&self) -> PathBuf {
        program(self.directory.path(), THREADS, &["-pthread"])
    }

    fn say(&self, words: &[&str]) -> Said {
        let mut command = Command::new("timeout");
        command.args(["-k", "2", "30"]).arg(&self.wrapper);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("GEVENT_SHIM_") {
                command.env_remove(name);
            }
        }
        said(command.args(words).env_remove("LD_PRELOAD"))
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn without_proc_programs_are_cooperative_and_that_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let (launcher, program) = (
        launcher(),
        program(directory.path(), THREADS, &["-pthread"]),
    );
    let say = |words: &[&str]| {
        let mut command = Command::new("timeout");
        command.args(["-k", "2", "30", "unshare", "--mount", "sh", "-c"]);
        command.args(["umount -l /proc || exit 77; exec \"$@\"", "sh"]);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("GEVENT_SHIM_") {
                command.env_remove(name);
            }
        }
        said(command.args(words).env_remove("LD_PRELOAD"))
    };
    if say(&["/bin/true"]).status != Some(0) {
        eprintln!("WITHOUT /proc NOTHING IS TESTED: it cannot be unmounted");
        return;
    }
    let ran = say(&[
        text(&launcher),
        "run",
        "--events",
        "info",
        "--",
        text(&program),
    ]);
    assert_eq!(
        (ran.status, ran.out.as_str()),
        (Some(0), "read\n"),
        "{ran:?}"
    );
    assert!(ran.err.contains("the hub runs on kernel thread"), "{ran:?}");
    let looked = say(&[text(&launcher), "doctor"]);
    assert_eq!(looked.status, Some(0), "{looked:?}");
    let verdict = looked.out.lines().last().unwrap_or_default();
    assert_eq!(
        verdict, "verdict   programs can be made cooperative here",
        "{looked:?}"
    );
}

#[test]
fn a_program_whose_text_cannot_be_patched_is_caught_and_that_is_said() {
    let Some(restricted) = Restricted::new().filter(|_| mode::catching_available()) else {
        return;
    };
    let (launcher, program) = (launcher(), restricted.threads());
    let ran = restricted.say(&[text(&launcher), "run", "--", text(&program)]);
    assert_eq!(
        (ran.status, ran.out.as_str()),
        (Some(0), "read\n"),
        "{ran:?}"
    );
    assert_eq!(ran.err.lines().count(), 1, "{ran:?}");
    for part in [
        "gevent-shim: ",
        "Syscall User Dispatch",
        "slower",
        "Permission denied",
    ] {
        assert!(ran.err.contains(part), "{part}: {ran:?}");
    }
    let told = restricted.say(&[
        text(&launcher),
        "run",
        "--events",
        "info",
        "--",
        text(&program),
    ]);
    assert!(
        told.err.contains("the hub runs on kernel thread"),
        "{told:?}"
    );

    let looked = restricted.say(&[text(&launcher), "doctor", text(&program)]);
    assert_eq!(looked.status, Some(0), "{looked:?}");
    let verdict = looked.out.lines().last().unwrap_or_default();
    assert!(
        verdict.starts_with("verdict   cooperative, but slower"),
        "{looked:?}"
    );
    assert!(looked.out.contains("\npatching  none: "), "{looked:?}");
}

#[test]
fn without_catching_either_the_program_runs_as_it_is_and_that_is_said() {
    let Some(restricted) = Restricted::new() else {
        return;
    };
    let (launcher, program) = (launcher(), restricted.threads());
    let ran = restricted.say(&["-n", text(&launcher), "run", "--", text(&program)]);
    assert_eq!(
        (ran.status, ran.out.as_str()),
        (Some(0), "read\n"),
        "{ran:?}"
    );
    assert_eq!(ran.err.lines().count(), 1, "{ran:?}");
    for part in ["runs as without the library", "no Syscall User Dispatch"] {
        assert!(ran.err.contains(part), "{part}: {ran:?}");
    }
    let told = restricted.say(&[
        "-n",
        text(&launcher),
        "run",
        "--events",
        "info",
        "--",
        text(&program),
    ]);
    assert!(told.err.contains("nothing is patched"), "{told:?}");
    let looked = restricted.say(&["-n", text(&launcher), "doctor", text(&program)]);
    assert_eq!(looked.status, Some(1), "{looked:?}");
    let verdict = looked.out.lines().last().unwrap_or_default();
    assert_eq!(verdict, "verdict   it would run as without the library");
}
