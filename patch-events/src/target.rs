//! The tracing targets: what an event is about.

/// The prefix of every target.
pub const ROOT: &str = "gevent";
/// Finding, deciding and writing of sites and symbols.
pub const PATCH: &str = "gevent::patch";
/// The scheduler and its event loop.
pub const HUB: &str = "gevent::hub";
/// The program's threads as coroutines.
pub const GUEST: &str = "gevent::guest";
/// The calls for which a thread waited.
pub const CALL: &str = "gevent::call";

/// Every target a filter may name.
pub const ALL: [&str; 5] = [ROOT, PATCH, HUB, GUEST, CALL];
