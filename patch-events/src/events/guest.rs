//! Events of guests: the program's threads as coroutines.

use std::fmt;
use std::time::Duration;

use crate::declare::events;

/// Bytes of a stack; 0 is shown as unknown.
struct StackSize(usize);

impl fmt::Display for StackSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("unknown size"),
            bytes => write!(f, "{bytes} bytes"),
        }
    }
}

events! {
    /// A thread of the program began as a guest.
    GUEST DEBUG GuestStarted {
        /// Its thread id, as the program sees it.
        tid: i32,
        /// The thread that made it.
        creator: i32,
        /// Bytes of its stack; 0 when the call that made it did not say.
        stack: usize,
    } => "guest {tid} started by {creator} on a stack of {size}", size = StackSize(*stack);

    /// Where a guest was made.
    GUEST TRACE GuestMadeAt<'a> {
        /// Its thread id.
        tid: i32,
        /// The creator's calls: the innermost function first.
        backtrace: &'a str,
    } => "guest {tid} was made at {backtrace}";

    /// A name or an address was looked up.
    GUEST DEBUG LookedUp<'a> {
        /// The thread id of the guest, as the program sees it.
        tid: i32,
        /// The function of libc that was called.
        call: &'a str,
        /// What was looked up.
        subject: &'a str,
        /// From the call to its return. The structured field is in microseconds.
        duration: Duration,
    } => "guest {tid} looked {subject} up with {call} in {duration:.1?}";

    /// A guest ended.
    GUEST DEBUG GuestEnded {
        /// Its thread id, as the program saw it.
        tid: i32,
        /// How long it lived. The structured field is in microseconds.
        lived: Duration,
    } => "guest {tid} ended after {lived:.1?}";
}
