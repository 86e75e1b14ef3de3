//! What the reactor knows about each descriptor number of the program.
//!
//! # Closed past us
//! A number may be closed, and used again, by what no site of ours sees: by an io_uring of the
//! program's, by code that it makes at run time, by a process with the same table. Where such a
//! thing is there ([`doubt`]), nothing that is known of a number counts for more than a hint:
//! whether a descriptor is registered, the epoll set itself says each time somebody is to wait
//! for it; what else is known is forgotten once the number's file has another inode, which is
//! looked at before a wait, or before each call.
//!
//! # Synchronization
//! The hub's kernel thread alone, but for `owner`, which the signal handler reads, and `DOUBT`.
#![allow(unsafe_code)]

use core::cell::Cell;
use core::ptr;
use core::sync::atomic::{AtomicI32, AtomicU8, Ordering};

use crate::guest::{Guest, Reason};
use crate::hub::Hub;
use crate::private;
use crate::proc_view::{self, View};
use crate::raw;

/// Descriptors up to this number are known; others wait through the offload pool.
/// fs.nr_open is 1,048,576 unless raised.
const MAX: usize = 1 << 20;
/// States whose memory is got at once: few programs have more.
const BLOCK: usize = 1024;
const BYTES: usize = BLOCK * size_of::<FdState>();

/// Events that concern every operation.
const ALWAYS: u32 = (libc::EPOLLERR | libc::EPOLLHUP) as u32;

/// A guest waiting for readiness of one descriptor. Lives on the guest's stack
/// while the guest is parked.
pub struct FdWaiter {
    guest: &'static Guest,
    /// EPOLL* bits that wake it; errors and hang-ups always do.
    events: u32,
    /// The number it waits on: another one after the program closed the first.
    fd: Cell<i32>,
    moved: Cell<bool>,
    prev: Cell<*const FdWaiter>,
    next: Cell<*const FdWaiter>,
}

impl FdWaiter {
    /// A waiter that is on no list yet.
    pub fn new(guest: &'static Guest, fd: i32, events: u32) -> Self {
        FdWaiter {
            guest,
            events,
            fd: Cell::new(fd),
            moved: Cell::new(false),
            prev: Cell::new(ptr::null()),
            next: Cell::new(ptr::null()),
        }
    }
}

/// Whether descriptors are closed past us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Doubt {
    /// Not as far as is known.
    None,
    /// There is code that may make such calls, as there is in most programs that have it for
    /// other ends: it is looked before a wait.
    Possible,
    /// There is what such calls are made with: it is looked before each call.
    Likely,
}

static DOUBT: AtomicU8 = AtomicU8::new(Doubt::None as u8);

/// From now on there is that much reason to doubt. Any thread.
pub fn doubt(much: Doubt) {
    DOUBT.fetch_max(much as u8, Ordering::Relaxed);
}

/// Whether there is reason to doubt what is known of numbers.
#[inline]
pub fn is_doubted() -> bool {
    DOUBT.load(Ordering::Relaxed) != Doubt::None as u8
}

/// Whether what is known of numbers is likely to be wrong.
#[inline]
pub fn is_likely_wrong() -> bool {
    DOUBT.load(Ordering::Relaxed) == Doubt::Likely as u8
}

/// What a descriptor is, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A regular file or block device: never "not ready", but may be slow.
    Regular = 1,
    /// A TCP socket.
    Tcp,
    /// Another stream socket.
    Stream,
    /// Another socket.
    Datagram,
    /// An io_uring that becomes readable with a completion. Others make those only
    /// when they are asked for them.
    ReadableRing,
    /// A pipe or FIFO.
    Pipe,
    /// A terminal.
    Terminal,
    /// A device that nobody waits for, such as /dev/null and /dev/urandom.
    Bottomless,
    /// Anything else.
    Other,
}

impl Kind {
    /// Whether it is a socket.
    pub fn is_socket(self) -> bool {
        matches!(self, Kind::Tcp | Kind::Stream | Kind::Datagram)
    }

    /// Whether it is a stream socket.
    pub fn is_stream(self) -> bool {
        matches!(self, Kind::Tcp | Kind::Stream)
    }

