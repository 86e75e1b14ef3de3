//! tgkill(2) to a guest of a process that this one descends from by fork.
//!
//! The kernel knows no such thread: guests' ids are beyond those it gives out. So the signal is
//! sent to the process, with a siginfo that says whom it is for, and the process's handler reads
//! it there. Only processes that had a hub when they forked are asked so: what the library in
//! them makes of it is known.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use super::Info;
use crate::arch::{syscall0, syscall2, syscall3};
use crate::guest::slab;

/// `si_code` of such a signal: the kernel lets processes send negative ones, but for its own.
const FOR_GUEST: i32 = -0x4753;
/// The upper half of its `si_value`; the lower is the thread's id.
const MARK: u64 = 0x6775_6573 << 32;

/// Processes that this one descends from, the nearest ones.
///
/// # Synchronization
/// Written in a forked child by its only thread.
static ANCESTORS: [AtomicI32; 8] = [const { AtomicI32::new(0) }; 8];
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// In a forked child of that process, which has guests.
pub fn forked_from(pid: i32) {
    let count = COUNT.load(Ordering::Relaxed);
    COUNT.store(count.wrapping_add(1), Ordering::Relaxed);
    ANCESTORS[count % ANCESTORS.len()].store(pid, Ordering::Relaxed);
}

/// Carries out tgkill(2) with these arguments, if it is for such a guest. With signal 0 it says
/// whether the process is there.
pub fn send(args: &[u64; 6]) -> Option<i64> {
    let [process, thread, signal, ..] = args.map(|arg| arg as i32);
    let is_ancestor = |ancestor: &AtomicI32| ancestor.load(Ordering::Relaxed) == process;
    if thread < slab::FIRST_TID || process <= 0 || !ANCESTORS.iter().any(is_ancestor) {
        return None;
    }
    let to = process as u64;
    if signal == 0 {
        // SAFETY: no pointers.
        return Some(unsafe { syscall2(libc::SYS_kill, to, 0) });
    }
    // SAFETY: no arguments.
    let (pid, uid) = unsafe { (syscall0(libc::SYS_getpid), syscall0(libc::SYS_getuid)) };
    let mut info = Info::of_sender(signal, FOR_GUEST, pid as i32, uid as u32);
    info.0[3] = MARK | u64::from(thread as u32);
    let at = &raw const info as u64;
    // SAFETY: a siginfo of ours, which the kernel copies.
    Some(unsafe { syscall3(libc::SYS_rt_sigqueueinfo, to, signal as u64, at) })
}

/// The guest that such a signal is for; the siginfo becomes that of tgkill(2).
pub(super) fn meant(info: &mut Info) -> Option<i32> {
    if info.code() != FOR_GUEST || info.0[3] & !0xffff_ffff != MARK {
        return None;
    }
    let thread = info.0[3] as i32;
    info.set_code(libc::SI_TKILL);
    info.0[3] = 0;
    Some(thread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_marked_signal_is_for_a_guest() {
        let mut info = Info::of_sender(10, FOR_GUEST, 7, 8);
        assert_eq!(meant(&mut info), None);
        info.0[3] = MARK | 4_194_310;
        assert_eq!(meant(&mut info), Some(4_194_310));
        assert_eq!(info, Info::of_sender(10, libc::SI_TKILL, 7, 8));
        assert_eq!(meant(&mut info), None);
    }

    #[test]
    fn a_stranger_is_left_to_the_kernel() {
        assert_eq!(send(&[1, 4_194_310, 0, 0, 0, 0]), None);
    }
}
