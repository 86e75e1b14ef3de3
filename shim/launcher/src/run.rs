//! Becoming a program with the library in it.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use gevent_runtime::config;
use gevent_runtime::executable::Why;
use gevent_runtime::group::Group;
use gevent_shim::arm::{self, Means};

use crate::doctor::NO_CATCHING;
use crate::doctor::program::{self, Obstacle};
use crate::{Ending, Failure, library};

/// Exit statuses of env(1), nohup(1) and their like.
const FAILED: i32 = 125;
const NOT_EXECUTABLE: i32 = 126;
const NOT_FOUND: i32 = 127;

const PRELOAD: &str = "LD_PRELOAD";

/// What is to be run, and how.
#[derive(Debug, Default)]
pub struct Wish {
    /// The library, if named.
    pub library: Option<OsString>,
    /// The groups to patch, if not all.
    pub only: Option<Vec<String>>,
    /// The groups to leave out.
    pub without: Vec<Group>,
    /// Variables by name.
    pub settings: Vec<(&'static str, OsString)>,
    /// The program and its arguments; not empty.
    pub command: Vec<OsString>,
}

/// Becomes the program; returns only if that fails.
///
/// # Errors
/// A line, with the exit status that env(1) would give.
pub fn run(wish: &Wish) -> Ending {
    let library =
        library::find(wish.library.as_ref()).map_err(|line| Failure::with_status(line, FAILED))?;
    let mut environment = environment(wish, &library, std::env::vars_os());
    let (config, errors) = config::check(&environment);
    if let Some(error) = errors.first() {
        return Err(Failure::with_status(error, FAILED));
    }
    let program = &wish.command[0];
    if let Some(obstacle) = program::obstacle(program).filter(|_| !config.disable) {
        warn(program, &obstacle);
        if is_refused_aloud(&obstacle) {
            match std::env::var_os(PRELOAD) {
                Some(inherited) => environment.insert(PRELOAD.into(), inherited),
                None => environment.remove(OsStr::new(PRELOAD)),
            };
        }
    } else if !config.disable && program::locate(program).is_ok() {
        warn_if_not_patched(program);
    }
    let words: Result<Vec<CString>, _> = wish
        .command
        .iter()
        .map(|word| CString::new(word.as_bytes()))
        .collect();
    let pairs: Result<Vec<CString>, _> = environment
        .iter()
        .map(|(name, value)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()))
        .collect();
    let (Ok(words), Ok(pairs)) = (words, pairs) else {
        // The kernel gave both as C strings.
        return Err(Failure::with_status("a word with a NUL byte", FAILED));
    };
    let error = exec(&words, &pairs);
    let status = match error.kind() {
        std::io::ErrorKind::NotFound => NOT_FOUND,
        _ => NOT_EXECUTABLE,
    };
    let program = program.as_bytes().escape_ascii();
    Err(Failure::with_status(
        format_args!("cannot run {program}: {error}"),
        status,
    ))
}

/// Says on standard error that the library can't serve the program, and why. What can't be
/// found or read, exec says better.
fn warn(program: &OsStr, obstacle: &Obstacle) {
    let program = program.as_bytes().escape_ascii();
    let children = if is_refused_aloud(obstacle) {
        "; what it starts does so, too"
    } else {
        ""
    };
    // Nobody is left to tell if that fails.
    let _ = writeln!(
        std::io::stderr(),
        "gevent-shim: {program} runs as it is: it {}{children}",
        obstacle.words
    );
}

/// Whether the program has a dynamic linker that would say on standard error that it can't load
/// the library.
fn is_refused_aloud(obstacle: &Obstacle) -> bool {
    matches!(obstacle.kind, Some(Why::OtherClass | Why::Foreign))
}

/// Says on standard error if the program can't be patched under the restrictions of this
/// process, which it inherits.
fn warn_if_not_patched(program: &OsStr) {
    let program = program.as_bytes().escape_ascii();
    let line = match arm::means() {
        Means::Patched => return,
        Means::Caught(why) => {
            format!("its calls are caught by Syscall User Dispatch, which is slower: {why}")
        }
        Means::None(why) => {
            format!("it runs as without the library: {why}; {NO_CATCHING}")
        }
    };
    // Nobody is left to tell if that fails.
    let _ = writeln!(std::io::stderr(), "gevent-shim: {program}: {line}");
}

