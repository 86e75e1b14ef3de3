//! Running one program with and without the library.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use gevent_tests::{compile, library, mode};

/// What the dynamic linker of another kind of program says of the library where it is told of
/// it.
const LINKERS_LINE: &str = "ERROR: ld.so: object ";

/// Starts its arguments as a program from a guest, by posix_spawn, and by fork and exec;
/// exits with the last status.
const STARTER: &str = r#"
#include <pthread.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
extern char **environ;
static void *start(void *argv)
{
	char **words = argv;
	int status = 0;
	pid_t child;
	if (!strcmp(getenv("HOW"), "spawn")) {
		if (posix_spawnp(&child, words[0], 0, 0, words, environ))
			exit(127);
	} else if ((child = fork()) == 0) {
		execvp(words[0], words);
		_exit(127);
	}
	waitpid(child, &status, 0);
	exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}
int main(int argc, char **argv)
{
	pthread_t thread;
	(void)argc;
	pthread_create(&thread, 0, start, argv + 1);
	pthread_join(thread, 0);
	return 0;
}
"#;

/// Where programs of these tests are built.
pub fn directory() -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kinds");
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

/// A program of C, built with these arguments besides.
pub fn c(name: &str, text: &str, arguments: &[&str]) -> PathBuf {
    try_c(name, text, arguments).unwrap()
}

/// The same; `Err` if the compiler can't.
pub fn try_c(name: &str, text: &str, arguments: &[&str]) -> std::io::Result<PathBuf> {
    let source = directory().join(name).with_extension("c");
    if std::fs::read_to_string(&source).ok().as_deref() != Some(text) {
        // Two tests may build the same program.
        let fresh = tempfile::NamedTempFile::new_in(directory())?;
        std::fs::write(&fresh, text)?;
        fresh.persist(&source).map_err(|error| error.error)?;
    }
    let output = directory().join(name);
    let arguments: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
    compile::build(&source, &arguments, &output)?;
    Ok(output)
}

/// Whether nothing may be left out.
pub fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|set| !set.is_empty())
}

/// Whether there is a program of that name; if not, that is told, and in CI a failure.
pub fn has(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|directory| directory.join(tool).is_file());
    if !found {
        assert!(!in_ci(), "no {tool} (see scripts/setup)");
        println!("NOT TESTED: no {tool} (see scripts/setup)");
    }
    found
}

/// `timeout` with these words, without any variable of the library.
pub fn bounded<W: AsRef<OsStr>>(words: &[W]) -> Command {
    let mut command = Command::new("timeout");
    command.args(["-s", "KILL", "60"]).args(words);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GEVENT_SHIM_") {
            command.env_remove(name);
        }
    }
    command.env_remove("LD_PRELOAD");
    command
}

/// `env` that sets what a preloaded program is given, and more.
pub fn preloaded(settings: &[(&str, &str)]) -> Vec<String> {
    let mut words = vec![
        "env".to_owned(),
        format!("LD_PRELOAD={}", library::find().unwrap().display()),
    ];
    if let Some(hubs) = mode::hubs() {
        words.push(format!("GEVENT_SHIM_HUBS={hubs}"));
    }
    let settings = settings.iter();
    words.extend(settings.map(|(name, value)| format!("{name}={value}")));
    words
}

/// What came out of a command.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    pub status: Option<i32>,
    pub out: String,
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Said {
            status: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

pub fn said(command: &mut Command) -> Said {
    command.output().unwrap().into()
}

/// The `gevent-shim` beside the library under test.
pub fn launcher() -> PathBuf {
    library::find().unwrap().with_file_name("gevent-shim")
}

/// The program says and ends preloaded, and as a child of what is preloaded, as it does without.
/// Returns that.
#[track_caller]
pub fn as_bare(words: &[&str]) -> Said {
    let bare = said(&mut bounded(words));
    let starter = c("starter", STARTER, &[]);
    let starter = starter.to_str().unwrap();
    let shell = ["sh", "-c", "\"$@\"; exit $?", "sh"];
    for (how, before) in [
        ("itself", &[][..]),
        ("in a shell", &shell),
        ("of a guest, by posix_spawn", &["HOW=spawn", starter]),
        ("of a guest, by fork", &["HOW=fork", starter]),
        (
            "of a guest of a shell",
            &[&shell[..], &["env", "HOW=fork", starter]].concat(),
        ),
    ] {
        let mut all = preloaded(&[]);
        all.extend(before.iter().chain(words).map(|&word| word.to_owned()));
        let mut said = said(&mut bounded(&all));
        if before.is_empty() {
            // Nothing of the library's is where it is started.
            let others = |line: &&str| !line.starts_with(LINKERS_LINE);
            said.err = said.err.split_inclusive('\n').filter(others).collect();
        }
        assert_eq!(said, bare, "{how}: {words:?}");
    }
    bare
}

/// By `gevent-shim run` it says and does the same, after one line that has this part, and
/// `doctor` says so, too.
#[track_caller]
pub fn told_by_the_launcher(words: &[&str], part: &str) {
    let launcher = launcher();
    let launcher = launcher.to_str().unwrap();
    let bare = said(&mut bounded(words));
    let mut run = said(&mut bounded(&[&[launcher, "run", "--"], words].concat()));
    let (line, rest) = run.err.split_once('\n').unwrap_or((&run.err, ""));
    assert!(
        line.starts_with("gevent-shim: ") && line.contains(part),
        "{part}: {run:?}"
    );
    run.err = rest.to_owned();
    assert_eq!(run, bare, "{words:?}");
    let doctor = said(&mut bounded(&[launcher, "doctor", words[0]]));
    assert_eq!(doctor.status, Some(1), "{doctor:?}");
    let problem = |line: &&str| line.contains("PROBLEM") && line.contains(part);
    assert_eq!(doctor.out.lines().filter(problem).count(), 1, "{doctor:?}");
    assert!(
        doctor
            .out
            .ends_with("it would run as without the library\n"),
        "{doctor:?}"
    );
}
