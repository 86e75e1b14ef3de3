//! Events of the hub: the scheduler and its event loop.

use std::time::Duration;

use crate::declare::events;

events! {
    /// Patching is done; the hub starts with the program's first thread.
    HUB INFO Armed {} => "armed: the hub starts with the first thread";

    /// A hub runs: a kernel thread that runs guests.
    HUB INFO HubStarted<'a> {
        /// Name of the reactor it waits with.
        reactor: &'a str,
        /// The kernel's id of the thread it runs on.
        kernel_tid: i32,
    } => "the hub runs on kernel thread {kernel_tid} and waits with {reactor}";

    /// Fewer hubs run than were asked for.
    HUB WARN HubsLimited<'a> {
        /// How many do.
        hubs: usize,
        /// Why.
        reason: &'a str,
    } => "{hubs} hubs run and no more: {reason}";

    /// A thread is blocked in the kernel where the hub does not see it, and the others go on on
    /// a further kernel thread. Told when that one is made: it serves the next time too.
    HUB INFO HubRescued {
        /// How many kernel threads there are now that may run threads of the program.
        hubs: usize,
        /// The kernel's id of the thread.
        kernel_tid: i32,
    } => "a thread is blocked in the kernel: the others run on kernel thread {kernel_tid}";

    /// A thread is blocked in the kernel, and so are all others until it is back. Told once.
    HUB WARN RescueRefused<'a> {
        /// Why there can be no further kernel thread.
        reason: &'a str,
    } => "a thread is blocked in the kernel, and with it all others: {reason}";

    /// The kernel lets the hub have no io_uring: it waits with epoll.
    HUB INFO RingRefused {
        /// Why: the errno.
        errno: i32,
    } => "there is no io_uring: error {errno}";

    /// A file of proc(5) cannot be opened. Whether a thread computes or waits is told from
    /// its CPU time instead; what else the file tells is not known.
    HUB WARN FileMissing<'a> {
        /// The file.
        path: &'a str,
        /// Why: the errno.
        errno: i32,
    } => "{path} cannot be opened: error {errno}";

    /// The kernel watches no more descriptors for the hub (`fs.epoll.max_user_watches`, or
    /// memory). Who waits for one looks every few milliseconds. Told once.
    HUB WARN NotWatched {
        /// Why: the errno.
        errno: i32,
    } => "a descriptor cannot be watched and is looked at again and again: error {errno}";

    /// From here on calls are caught too that no patched site makes.
    HUB INFO Catching {} => "calls that no patched site makes are caught";

    /// Calls that no patched site makes are not caught, or not any more, although they were
    /// to be.
    HUB WARN NotCatching<'a> {
        /// Why.
        reason: &'a str,
    } => "calls that no patched site makes are not caught: {reason}";

    /// The hub of a forked child was made anew.
    HUB INFO ForkReinitialised {
        /// Process id of the child.
        child: i32,
        /// Process id of the parent.
        parent: i32,
    } => "the hub of process {child}, forked from {parent}, was made anew";

    /// Every thread waits for another one, and nothing else can wake any: what gevent
    /// raises LoopExit for. The hub keeps waiting.
    HUB WARN WouldBlockForever<'a> {
        /// How many threads wait.
        guests: usize,
        /// Who waits for what, and for whom if that is known.
        graph: &'a str,
    } => "{guests} threads wait and nothing can wake them: {graph}";

    /// A thread kept the others from running for longer than it may. Told when it is
    /// seen, and not again before others have run.
    HUB WARN HubBlocked<'a> {
        /// The thread's id.
        tid: i32,
        /// For how long when it was seen. The structured field is in microseconds.
        blocked: Duration,
        /// What it does.
        doing: &'a str,
        /// Where: the innermost function first.
        backtrace: &'a str,
    } => "thread {tid} has kept the others from running for {blocked:.1?} with {doing}: {backtrace}";

    /// Every thread of the offload pool is busy. Told once. Calls wait for one of them, or
    /// are tried again and again if they can be.
    HUB WARN PoolFull {
        /// How many threads there are, as GEVENT_SHIM_POOL allows.
        threads: usize,
    } => "all {threads} threads of the offload pool are busy";

    /// The offload pool has no thread, and none can be made. Told once. Calls are tried
    /// again and again if they can be; others stop the hub.
    HUB WARN PoolMissing {} => "no thread can be made for the offload pool";

    /// The program has installed a filter of system calls (seccomp(2)). The kernel holds every
    /// thread that runs on a hub to it.
    HUB WARN Filtered<'a> {
        /// Calls that the library makes for itself and that the filter does not let pass.
        calls: &'a str,
        /// How many threads for which it is not meant run on the same hubs: helper
        /// threads make for them what it does not let pass.
        others: usize,
    } => "the program has installed a filter of system calls, which does not let the library make: {calls} (other threads on this hub: {others})";

    /// A filter of system calls was there before the program started, and kills for calls that
    /// the library would make: it does without them, as where they are denied.
    HUB WARN FilterInherited<'a> {
        /// Which ones, if any is known.
        calls: &'a str,
        /// How many calls there was no time to try: the library makes those.
        untried: usize,
    } => "a filter of system calls that was there before the program kills for: [{calls}] (not tried for want of time: {untried})";

    /// The kernel gave the library no more memory. Told once. It has a reserve of 4 MiB for
    /// what its calls need; calls for many descriptors are tried again and again, or fail with
    /// ENOMEM.
    HUB WARN MemoryShort {} => "the kernel gives no more memory: the library lives on its reserve";

    /// Robust locks in shared memory that threads hold are marked by another process if
    /// this one is killed.
    HUB INFO LocksGuarded {
        /// Its id.
        process: i32,
    } => "process {process} marks the robust locks of threads if this process is killed";

    /// No such process could be made: other processes may wait for ever for a lock that a
    /// killed one held.
    HUB WARN LocksNotGuarded {
        /// Why: the errno.
        errno: i32,
    } => "robust locks of threads are not marked if this process is killed: error {errno}";

    /// Nothing tells when the system's clock is set: a wait until a time of it looks every
    /// second. Told once.
    HUB WARN ClockNotWatched {
        /// Why there is no descriptor for it: the errno.
        errno: i32,
    } => "waits until a time of day see within a second that the clock was set: error {errno}";

    /// The process uses more memory than it may.
    HUB WARN MemoryPassed {
        /// Resident bytes.
        bytes: u64,
        /// `GEVENT_SHIM_MAX_MEMORY`.
        limit: u64,
    } => "{bytes} bytes of memory are resident, more than {limit}";

    /// The process uses less memory again.
    HUB INFO MemoryBack {
        /// Resident bytes.
        bytes: u64,
        /// `GEVENT_SHIM_MAX_MEMORY`.
        limit: u64,
    } => "{bytes} bytes of memory are resident, less than {limit} again";

    /// Events were dropped: the ring was full, or their file took no more.
    HUB WARN EventsLost {
        /// How many.
        count: u64,
    } => "{count} events were lost on the way to you";
}
