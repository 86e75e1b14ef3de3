//! Events of patching.
//!
//! Patching tells its story from the outside in, as gevent does: all, object,
//! group, and back; a `Will...` comes before the first change of its subject, a
//! `Did...` after the last, and not at all if somebody objected.

use std::time::Duration;

use crate::declare::{Address, Count, events};

events! {
    /// The program is about to be patched.
    PATCH INFO WillPatchAll<'a> {
        /// The groups to be patched, as a list.
        groups: &'a str,
    } => "will patch the groups {groups}";

    /// A subscriber objected: what it objected to stays as it is.
    PATCH WARN Vetoed<'a> {
        /// What was to be patched.
        what: &'a str,
        /// The objection.
        reason: &'a str,
    } => "{what} must not be patched: {reason}";

    /// One object of the program (libc, the loader, …) is about to be patched.
    PATCH INFO WillPatchObject<'a> {
        /// Path of the object.
        object: &'a str,
        /// System call sites found in it.
        sites: usize,
    } => "will patch {object}: {found}", found = Count(*sites, "site");

    /// A site now leads to us.
    PATCH TRACE DidPatchSite<'a> {
        /// Path of the object.
        object: &'a str,
        /// Where the site is in the process.
        address: Address,
        /// The symbol the site is in, if one is known.
        symbol: Option<&'a str>,
        /// How it is led away.
        mechanism: &'a str,
    } => "patched the site at {address} in {function} of {object} with a {mechanism}",
        function = symbol.unwrap_or("an unnamed function");

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

    /// No code can be patched: every call of the program's threads is caught instead.
    PATCH WARN CaughtInstead<'a> {
        /// Why.
        reason: &'a str,
    } => "calls are caught by Syscall User Dispatch, which is slower: {reason}";

    /// The program had several kernel threads before it could be patched.
    PATCH WARN LoadedLate<'a> {
        /// Kernel threads that can't become coroutines any more.
        threads: usize,
        /// Their names, as a list.
        names: &'a str,
    } => "loaded late: {count} of the program cannot become cooperative: {names}",
        count = Count(*threads, "kernel thread");

    /// Groups that need guests were asked for without the group that makes them.
    PATCH WARN ThreadGroupOff<'a> {
        /// The groups asked for, as a list.
        groups: &'a str,
    } => "the group thread is off: threads stay kernel threads, {groups} cannot be cooperative";

    /// Of two groups that work together one was asked for and one was not.
    PATCH WARN GroupsContradict<'a> {
        /// The group that is on.
        group: &'a str,
        /// The group that is off.
        without: &'a str,
        /// What follows.
        consequence: &'a str,
    } => "the group {group} is on without {without}: {consequence}";

    /// A call that was left out is carried out nevertheless.
    PATCH WARN StaysPatched<'a> {
        /// The call's name.
        call: &'a str,
    } => "{call} stays patched: threads cannot be cooperative without it";

    /// The program starts, or becomes, one beside which the library cannot be loaded.
    PATCH WARN ProgramNotPatched<'a> {
        /// Its path, or the end of a long one.
        program: &'a str,
        /// Why.
        reason: &'a str,
    } => "{program} runs as it is: it {reason}";

    /// An object was opened whose code needs kernel threads: those that are made from now on
    /// are.
    PATCH WARN ThreadsStayKernels<'a> {
        /// Path of the object.
        object: &'a str,
    } => "new threads are not cooperative: {object} holds the runtime of Go";

    /// Sites of libc stay as they are: calls made there are caught, and one hub runs all threads.
    PATCH WARN SitesCaught<'a> {
        /// Path of the object.
        object: &'a str,
        /// How many.
        count: usize,
    } => "{of_sites} of {object} cannot be patched: calls there are caught by Syscall User Dispatch, which is slower",
        of_sites = Count(*count, "site");

    /// Sites of an object stay as they are: calls made there stop every thread.
    PATCH WARN SitesRefused<'a> {
        /// Path of the object.
        object: &'a str,
        /// How many.
        count: usize,
    } => "{of_sites} of {object} cannot be patched: what blocks there stops every thread",
        of_sites = Count(*count, "site");
}
