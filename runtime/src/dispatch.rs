//! From the number in `rax` to the operation that carries the call out.
#![allow(unsafe_code)]

use crate::arch;
use crate::frame::Frame;

/// Carries out the call in `frame` and leaves its result there.
///
/// # Safety
/// Called by `arch::entry` alone, on the stack of the thread that made the call.
pub unsafe extern "C" fn dispatch(frame: *mut Frame) {
    // SAFETY: entry built the frame on this stack and uses it only after we return.
    let frame = unsafe { &mut *frame };
    if matches!(
        frame.rax as i64,
        libc::SYS_clone | libc::SYS_clone3 | libc::SYS_vfork | libc::SYS_fork
    ) {
        frame.run_native();
        return;
    }
    // SAFETY: the call is the program's own, unchanged.
    frame.rax = unsafe { arch::syscall(frame.rax, frame.args()) } as u64;
}