    fn of(fd: i32, file_type: u32) -> Self {
        match file_type {
            libc::S_IFREG | libc::S_IFBLK => Kind::Regular,
            libc::S_IFSOCK => match raw::socket_option(fd, libc::SO_PROTOCOL) {
                libc::IPPROTO_TCP | libc::IPPROTO_MPTCP => Kind::Tcp,
                _ if raw::socket_option(fd, libc::SO_TYPE) == libc::SOCK_STREAM => Kind::Stream,
                _ => Kind::Datagram,
            },
            // A pipe of packets is read packet by packet.
            libc::S_IFIFO if raw::status_flags(fd) & libc::O_DIRECT as i64 == 0 => Kind::Pipe,
            libc::S_IFCHR if raw::is_terminal(fd) => Kind::Terminal,
            libc::S_IFCHR if raw::is_bottomless(fd) => Kind::Bottomless,
            _ => Kind::Other,
        }
    }
}

/// One descriptor number. All zero: never seen.
#[repr(C)]
pub struct FdState {
    /// Whether it is registered with the epoll set.
    pub armed: Cell<bool>,
    /// An event of it takes the registration's interest away until it is registered again.
    /// Meaningful while `armed`.
    pub told_once: Cell<bool>,
    /// What it is, once asked.
    kind: Cell<Option<Kind>>,
    /// EPOLL* bits of edges that no operation has found spent. Meaningful while
    /// `armed`.
    ready: Cell<u32>,
    /// [`flags_epoch`](FdTable::flags_epoch) at which `nonblocking` was asked.
    flags_epoch: Cell<u32>,
    nonblocking: Cell<bool>,
    synchronous: Cell<bool>,
    /// Recent luck of direct tries: below zero, an operation is handed over
    /// without one.
    pub luck: Cell<i8>,
    /// Tag of the registration, so that events of a closed descriptor are told
    /// from those of its successor.
    pub generation: Cell<u32>,
    /// [`share_epoch`](FdTable::share_epoch) at which this process made the description;
    /// 0 if it did not, or is not known to have.
    born: Cell<u32>,
    /// Urgent data has come: reads stop before it.
    urgent: Cell<bool>,
    /// The ring's batch that its last operation was in.
    pub submitted_in: Cell<u32>,
    /// [`options_epoch`](FdTable::options_epoch) at which the next three were read.
    pub options_epoch: Cell<u32>,
    /// SO_RCVLOWAT.
    pub receive_low: Cell<u32>,
    /// SO_RCVTIMEO in nanoseconds, 0 for none.
    pub receive_timeout: Cell<u64>,
    /// SO_SNDTIMEO in nanoseconds, 0 for none.
    pub send_timeout: Cell<u64>,
    /// What it is of proc(5), once its kind was asked.
    view: Cell<View>,
    /// The file that is known, by [`raw::file`]; 0 if that was not asked.
    identity: Cell<u64>,
    /// Guests that go on with this number, one of ours, after theirs was closed.
    users: Cell<u32>,
    /// Whom its signals are for, in the words of [`IoOwner`](crate::signal::IoOwner).
    owner: AtomicI32,
    waiters: Cell<*const FdWaiter>,
}

impl FdWaiter {
    /// The number to go on with.
    pub fn fd(&self) -> i32 {
        self.fd.get()
    }

    /// Whether that is a number kept for it, to be released.
    pub fn was_moved(&self) -> bool {
        self.moved.get()
    }

    /// Takes it off the list it is on now.
    pub fn unlink(&self) {
        if let Some(state) = table().get(self.fd.get()) {
            state.unlink(self);
        }
    }
}

impl FdState {
    /// What `fd`, whose state this is, refers to. Asked once.
    pub fn kind(&self, fd: i32) -> Kind {
        if let Some(kind) = self.kind.get() {
            return kind;
        }
        let Some(file) = raw::file(fd) else {
            return Kind::Other;
        };
        let kind = Kind::of(fd, file.kind);
        self.identity.set(file.identity);
        self.kind.set(Some(kind));
        self.view.set(if file.may_be_made_up {
            proc_view::of_descriptor(fd)
        } else {
            View::NOTHING
        });
        kind
    }