/// The environment of the program.
fn environment(
    wish: &Wish,
    library: &Path,
    inherited: impl IntoIterator<Item = (OsString, OsString)>,
) -> BTreeMap<OsString, OsString> {
    let mut environment: BTreeMap<_, _> = inherited.into_iter().collect();
    if wish.only.is_some() || !wish.without.is_empty() {
        let mut items = match &wish.only {
            // Without guests there is nothing to make cooperative.
            Some(only) => [&[Group::Thread.name().to_owned()], &only[..]].concat(),
            None => vec!["all".to_owned()],
        };
        items.extend(
            wish.without
                .iter()
                .map(|group| format!("-{}", group.name())),
        );
        environment.insert(config::settings::PATCH.into(), items.join(",").into());
    }
    for (name, value) in &wish.settings {
        environment.insert(name.into(), value.clone());
    }
    let preload = environment.entry(PRELOAD.into()).or_default();
    *preload = preloaded(preload, library.as_os_str());
    environment
}

/// The list with the library behind what is in it: some, such as those of
/// sanitizers, must be the first.
fn preloaded(list: &OsStr, library: &OsStr) -> OsString {
    let is_there = list
        .as_bytes()
        .split(|byte| b" :".contains(byte))
        .any(|item| item == library.as_bytes());
    if is_there {
        return list.to_owned();
    }
    let separator: &[u8] = if list.is_empty() { b"" } else { b":" };
    OsString::from_vec([list.as_bytes(), separator, library.as_bytes()].concat())
}

/// execvpe(3). std's `exec` would also change how SIGPIPE is handled.
fn exec(words: &[CString], environment: &[CString]) -> std::io::Error {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        let strings = strings.iter().map(|string| string.as_ptr());
        strings.chain([std::ptr::null()]).collect()
    };
    let (arguments, environment) = (pointers(words), pointers(environment));
    // SAFETY: both lists hold C strings that live on, and end with a null pointer.
    unsafe { libc::execvpe(arguments[0], arguments.as_ptr(), environment.as_ptr()) };
    std::io::Error::last_os_error()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(only: Option<&[&str]>, without: &[Group]) -> Option<OsString> {
        let wish = Wish {
            only: only.map(|only| only.iter().map(|&group| group.to_owned()).collect()),
            without: without.to_vec(),
            ..Wish::default()
        };
        let environment = environment(&wish, Path::new("/l.so"), []);
        environment.get(OsStr::new("GEVENT_SHIM_PATCH")).cloned()
    }

    #[test]
    fn groups_are_a_list() {
        assert_eq!(patch(None, &[]), None);
        assert_eq!(patch(None, &[Group::Dns]).unwrap(), "all,-dns");
        assert_eq!(
            patch(Some(&["socket", "time"]), &[]).unwrap(),
            "thread,socket,time"
        );
        assert_eq!(
            patch(Some(&["socket"]), &[Group::Thread]).unwrap(),
            "thread,socket,-thread"
        );
    }

    #[test]
    fn what_is_preloaded_stays() {
        let preloaded = |list: &str| preloaded(OsStr::new(list), OsStr::new("/l.so"));
        assert_eq!(preloaded(""), "/l.so");
        assert_eq!(preloaded("/a.so /b.so"), "/a.so /b.so:/l.so");
        assert_eq!(preloaded("/l.so:/b.so"), "/l.so:/b.so");
        assert_eq!(preloaded("/my/l.so"), "/my/l.so:/l.so");
    }

    #[test]
    fn an_option_wins_over_the_environment() {
        let wish = Wish {
            settings: vec![("GEVENT_SHIM_LOOP", "epoll".into())],
            ..Wish::default()
        };
        let inherited = [("GEVENT_SHIM_LOOP", "auto"), ("HOME", "/h")];
        let environment = environment(
            &wish,
            Path::new("/l.so"),
            inherited.map(|(name, value)| (name.into(), value.into())),
        );
        assert_eq!(environment[OsStr::new("GEVENT_SHIM_LOOP")], "epoll");
        assert_eq!(environment[OsStr::new("HOME")], "/h");
    }
}
