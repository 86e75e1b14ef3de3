//! Which mounted file systems may keep a caller waiting without bound.
//!
//! A local file system answers in the time its disk takes. One behind a network, a
//! FUSE server or an automounter answers when somebody else does, so calls on it are
//! not made on the hub. Most processes see no such mount, and then nothing is asked
//! but whether that is still so: the list of mounts is read again when a call wants to
//! know and it is [`FRESH`] old. A mount made since then may stop the hub once.
//!
//! Without /proc there is no such list. Then a file on a block device is on a local file system,
//! as is one on that of the root directory, unless that is slow, which is asked once; any other
//! may be on a slow one, and calls on it are not made on the hub.
//!
//! # Synchronization
//! The hub's kernel thread alone.
#![allow(unsafe_code)]

use core::cell::Cell;
use core::ffi::CStr;
use core::mem::MaybeUninit;

use crate::arch::{syscall, syscall2, syscall3, syscall4};
use crate::guest::Guest;
use crate::private;
use crate::raw;

/// How long what was read holds, in nanoseconds.
const FRESH: u64 = 1_000_000_000;

/// Types that wait for others: networks, FUSE servers (their types begin with "fuse"),
/// automounters, host folders of virtual machines, clusters.
const SLOW: [&str; 17] = [
    "9p", "afs", "autofs", "beegfs", "ceph", "cifs", "coda", "gfs2", "gpfs", "lustre", "ncpfs",
    "nfs", "nfs4", "ocfs2", "smb3", "vboxsf", "virtiofs",
];

/// The numbers that statfs(2) has for them; virtiofs is FUSE.
const SLOW_NUMBERS: [u32; 17] = [
    0x0102_1997,
    0x5346_414f,
    0x0187,
    0x1983_0326,
    0x00c3_6400,
    0xff53_4d42,
    0x7375_7245,
    0x0116_1970,
    0x4750_4653,
    0x0bd0_0bd0,
    0x564c,
    0x6969,
    0x7461_636f,
    0xfe53_4d42,
    0x517b,
    0x786f_4256,
    0x6573_5546,
];

/// Slow mounts that are told apart; with more, every file is taken for one of theirs.
const MAX: usize = 64;

struct Mounts {
    ids: [Cell<u64>; MAX],
    count: Cell<usize>,
    /// CLOCK_MONOTONIC nanoseconds until which the list holds.
    until: Cell<u64>,
    /// There is no list.
    unknown: Cell<bool>,
    /// Then: the device of the root directory if that is not slow, or zero.
    root: Cell<u64>,
}

// SAFETY: see Synchronization.
unsafe impl Sync for Mounts {}

static MOUNTS: Mounts = Mounts {
    ids: [const { Cell::new(0) }; MAX],
    count: Cell::new(0),
    until: Cell::new(0),
    unknown: Cell::new(false),
    root: Cell::new(0),
};

/// Whether there is a slow mount at all.
pub fn any_slow(guest: &'static Guest) -> bool {
    let now = raw::now();
    if now >= MOUNTS.until.get() {
        guest.hub().call(guest, read);
        MOUNTS.until.set(now.saturating_add(FRESH));
    }
    MOUNTS.count.get() != 0 || MOUNTS.unknown.get()
}

/// What was read no longer holds: the program changed its mounts.
pub fn changed() {
    MOUNTS.until.set(0);
}

/// Host context.
fn read() {
    let Some(list) = contents(c"/proc/self/mountinfo").filter(|list| !list.is_empty()) else {
        if !MOUNTS.unknown.replace(true) {
            MOUNTS.root.set(fast_root().unwrap_or(0));
        }
        return;
    };
    MOUNTS.unknown.set(false);
    let list = String::from_utf8_lossy(&list);
    let mut count = 0;
    for id in slow_ids(&list) {
        if let Some(slot) = MOUNTS.ids.get(count) {
            slot.set(id);
        }
        count += 1;
    }
    MOUNTS.count.set(count);
}

/// The device of the root directory, if its file system keeps nobody waiting.
fn fast_root() -> Option<u64> {
    let mut about = MaybeUninit::<libc::statfs>::zeroed();
    let mut stat = MaybeUninit::<libc::stat>::zeroed();
    let root = c"/".as_ptr() as u64;
    // SAFETY: a path and buffers of ours, which the kernel fills.
    unsafe {
        let told = syscall2(libc::SYS_statfs, root, about.as_mut_ptr() as u64) == 0
            && syscall2(libc::SYS_stat, root, stat.as_mut_ptr() as u64) == 0;
        let number = about.assume_init().f_type as u32;
        (told && !SLOW_NUMBERS.contains(&number)).then(|| stat.assume_init().st_dev)
    }
}