    /// Whether `fd`, whose state this is, is another file's number than it was: what was known
    /// has been forgotten then.
    #[cold]
    #[inline(never)]
    pub fn is_anothers(&self, fd: i32) -> bool {
        let now = raw::file(fd).map_or(0, |file| file.identity);
        let before = self.identity.get();
        if now == before {
            return false;
        }
        if before == 0 {
            // What it was was never asked. Its flags and options are asked again.
            self.born.set(0);
            self.flags_epoch.set(0);
            self.options_epoch.set(0);
        } else {
            table().closed(fd);
        }
        self.identity.set(now);
        before != 0
    }

    /// What it refers to, if that was asked.
    pub fn known_kind(&self) -> Option<Kind> {
        self.kind.get()
    }

    /// What it is of proc(5), as far as its kind was asked.
    #[inline]
    pub fn view(&self) -> View {
        self.view.get()
    }

    /// Says what it is of proc(5): the kernel does not know. Its kind was asked.
    pub fn set_view(&self, view: View) {
        self.view.set(view);
    }

    /// Remembers what the program has just made, which cannot be asked for.
    pub fn set_kind(&self, fd: i32, kind: Kind) {
        self.kind.set(Some(kind));
        self.identity
            .set(raw::file(fd).map_or(0, |file| file.identity));
    }

    /// Whether the program made `fd` non-blocking. The flag belongs to the
    /// description. If no other process can have that, it is asked again only after the
    /// program set flags on whatever descriptor.
    pub fn is_nonblocking(&self, fd: i32) -> bool {
        let epoch = table().flags_epoch.get();
        if self.flags_epoch.get() == epoch
            && self.born.get() == table().share_epoch.get()
            && !is_doubted()
        {
            return self.nonblocking.get();
        }
        let nonblocking = raw::is_nonblocking(fd);
        self.nonblocking.set(nonblocking);
        self.flags_epoch.set(epoch);
        nonblocking
    }

    /// Whether `fd`, a regular file, is written synchronously or past the page cache.
    /// Asked again after the program set flags on whatever descriptor.
    pub fn is_synchronous(&self, fd: i32) -> bool {
        let epoch = table().flags_epoch.get();
        if self.flags_epoch.get() != epoch {
            let mode = (libc::O_DSYNC | libc::O_SYNC | libc::O_DIRECT) as i64;
            let flags = raw::status_flags(fd);
            self.synchronous.set(flags >= 0 && flags & mode != 0);
            self.flags_epoch.set(epoch);
        }
        self.synchronous.get()
    }

    /// Whom its signals are for.
    pub fn owner(&self) -> i32 {
        self.owner.load(Ordering::Acquire)
    }

    /// Sets it.
    pub fn set_owner(&self, owner: i32) {
        self.owner.store(owner, Ordering::Release);
    }

    /// Whether a read that brings less than was asked for leaves nothing behind. Not so
    /// where reads stop early: at urgent data, between packets, between writers, before
    /// passed descriptors.
    pub fn is_drained_by_part(&self, fd: i32) -> bool {
        match self.kind(fd) {
            Kind::Tcp => !self.urgent.get(),
            Kind::Pipe => true,
            _ => false,
        }
    }

    /// Whether closing `fd` waits until what was sent has arrived (SO_LINGER).
    pub fn lingers(&self, fd: i32) -> bool {
        matches!(self.kind.get(), None | Some(Kind::Tcp)) && raw::linger(fd) > 0
    }

    /// False if an operation that needs one of `events` would surely block: the last
    /// one emptied or filled the descriptor, and no edge has come since.
    pub fn may_be_ready(&self, events: u32) -> bool {
        !self.armed.get() || self.ready.get() & (events | ALWAYS) != 0
    }

    /// An operation that needs `events` found nothing more. (What has ended stays so.)
    pub fn spent(&self, events: u32) {
        let data = (libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLPRI) as u32;
        self.ready.set(self.ready.get() & !(events & data));
    }

    /// Registered just now. If it is ready already, an edge tells so.
    pub fn now_armed(&self) {
        self.ready
            .set((libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLPRI) as u32);
        self.armed.set(true);
    }

