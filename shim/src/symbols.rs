//! Names of libc that are interposed, because the system calls below them have
//! lost what the name says.
//!
//! `pthread_setname_np` and `pthread_getname_np` reach another thread through
//! `/proc/self/task`, where the kernel has no entry for a guest.
#![allow(unsafe_code)]

use core::ffi::{CStr, c_char, c_int};
use core::mem::transmute;
use std::sync::OnceLock;

use gevent_runtime::dispatch::guest_of;

/// Longest name, with its terminator (TASK_COMM_LEN).
const NAME: usize = 16;

type SetName = unsafe extern "C" fn(libc::pthread_t, *const c_char) -> c_int;
type GetName = unsafe extern "C" fn(libc::pthread_t, *mut c_char, usize) -> c_int;

/// libc's own functions behind the names.
struct Real {
    set_name: Option<SetName>,
    get_name: Option<GetName>,
}

static REAL: OnceLock<Real> = OnceLock::new();

fn real() -> &'static Real {
    REAL.get_or_init(|| {
        let next = |name: &CStr| {
            // SAFETY: a look-up by name in the objects after ours.
            unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) }
        };
        // SAFETY: null or libc's functions of these types (pthread_setname_np(3)).
        unsafe {
            Real {
                set_name: transmute::<*mut libc::c_void, Option<SetName>>(next(
                    c"pthread_setname_np",
                )),
                get_name: transmute::<*mut libc::c_void, Option<GetName>>(next(
                    c"pthread_getname_np",
                )),
            }
        }
    })
}

/// Looks libc's functions up, while that may still take locks and memory.
pub fn init() {
    real();
}

/// pthread_setname_np(3).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pthread_setname_np(thread: libc::pthread_t, name: *const c_char) -> c_int {
    // SAFETY: the caller's thread and string.
    unsafe {
        let Some(guest) = guest_of(thread) else {
            return real()
                .set_name
                .map_or(libc::ENOSYS, |set| set(thread, name));
        };
        let name = CStr::from_ptr(name).to_bytes();
        if name.len() >= NAME {
            return libc::ERANGE;
        }
        let mut bytes = [0; NAME];
        bytes[..name.len()].copy_from_slice(name);
        guest.name.set(bytes);
        0
    }
}

/// pthread_getname_np(3).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pthread_getname_np(
    thread: libc::pthread_t,
    name: *mut c_char,
    size: usize,
) -> c_int {
    // SAFETY: the caller's thread and buffer.
    unsafe {
        let Some(guest) = guest_of(thread) else {
            return real()
                .get_name
                .map_or(libc::ENOSYS, |get| get(thread, name, size));
        };
        if size < NAME {
            return libc::ERANGE;
        }
        let bytes = guest.name.get();
        name.cast::<u8>()
            .copy_from_nonoverlapping(bytes.as_ptr(), NAME);
        0
    }
}
