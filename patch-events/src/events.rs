//! Every event there is.
//!
//! Patching tells its story from the outside in, as gevent does: all, object,
//! group, and back; a `Will…` comes before the first change of its subject, a
//! `Did…` after the last. Single sites are told only when one is refused.

use std::fmt;
use std::time::Duration;

use crate::declare::{Address, Count, events};

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
    /// The program is about to be patched.
    PATCH INFO WillPatchAll<'a> {
        /// The groups to be patched, as a list.
        groups: &'a str,
    } => "will patch the groups {groups}";

    /// One object of the program (libc, the loader, …) is about to be patched.
    PATCH INFO WillPatchObject<'a> {
        /// Path of the object.
        object: &'a str,
        /// System call sites found in it.
        sites: usize,
    } => "will patch {object}: {found}", found = Count(*sites, "site");

    /// A site stays as it is.
    PATCH WARN Refused<'a> {
        /// Path of the object.
        object: &'a str,
        /// Where the site is in the process.
        address: Address,
        /// The symbol the site is in, if one is known.
        symbol: Option<&'a str>,
        /// Why.
        reason: &'a str,
    } => "refused the site at {address} in {function} of {object}: {reason}",
        function = symbol.unwrap_or("an unnamed function");

    /// One object of the program has been patched.
    PATCH INFO DidPatchObject<'a> {
        /// Path of the object.
        object: &'a str,
        /// Sites that now lead to us.
        patched: usize,
        /// Sites that stay as they are.
        refused: usize,
    } => "patched {object}: {count}, {refused} refused", count = Count(*patched, "site");

    /// A group is about to be switched on.
    PATCH INFO WillPatchGroup<'a> {
        /// The group's name.
        group: &'a str,
    } => "will patch the group {group}";

    /// A group has been switched on.
    PATCH INFO DidPatchGroup<'a> {
        /// The group's name.
        group: &'a str,
        /// Calls and symbols in it.
        items: usize,
    } => "patched the group {group}: {count}", count = Count(*items, "item");

    /// The program has been patched.
    PATCH INFO DidPatchAll {
        /// Objects patched.
        objects: usize,
        /// Sites patched in all of them.
        sites: usize,
        /// Sites refused in all of them.
        refused: usize,
        /// From the first look at the program's maps to here. The structured
        /// field is in microseconds.
        duration: Duration,
    } => "patched {of_sites} in {of_objects}, {refused} refused, in {duration:.1?}",
        of_sites = Count(*sites, "site"), of_objects = Count(*objects, "object");

    /// Nothing is virtualised: the program runs as it is.
    PATCH WARN NotPatched<'a> {
        /// Why.
        reason: &'a str,
    } => "nothing is patched, the program runs as it is: {reason}";

    /// The program had several kernel threads before it could be patched.
    PATCH WARN LoadedLate {
        /// Kernel threads that can't become coroutines any more.
        threads: usize,
    } => "loaded late: {count} of the program cannot become cooperative",
        count = Count(*threads, "kernel thread");

    /// Groups that need guests were asked for without the group that makes them.
    PATCH WARN ThreadGroupOff<'a> {
        /// The groups asked for, as a list.
        groups: &'a str,
    } => "the group thread is off: threads stay kernel threads, {groups} cannot be cooperative";

    /// Patching is done; the hub starts with the program's first thread.
    HUB INFO Armed {} => "armed: the hub starts with the first thread";

    /// A hub runs.
    HUB INFO HubStarted<'a> {
        /// Name of the reactor it waits with.
        reactor: &'a str,
        /// The kernel's id of the thread it runs on.
        kernel_tid: i32,
    } => "the hub runs on kernel thread {kernel_tid} and waits with {reactor}";

    /// A thread of the program began as a guest.
    GUEST DEBUG GuestStarted {
        /// Its thread id, as the program sees it.
        tid: i32,
        /// Bytes of its stack; 0 when the call that made it did not say.
        stack: usize,
    } => "guest {tid} started on a stack of {size}", size = StackSize(*stack);

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
    } => "guest {tid} ended";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_targets_known_and_used() {
        let names: BTreeSet<_> = ALL.iter().map(|event| event.name).collect();
        assert_eq!(names.len(), ALL.len());
        let used: BTreeSet<_> = ALL.iter().map(|event| event.target).collect();
        let known: BTreeSet<_> = crate::target::ALL.into_iter().collect();
        assert!(used.is_subset(&known));
        for target in known {
            assert!(
                used.iter().any(|name| name.starts_with(target)),
                "a filter on {target} would ask for nothing"
            );
        }
    }
}
