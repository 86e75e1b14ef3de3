//! Variables that each greenlet has of its own.

/// Declares variables that each greenlet (and each other thread) has of its own, and that
/// are dropped when it ends: gevent's `local`.
///
/// A greenlet is a thread, so this is [`std::thread_local!`] under gevent's name, and
/// variables of libraries that use that one are each greenlet's own too.
///
/// ```
/// use std::cell::Cell;
/// use gevent_runtime::api::spawn;
///
/// gevent_runtime::local! {
///     static COUNT: Cell<u32> = const { Cell::new(0) };
/// }
///
/// COUNT.set(1);
/// assert_eq!(spawn(|| COUNT.replace(2)).get().unwrap(), 0);
/// assert_eq!(COUNT.get(), 1);
/// ```
#[macro_export]
macro_rules! local {
    ($($declarations:tt)*) => {
        ::std::thread_local! { $($declarations)* }
    };
}
