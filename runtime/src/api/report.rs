//! What is told about a greenlet that failed.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::greenlet::{End, Shared};

/// Reports a failed greenlet in one line on standard error, as gevent does; a value or a
/// [`GreenletExit`](super::GreenletExit) is none. The panic's own message and backtrace
/// come before it from the panic hook, if there was a panic.
pub(super) fn failure(greenlet: &Shared, end: &End) {
    if let End::Failed(exception) = end {
        say(&format!(
            "{greenlet:?} failed with {}\n",
            exception.message()
        ));
    }
}

/// Runs `f` for a greenlet that has ended; its panic is reported and ends here.
pub(super) fn guard(greenlet: &Shared, what: &str, f: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(f))
        && let End::Failed(exception) = End::of(payload)
    {
        say(&format!(
            "{what} of {greenlet:?} failed with {}\n",
            exception.message()
        ));
    }
}

/// Runs a callback of the hub; its panic is reported and ends here.
pub(super) fn guard_callback(f: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(f))
        && let End::Failed(exception) = End::of(payload)
    {
        say(&format!(
            "a callback of the hub failed with {}\n",
            exception.message()
        ));
    }
}

/// A report that can't be written has nobody else to go to.
fn say(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}
