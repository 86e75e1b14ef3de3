//! How many threads the program may have: as many as it is allowed for itself.
//!
//! Guests are no threads of the kernel's, so nothing there counts them. A program that makes
//! threads until `EAGAIN` would use up the machine's memory instead. How many threads and ids the
//! whole machine has (`threads-max`, `pid_max`) says nothing about guests.
//!
//! # Synchronization
//! The numbers are written where a hub starts, and RLIMIT_NPROC's where the program sets it. Guests
//! that make one more read them. What another process sets (prlimit(1)) counts from the next start
//! on.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::ffi::CString;

use crate::arch::syscall0;
use crate::config;
use crate::hub::Hub;
use crate::mounts;
use crate::ops::sched::{SYS_ADMIN, SYS_RESOURCE, capable, limit};

/// What the setting or the control groups allow.
static MOST: AtomicUsize = AtomicUsize::new(usize::MAX);

/// RLIMIT_NPROC: it is not asked for with each thread.
static PROCESSES: AtomicU64 = AtomicU64::new(u64::MAX);

/// RLIMIT_NPROC may have changed.
pub fn look() {
    // Who can't be told is limited by nothing.
    let most = limit(libc::RLIMIT_NPROC).unwrap_or(u64::MAX);
    PROCESSES.store(most, Ordering::Relaxed);
}

/// A hub starts: looks at what does not change often. It allocates.
pub fn begin() {
    look();
    let most = config::get().max_threads.unwrap_or_else(|| {
        let number = |path: &str| read(path)?.trim().parse().ok();
        let groups = read("/proc/self/cgroup").unwrap_or_default();
        let most = directories(&groups).filter_map(|directory| {
            let most: usize = number(&format!("{directory}/pids.max"))?;
            let there: usize = number(&format!("{directory}/pids.current"))?;
            // This process counts as one of those that are there.
            Some(most.saturating_sub(there.saturating_sub(1)).max(1))
        });
        most.min().unwrap_or(usize::MAX)
    });
    MOST.store(most, Ordering::Relaxed);
}

fn read(path: &str) -> Option<String> {
    let path = CString::new(path).ok()?;
    String::from_utf8(mounts::contents(&path)?).ok()
}

/// The directories of the control groups that count threads, of the process's own groups and all
/// those above: `groups` is `/proc/self/cgroup` (cgroups(7)).
fn directories(groups: &str) -> impl Iterator<Item = String> {
    groups.lines().flat_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            return Vec::new();
        };
        let root = match controllers {
            "" => "/sys/fs/cgroup",
            _ if controllers.split(',').any(|name| name == "pids") => "/sys/fs/cgroup/pids",
            _ => return Vec::new(),
        };
        let path = path.trim_end_matches('/');
        let ends = path.match_indices('/').map(|(at, _)| at);
        ends.chain([path.len()])
            .map(|end| format!("{root}{}", &path[..end]))
            .collect()
    })
}

/// Whether the kernel would make no thread more for the program. RLIMIT_NPROC counts this
/// process's threads alone here: those of the user's other processes are not known.
pub fn is_reached(hub: &Hub) -> bool {
    let count = hub.count();
    if count >= MOST.load(Ordering::Relaxed) {
        return true;
    }
    if config::get().max_threads.is_some() || (count as u64) < PROCESSES.load(Ordering::Relaxed) {
        return false;
    }
    // SAFETY: no arguments.
    let user = unsafe { syscall0(libc::SYS_getuid) };
    user != 0 && !capable(SYS_RESOURCE) && !capable(SYS_ADMIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_that_count_threads_and_those_above_them() {
        let groups = "8:cpu,pids:/a/b\n4:memory:/c\n0::/d\n";
        let found: Vec<_> = directories(groups).collect();
        let expected = [
            "/sys/fs/cgroup/pids",
            "/sys/fs/cgroup/pids/a",
            "/sys/fs/cgroup/pids/a/b",
            "/sys/fs/cgroup",
            "/sys/fs/cgroup/d",
        ];
        assert_eq!(found, expected);
        assert_eq!(
            directories("0::/\n").collect::<Vec<_>>(),
            ["/sys/fs/cgroup"]
        );
        assert_eq!(directories("nonsense\n\n").count(), 0);
    }
}