    /// Hangs a waiter on.
    ///
    /// # Safety
    /// The waiter must stay in place until [`unlink`](Self::unlink).
    pub unsafe fn link(&self, waiter: &FdWaiter) {
        let head = self.waiters.get();
        waiter.prev.set(ptr::null());
        waiter.next.set(head);
        // SAFETY: linked waiters stay in place.
        if let Some(head) = unsafe { head.as_ref() } {
            head.prev.set(waiter);
        }
        self.waiters.set(waiter);
    }

    /// Takes a linked waiter off.
    fn unlink(&self, waiter: &FdWaiter) {
        let (prev, next) = (waiter.prev.get(), waiter.next.get());
        // SAFETY: linked waiters stay in place.
        unsafe {
            match prev.as_ref() {
                Some(prev) => prev.next.set(next),
                None => self.waiters.set(next),
            }
            if let Some(next) = next.as_ref() {
                next.prev.set(prev);
            }
        }
    }

    /// Whether somebody waits for it.
    pub fn has_waiters(&self) -> bool {
        !self.waiters.get().is_null()
    }

    /// An edge came: wakes the guests that wait for one of `events`.
    pub fn wake(&self, hub: &Hub, events: u32) {
        self.ready.set(self.ready.get() | events);
        if events & libc::EPOLLPRI as u32 != 0 {
            self.urgent.set(true);
        }
        let mut at = self.waiters.get();
        // SAFETY: linked waiters stay in place; waking only queues the guest.
        while let Some(waiter) = unsafe { at.as_ref() } {
            at = waiter.next.get();
            if events & (waiter.events | ALWAYS) != 0 {
                hub.wake(waiter.guest, Reason::Event);
            }
        }
    }
}

/// The states of all descriptor numbers, in blocks of memory that are there once a number in
/// them was used.
pub struct FdTable {
    blocks: [Cell<*mut FdState>; MAX / BLOCK],
    /// The highest number that was ever watched.
    pub highest: Cell<i32>,
    /// Bumped whenever the program sets an option on any socket that says how long calls
    /// wait: a description may have several numbers.
    pub options_epoch: Cell<u32>,
    /// Bumped whenever the program sets status flags on any descriptor.
    pub flags_epoch: Cell<u32>,
    /// Bumped whenever descriptors may come to another process: by a fork, or sent.
    pub share_epoch: Cell<u32>,
}

// SAFETY: used on the hub's kernel thread alone.
unsafe impl Sync for FdTable {}

static TABLE: FdTable = FdTable {
    blocks: [const { Cell::new(ptr::null_mut()) }; MAX / BLOCK],
    highest: Cell::new(-1),
    options_epoch: Cell::new(1),
    flags_epoch: Cell::new(1),
    share_epoch: Cell::new(1),
};

/// Bumps a counter whose zero means "never".
fn bump(epoch: &Cell<u32>) {
    epoch.set(epoch.get().wrapping_add(1).max(1));
}

/// The table.
pub fn table() -> &'static FdTable {
    &TABLE
}

impl FdTable {
    /// Its memory: where each part begins, and its length.
    pub fn memory(&self) -> impl Iterator<Item = (usize, usize)> {
        let blocks = self.blocks.iter().map(|at| at.get() as usize);
        blocks.filter(|&at| at != 0).map(|at| (at, BYTES))
    }

    /// Gets the memory for the lowest numbers; false if there is none.
    pub fn init(&self) -> bool {
        self.make(0).is_some()
    }

    /// The states of a block of numbers, which are made if they are not there.
    #[cold]
    fn make(&self, block: usize) -> Option<*mut FdState> {
        let slot = &self.blocks[block];
        if slot.get().is_null() {
            slot.set(raw::reserve(BYTES)?.cast());
        }
        Some(slot.get())
    }

    /// The program sets options that say how long calls on sockets wait.
    pub fn options_change(&self) {
        bump(&self.options_epoch);
    }

    /// The program sets status flags.
    pub fn flags_change(&self) {
        bump(&self.flags_epoch);
    }

    /// Descriptors may be another process's too from now on.
    pub fn are_shared(&self) {
        bump(&self.share_epoch);
    }

