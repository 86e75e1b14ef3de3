//! Guests' calls that are made on other kernel threads because of filters.
#![allow(unsafe_code)]

use super::{is_on, lets_pass};
use crate::arch;
use crate::guest::Guest;
use crate::offload;

/// Makes a guest's call, or one that stands for it, where an operation needs what comes of it: on
/// a thread of the pool if the filters of others do not let it pass here.
///
/// # Safety
/// As the call itself. What it points to must stay, and be nobody else's, while others run.
pub unsafe fn make(guest: &'static Guest, nr: u64, a: [u64; 6]) -> i64 {
    if is_others(nr, &a) {
        offload::run(guest, nr as i64, a)
    } else {
        // SAFETY: the caller's contract.
        unsafe { arch::syscall(nr, a) }
    }
}

/// Whether a call of a guest must not be made on the hub.
pub fn is_others(nr: u64, a: &[u64; 6]) -> bool {
    is_on() && !lets_pass(nr, a)
}

/// Whether a kernel thread that is made for a call has the call carried out.
pub fn lets_thread_make(nr: u64, a: &[u64; 6]) -> bool {
    lets_pass(nr, a) && lets_help()
}

/// Whether the filters let pass what a thread does that is made for one call, beside that call.
pub(super) fn lets_help() -> bool {
    let word = [0; 6];
    let mut change = [libc::SIG_BLOCK as u64, 0, 0, 8, 0, 0];
    let blocks = lets_pass(libc::SYS_rt_sigprocmask as u64, &change);
    change[0] = libc::SIG_UNBLOCK as u64;
    let private = |how: i32| [0, (how | libc::FUTEX_PRIVATE_FLAG) as u64, 1, 0, 0, 0];
    blocks
        && lets_pass(libc::SYS_rt_sigprocmask as u64, &change)
        && [libc::FUTEX_WAIT, libc::FUTEX_WAKE]
            .into_iter()
            .all(|how| lets_pass(libc::SYS_futex as u64, &private(how)))
        && [libc::SYS_gettid, libc::SYS_write, libc::SYS_exit]
            .into_iter()
            .all(|nr| lets_pass(nr as u64, &word))
}
