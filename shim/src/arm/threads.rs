//! The kernel threads of this process.

use std::path::Path;

use gevent_runtime::sandbox::inherited;

use crate::maps;

/// Number of kernel threads of this process. The first call is the one at load.
pub fn threads() -> Option<usize> {
    let status = maps::read_file(Path::new("/proc/self/status")).ok()?;
    inherited::note_at_load(&status);
    let line = status
        .split(|&b| b == b'\n')
        .find_map(|l| l.strip_prefix(b"Threads:"))?;
    std::str::from_utf8(line).ok()?.trim().parse().ok()
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
