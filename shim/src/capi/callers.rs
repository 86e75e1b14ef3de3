//! Who calls a function of the interface, and how that is told: C has no `track_caller`.

use std::ffi::{CStr, c_int, c_void};
use std::fmt::Write;
use std::mem::MaybeUninit;
use std::path::Path;

use gevent_runtime::api::{AnyGreenlet, Callers};

/// How many are kept: as many as gevent keeps.
const DEPTH: usize = 10;

/// [`callers`] and the function that asks.
const OWN: usize = 2;

/// _URC_NO_REASON: go on.
const GO_ON: c_int = 0;
/// _URC_END_OF_STACK.
const ENOUGH: c_int = 5;

unsafe extern "C" {
    /// Calls `look` for each frame, the innermost first: libgcc_s's, as libc's backtrace(3)
    /// does.
    fn _Unwind_Backtrace(
        look: unsafe extern "C" fn(*mut c_void, *mut c_void) -> c_int,
        argument: *mut c_void,
    ) -> c_int;
    /// Where a frame goes on.
    fn _Unwind_GetIP(context: *mut c_void) -> usize;
}

struct Seen {
    frames: usize,
    addresses: [usize; DEPTH],
}

unsafe extern "C" fn look(context: *mut c_void, seen: *mut c_void) -> c_int {
    // SAFETY: what `callers` passed.
    let seen = unsafe { &mut *seen.cast::<Seen>() };
    if let Some(index) = seen.frames.checked_sub(OWN) {
        // SAFETY: the frame that is being shown.
        seen.addresses[index] = unsafe { _Unwind_GetIP(context) };
    }
    seen.frames += 1;
    if seen.frames < OWN + DEPTH {
        GO_ON
    } else {
        ENOUGH
    }
}

/// Return addresses in the callers of the function that calls this, which must be one that
/// C calls: no closure of it.
#[inline(never)]
pub(super) fn callers() -> Callers {
    let mut seen = Seen {
        frames: 0,
        addresses: [0; DEPTH],
    };
    // SAFETY: it gets what it takes.
    unsafe { _Unwind_Backtrace(look, (&raw mut seen).cast()) };
    let found = seen.frames.saturating_sub(OWN);
    let own = &seen.addresses[..found];
    // The outermost frame of a thread returns to nowhere.
    own.strip_suffix(&[0]).unwrap_or(own).into()
}

/// Where a greenlet was spawned, in lines.
pub(super) fn describe(greenlet: &AnyGreenlet) -> String {
    let mut text = String::new();
    for &address in greenlet.callers() {
        line(&mut text, address);
    }
    if text.is_empty() {
        text = format!("{}\n", greenlet.spawning_stack());
    }
    text
}

/// Adds the line of one return address, as of backtrace_symbols(3).
fn line(text: &mut String, address: usize) {
    let mut info = MaybeUninit::<libc::Dl_info>::uninit();
    // The call lies before the address that it returns to.
    let call = (address - 1) as *const c_void;
    // SAFETY: dladdr takes any address, and fills the place if it returns another number.
    let info = unsafe { (libc::dladdr(call, info.as_mut_ptr()) != 0).then(|| info.assume_init()) };
    let Some(info) = info.filter(|info| !info.dli_fname.is_null()) else {
        let _ = writeln!(text, "[{address:#x}]");
        return;
    };
    // SAFETY: strings of an object that is loaded.
    let name = |name| unsafe { CStr::from_ptr(name) }.to_string_lossy();
    let object = name(info.dli_fname).into_owned();
    let object = Path::new(&object).display();
    let (function, from) = if info.dli_sname.is_null() {
        (String::new(), info.dli_fbase)
    } else {
        (name(info.dli_sname).into_owned(), info.dli_saddr)
    };
    let offset = address - from.addr();
    // A String takes everything.
    let _ = writeln!(text, "{object}({function}+{offset:#x})");
}
