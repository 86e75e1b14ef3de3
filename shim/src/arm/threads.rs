//! The kernel threads of this process.

use std::path::Path;

use gevent_runtime::libc_threads;
use gevent_runtime::sandbox::{inherited, unseen};

use crate::maps;

/// Number of kernel threads of this process, if the kernel tells.
pub fn threads() -> Option<usize> {
    of_status(&maps::read_file(Path::new("/proc/self/status")).ok()?)
}

fn of_status(status: &[u8]) -> Option<usize> {
    let line = status
        .split(|&b| b == b'\n')
        .find_map(|l| l.strip_prefix(b"Threads:"))?;
    std::str::from_utf8(line).ok()?.trim().parse().ok()
}

/// Whether there are other kernel threads in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Others {
    None,
    /// As many as that are there altogether, if it is known.
    Some(Option<usize>),
    Unknown,
}

impl From<Option<usize>> for Others {
    fn from(threads: Option<usize>) -> Self {
        match threads {
            Some(1) => Others::None,
            Some(threads) => Others::Some(Some(threads)),
            None => Others::Unknown,
        }
    }
}

/// When the library is loaded: no call is made that a filter might kill for, so without `/proc` it
/// is libc that knows.
pub(super) fn others_at_load() -> Others {
    if let Ok(status) = maps::read_file(Path::new("/proc/self/status"))
        && let threads @ Some(_) = of_status(&status)
    {
        inherited::note_at_load(&status);
        return threads.into();
    }
    match libc_threads::has_made_one() {
        false => Others::None,
        true => Others::Some(None),
    }
}

/// When the program makes its first thread.
pub(super) fn others() -> Others {
    match threads() {
        None => match unseen::is_alone() {
            Some(true) => Others::None,
            Some(false) => Others::Some(None),
            None => Others::Unknown,
        },
        threads => threads.into(),
    }
}

/// Names of the kernel threads of this process, as a list, without that of one.
pub(super) fn thread_names(but: Option<&str>) -> String {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else {
        return String::from("their names can't be read");
    };
    let other = |task: &std::fs::DirEntry| but.is_none_or(|but| task.file_name() != but);
    let name = |task: std::fs::DirEntry| maps::read_file(&task.path().join("comm")).ok();
    let names: Vec<_> = tasks
        .flatten()
        .filter(other)
        .filter_map(name)
        .map(|name| String::from_utf8_lossy(&name).trim_end().to_owned())
        .collect();
    names.join(", ")
}