/// What a file of the kernel's says; `None` if it cannot be opened. (std's functions for
/// files look symbols up, which takes the loader's lock.)
pub(crate) fn contents(path: &CStr) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    // SAFETY: a path of ours.
    let fd = private::open_briefly(|| unsafe {
        syscall2(
            libc::SYS_open,
            path.as_ptr() as u64,
            (libc::O_RDONLY | libc::O_CLOEXEC) as u64,
        )
    });
    if fd < 0 {
        return None;
    }
    loop {
        let have = bytes.len();
        bytes.resize(have + 4096, 0);
        let free = &mut bytes[have..];
        // SAFETY: a buffer of ours.
        let n = unsafe {
            syscall3(
                libc::SYS_read,
                fd as u64,
                free.as_mut_ptr() as u64,
                free.len() as u64,
            )
        };
        bytes.truncate(have + n.max(0) as usize);
        if n <= 0 {
            raw::close(fd as i32);
            return Some(bytes);
        }
    }
}

/// Ids of the slow mounts in a mountinfo (proc(5)): "id parent major:minor root point
/// options optional… - type source options".
fn slow_ids(mountinfo: &str) -> impl Iterator<Item = u64> {
    mountinfo.lines().filter_map(|line| {
        let id = line.split(' ').next()?.parse().ok()?;
        let kind = line.split_once(" - ")?.1.split(' ').next()?;
        is_slow_type(kind).then_some(id)
    })
}

fn is_slow_type(kind: &str) -> bool {
    let fuse = kind == "fuse" || kind == "fuseblk" || kind.starts_with("fuse.");
    fuse || SLOW.contains(&kind)
}

/// Whether a call on this path may wait for a slow file system, or cannot tell without
/// waiting. The path is the program's; a bad one is not slow.
pub fn is_slow_path(guest: &'static Guest, directory: i32, path: u64) -> bool {
    if !any_slow(guest) {
        return false;
    }
    /// linux/openat2.h.
    #[repr(C)]
    struct How {
        flags: u64,
        mode: u64,
        resolve: u64,
    }
    const RESOLVE_CACHED: u64 = 0x20;
    let how = How {
        flags: (libc::O_PATH | libc::O_CLOEXEC) as u64,
        mode: 0,
        resolve: RESOLVE_CACHED,
    };
    // SAFETY: the kernel checks the program's path; the rest is ours.
    let fd = private::open_briefly(|| unsafe {
        syscall4(
            libc::SYS_openat2,
            directory as u64,
            path,
            &raw const how as u64,
            size_of::<How>() as u64,
        )
    });
    if fd < 0 {
        // Of what does not exist, or is not in the cache, the file system is not known.
        return fd != raw::err(libc::EFAULT);
    }
    let slow = is_on_slow_mount(fd as i32);
    raw::close(fd as i32);
    slow
}

/// Whether a call on this descriptor may wait for a slow file system.
pub fn is_slow_file(guest: &'static Guest, fd: i32) -> bool {
    any_slow(guest) && is_on_slow_mount(fd)
}

fn is_on_slow_mount(fd: i32) -> bool {
    let mut stat = MaybeUninit::<libc::statx>::zeroed();
    /// STATX_TYPE, STATX_MODE and STATX_MNT_ID.
    const WANTED: u64 = 0x1003;
    // DONT_SYNC: what the kernel knows, without asking a server.
    // SAFETY: an empty path and a buffer of ours.
    let ret = unsafe {
        syscall(
            libc::SYS_statx as u64,
            [
                fd as u64,
                c"".as_ptr() as u64,
                (libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC) as u64,
                WANTED,
                stat.as_mut_ptr() as u64,
                0,
            ],
        )
    };
    if ret != 0 {
        return false;
    }
    // SAFETY: zero is a valid statx, which the kernel has filled.
    let stat = unsafe { stat.assume_init_ref() };
    if MOUNTS.unknown.get() {
        let of_files = [libc::S_IFREG, libc::S_IFDIR, libc::S_IFLNK];
        let device = libc::makedev(stat.stx_dev_major, stat.stx_dev_minor);
        return of_files.contains(&(u32::from(stat.stx_mode) & libc::S_IFMT))
            && stat.stx_dev_major == 0
            && device != MOUNTS.root.get();
    }
    let id = stat.stx_mnt_id;
    let count = MOUNTS.count.get();
    count > MAX || MOUNTS.ids[..count].iter().any(|slot| slot.get() == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_mounts_are_found_by_their_type() {
        let list = "\
22 27 0:20 / /sys rw,nosuid shared:7 - sysfs sysfs rw
24 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw
31 24 0:44 / /mnt/a\\040b rw - fuse.sshfs me@there:/ rw
32 22 0:45 / /sys/fs/fuse/connections rw - fusectl fusectl rw
33 24 0:46 / /home rw shared:9 master:2 - nfs4 there:/home rw
34 24 0:47 / /win rw - fuseblk /dev/sdb1 rw
bad line
";
        assert!(slow_ids(list).eq([31, 33, 34]));
        assert!(slow_ids("").next().is_none());
    }
}
