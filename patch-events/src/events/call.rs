//! The calls for which a thread waited.

use std::time::Duration;

use crate::declare::events;

events! {
    /// A call returned for which its thread was off the processor: others ran meanwhile.
    CALL TRACE Called<'a> {
        /// The thread's id.
        tid: i32,
        /// The call's name.
        call: &'a str,
        /// The descriptor it is about.
        fd: Option<i32>,
        /// The address or host it is about.
        address: Option<&'a str>,
        /// What it returned; a negated errno if it failed.
        ret: i64,
        /// How long its thread was off the processor. The structured field is in
        /// microseconds.
        waited: Duration,
    } => "guest {tid} waited {waited:.1?} in {call}{subject} = {ret}",
        subject = Subject(*fd, *address);

    /// A thread has been off the processor in a call for a second, or was when the program ended.
    /// `Called` follows if the call returns.
    CALL TRACE Waiting<'a> {
        /// The thread's id.
        tid: i32,
        /// The call's name.
        call: &'a str,
        /// The descriptor it is about.
        fd: Option<i32>,
        /// The address it is about.
        address: Option<&'a str>,
        /// How long its thread has been off the processor. The structured field is in
        /// microseconds.
        waited: Duration,
    } => "guest {tid} has been waiting for {waited:.1?} in {call}{subject}",
        subject = Subject(*fd, *address);
}

/// What a call is about, in brackets.
struct Subject<'a>(Option<i32>, Option<&'a str>);

impl std::fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.0, self.1) {
            (Some(fd), Some(address)) => write!(f, "({fd}, {address})"),
            (Some(fd), None) => write!(f, "({fd})"),
            (None, Some(address)) => write!(f, "({address})"),
            (None, None) => f.write_str("()"),
        }
    }
}