    /// The state of a descriptor number, if it is one the table holds.
    #[inline]
    pub fn get(&self, fd: i32) -> Option<&'static FdState> {
        let slot = self.blocks.get(fd as u32 as usize / BLOCK)?;
        let block = match slot.get() {
            block if block.is_null() => self.make(fd as usize / BLOCK)?,
            block => block,
        };
        // SAFETY: memory of `BLOCK` states that is never freed; all zero is a valid state.
        Some(unsafe { &*block.add(fd as usize % BLOCK) })
    }

    /// The state of the descriptor that a call names, as far as it is the present file's.
    #[inline]
    pub fn of_call(&self, fd: i32) -> Option<&'static FdState> {
        let state = self.get(fd)?;
        if is_likely_wrong() {
            state.is_anothers(fd);
        }
        Some(state)
    }

    /// As [`of_call`](Self::of_call), for one who makes a call that would wait if the file were
    /// another one.
    #[inline]
    pub fn of_call_at_once(&self, fd: i32) -> Option<&'static FdState> {
        let state = self.get(fd)?;
        if is_doubted() {
            state.is_anothers(fd);
        }
        Some(state)
    }

    /// A call of the program has just made the description and the number: nobody shares it
    /// yet.
    pub fn made(&self, fd: i32) {
        self.closed(fd);
        if let Some(state) = self.get(fd) {
            state.born.set(self.share_epoch.get());
        }
    }

    /// The same, if any number near it was ever asked about: programs close numbers that were
    /// never opened.
    pub fn known(&self, fd: i32) -> Option<&'static FdState> {
        let slot = self.blocks.get(fd as u32 as usize / BLOCK)?;
        if slot.get().is_null() {
            return None;
        }
        self.get(fd)
    }

    /// The program is about to close a number somebody waits on. As bare, the waits
    /// go on with the description they were for: under a number of ours.
    pub fn keep_for_waiters(&self, fd: i32) -> Option<i32> {
        let state = self.known(fd).filter(|state| state.has_waiters())?;
        let kept = private::duplicate(fd);
        let new = self.get(kept as i32)?;
        new.waiters.set(state.waiters.replace(ptr::null()));
        let mut at = new.waiters.get();
        // SAFETY: linked waiters stay in place.
        while let Some(waiter) = unsafe { at.as_ref() } {
            at = waiter.next.get();
            waiter.fd.set(kept as i32);
            waiter.moved.set(true);
            new.users.set(new.users.get() + 1);
        }
        Some(kept as i32)
    }

    /// A guest no longer needs a number that was kept for it.
    pub fn release(&self, fd: i32) {
        if let Some(state) = self.get(fd) {
            state.users.set(state.users.get() - 1);
            if state.users.get() == 0 {
                self.closed(fd);
                private::close(fd);
            }
        }
    }

    /// The program closes this number, or puts another description there.
    pub fn closed(&self, fd: i32) {
        if let Some(state) = self.known(fd)
            // Reading an untouched page maps the zero page only; writing costs memory.
            && (state.armed.get()
                || state.kind.get().is_some()
                || state.options_epoch.get() != 0
                || state.born.get() != 0
                || state.owner() != 0)
        {
            state.armed.set(false);
            state.kind.set(None);
            state.flags_epoch.set(0);
            state.luck.set(0);
            state.options_epoch.set(0);
            state.receive_timeout.set(0);
            state.send_timeout.set(0);
            state.receive_low.set(1);
            state.born.set(0);
            state.urgent.set(false);
            state.view.set(View::NOTHING);
            state.identity.set(0);
            state.set_owner(0);
            state.generation.set(state.generation.get().wrapping_add(1));
        }
    }

    /// Wakes everybody who waits for a descriptor, as nothing will tell of one any more.
    pub fn wake_all(&self, hub: &Hub) {
        for fd in 0..=self.highest.get() {
            if let Some(state) = self.get(fd) {
                state.armed.set(false);
                state.wake(hub, ALWAYS);
            }
        }
    }

    /// In a forked child: nothing is registered and nobody waits.
    pub fn reset_after_fork(&self) {
        for (at, len) in self.memory() {
            // SAFETY: drops the pages of our own memory: they read as zero again.
            unsafe {
                crate::arch::syscall3(
                    libc::SYS_madvise,
                    at as u64,
                    len as u64,
                    libc::MADV_DONTNEED as u64,
                )
            };
        }
    }
}
