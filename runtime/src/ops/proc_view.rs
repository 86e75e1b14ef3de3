//! Paths, files and directories of proc(5) that tell of the program's threads
//! ([`crate::proc_view`]).
//!
//! # Synchronization
//! The texts are written and read in our code, so by one processor at a time.
#![allow(unsafe_code)]

use core::cell::{Cell, UnsafeCell};

use super::cpu_clock;
use super::iov::Buffers;
use super::{Call, Outcome};
use crate::arch::{self, syscall3, syscall4};
use crate::guest::{Guest, State};
use crate::hub::{Hub, processor};
use crate::offload;
use crate::proc_view::listing::{self, Entry, Format};
use crate::proc_view::path::{self, Walk};
use crate::proc_view::text::{self, Text, Values};
use crate::proc_view::{self, Program, View, What};
use crate::raw::{self, err};
use crate::reactor::fds;
use crate::sandbox::elsewhere;
use crate::signal;

/// What every path here begins with.
const PROC: &[u8; 6] = b"/proc/";

/// A path of the program's that was followed.
struct Followed {
    walk: Walk,
    text: [u8; path::MAX],
    len: usize,
    is_absolute: bool,
}

impl Followed {
    /// The part that the walk is about.
    fn names(&self) -> &[u8] {
        let begin = if self.is_absolute { PROC.len() } else { 0 };
        &self.text[begin..self.len]
    }
}

/// A byte of the program's; `None` where the kernel would fault.
fn byte(at: u64) -> Option<u8> {
    // SAFETY: the program's own string, which the kernel would read.
    unsafe { raw::get(at) }.ok()
}

/// Where the names of a path begin, if it may lead to threads: most do not, and cost little.
#[inline]
fn base(c: &Call<'_>, directory: i32, path: u64) -> Option<View> {
    // SAFETY: the program's own string, which the kernel would read up to its end.
    if let Some(word) = unsafe { arch::read_word(path) } {
        let bytes = word.to_ne_bytes();
        if bytes[0] == b'/' {
            return bytes.starts_with(PROC).then_some(View::ROOT);
        }
        return relative(c, directory, path, bytes[0]);
    }
    // It may end before a page that is not there.
    match byte(path)? {
        b'/' => (0..PROC.len() as u64)
            .all(|i| byte(path + i) == Some(PROC[i as usize]))
            .then_some(View::ROOT),
        first => relative(c, directory, path, first),
    }
}

/// As [`base`], of a relative path with that first byte.
fn relative(c: &Call<'_>, directory: i32, path: u64, first: u8) -> Option<View> {
    let view = if directory != libc::AT_FDCWD {
        if first != 0 {
            fds::table().get(directory)?.kind(directory);
        }
        present(directory)?
    } else if first.is_ascii_digit() {
        in_current_directory(c, path)
    } else {
        View::NOTHING
    };
    (!view.is_nothing()).then_some(view)
}

/// The current directory, if the path may begin with a guest's id.
fn in_current_directory(c: &Call<'_>, path: u64) -> View {
    let mut digits = [0u8; 10];
    let mut len = 0;
    while let Some(digit) = byte(path + len as u64).filter(u8::is_ascii_digit) {
        let Some(to) = digits.get_mut(len) else {
            return View::NOTHING;
        };
        *to = digit;
        len += 1;
    }
    let guest = path::number(&digits[..len]).and_then(|tid| c.hub.find(tid));
    if guest.is_none_or(Guest::is_initial) {
        return View::NOTHING;
    }
    let mut text = [0u8; 64];
    let name = proc_view::link(Some(c.guest), c"/proc/self/cwd", &mut text);
    name.map_or(View::NOTHING, |name| {
        proc_view::of_name(c.hub, Some(c.guest), name)
    })
}

/// Follows a path that may lead to threads, if it does.
fn follow(c: &Call<'_>, from: View, path: u64) -> Option<Followed> {
    let mut followed = Followed {
        walk: path::walk(from, b"", &program(c)),
        text: [0; path::MAX],
        len: 0,
        is_absolute: false,
    };
    loop {
        let byte = byte(path + followed.len as u64)?;
        if byte == 0 {
            break;
        }
        *followed.text.get_mut(followed.len)? = byte;
        followed.len += 1;
    }
    followed.is_absolute = followed.text[0] == b'/';
    followed.walk = path::walk(from, followed.names(), &program(c));
    let walk = &followed.walk;
    let is_known = !walk.view.is_nothing() || walk.has_guests();
    // A view that a descriptor has was looked at when the descriptor was.
    (is_known && (!followed.is_absolute || proc_view::is_own_namespaces(c.hub, Some(c.guest))))
        .then_some(followed)
}

fn program<'a>(c: &Call<'a>) -> Program<'a> {
    Program {
        hub: c.hub,
        caller: Some(c.guest),
    }
}

/// Makes a call with the argument at `at` a path that the kernel knows.
fn with_known<R>(
    c: &mut Call<'_>,
    followed: &Followed,
    at: usize,
    make: impl FnOnce(&Call<'_>) -> R,
) -> Result<R, i64> {
    let given = c.a[at];
    let mut to = [0u8; path::MAX + 32];
    if followed.walk.has_guests() {
        let prefix = if followed.is_absolute { &PROC[..] } else { &[] };
        let known = followed
            .walk
            .for_kernel(followed.names(), prefix, &program(c), &mut to);
        if known.is_none() {
            return Err(err(libc::ENOENT));
        }
        c.a[at] = to.as_ptr() as u64;
    }
    let made = make(c);
    c.a[at] = given;
    Ok(made)
}

/// The guest's call with the arguments that it has by now.
fn made(c: &Call<'_>) -> i64 {
    // SAFETY: the guest's own call, with a path of the same meaning, on its stack.
    unsafe { elsewhere::make(c.guest, c.frame.rax, c.a) }
}

/// As any other call is made, `ordinary`, that of a path which leads from a guest's directory to
/// what has no view: a FIFO, another file system.
fn beyond(
    c: &mut Call<'_>,
    followed: &Followed,
    at: usize,
    ordinary: impl FnOnce(&Call<'_>) -> Outcome,
) -> Outcome {
    let outcome = with_known(c, followed, at, |c| match ordinary(c) {
        Outcome::Native => Outcome::Done(made(c)),
        outcome => outcome,
    });
    outcome.unwrap_or_else(Outcome::Done)
}

/// A call about the path in the argument at `at`, which is made as `ordinary` does if it does not
/// lead to threads.
#[inline]
pub(super) fn on_path(
    c: &mut Call<'_>,
    directory: i32,
    at: usize,
    ordinary: impl FnOnce(&Call<'_>) -> Outcome,
) -> Outcome {
    match base(c, directory, c.a[at]) {
        Some(from) => on_path_below(c, from, at, ordinary),
        None => ordinary(c),
    }
}

#[cold]
fn on_path_below(
    c: &mut Call<'_>,
    from: View,
    at: usize,
    ordinary: impl FnOnce(&Call<'_>) -> Outcome,
) -> Outcome {
    let Some(followed) = follow(c, from, c.a[at]) else {
        return ordinary(c);
    };
    let walk = &followed.walk;
    let nr = c.frame.rax as i64;
    if walk.is_link {
        return match nr {
            libc::SYS_readlink | libc::SYS_readlinkat => own_link(c, at),
            _ => ordinary(c),
        };
    }
    if walk.view.is_nothing() {
        return beyond(c, &followed, at, ordinary);
    }
    if !walk.has_guests() && buffer(nr).is_none() {
        return ordinary(c);
    }
    let ret = with_known(c, &followed, at, made).unwrap_or_else(|error| error);
    Outcome::Done(with_status(c, walk.view, ret))
}

/// readlink(2) of `/proc/thread-self`, whose path is the argument at `at`.
fn own_link(c: &Call<'_>, at: usize) -> Outcome {
    let (to, size) = (c.a[at + 1], c.a[at + 2]);
    let mut text = [0u8; 32];
    let mut len = 0;
    let (pid, pid_len) = path::decimal(c.hub.pid.get() as u32);
    let (tid, tid_len) = path::decimal(c.guest.tid.get() as u32);
    for part in [&pid[..pid_len], b"/task/", &tid[..tid_len]] {
        text[len..len + part.len()].copy_from_slice(part);
        len += part.len();
    }
    // SAFETY: the guest's own call: that there is such a link, and a size, is the kernel's to say.
    let ret = unsafe { elsewhere::make(c.guest, c.frame.rax, c.a) };
    if ret < 0 {
        return Outcome::Done(ret);
    }
    let len = len.min(size as i32 as usize);
    // SAFETY: the guest's own buffer, of which the kernel would write as much.
    if unsafe { arch::copy(to as *mut u8, text.as_ptr(), len) } {
        Outcome::Done(len as i64)
    } else {
        Outcome::Done(err(libc::EFAULT))
    }
}

/// open(2) and its like of the path in the argument at `at`, which is made as `ordinary` does if
/// it does not lead to threads.
#[inline]
pub(super) fn open(
    c: &mut Call<'_>,
    directory: i32,
    at: usize,
    ordinary: impl FnOnce(&Call<'_>) -> Outcome,
) -> Outcome {
    match base(c, directory, c.a[at]) {
        Some(from) => open_below(c, from, at, ordinary),
        None => ordinary(c),
    }
}

#[cold]
fn open_below(
    c: &mut Call<'_>,
    from: View,
    at: usize,
    ordinary: impl FnOnce(&Call<'_>) -> Outcome,
) -> Outcome {
    let Some(followed) = follow(c, from, c.a[at]) else {
        return ordinary(c);
    };
    if followed.walk.view.is_nothing() {
        return beyond(c, &followed, at, ordinary);
    }
    let fd = with_known(c, &followed, at, made).unwrap_or_else(|error| error);
    if fd >= 0 {
        remember(fd as i32, followed.walk.view);
    }
    Outcome::Done(fd)
}

/// A number that was just opened is of `view`.
fn remember(fd: i32, view: View) {
    let table = fds::table();
    let Some(state) = table.get(fd) else {
        return;
    };
    table.closed(fd);
    state.kind(fd);
    let kind = match view.what {
        What::Nothing => return,
        What::Root | What::Process | What::Tasks | What::Thread => libc::S_IFDIR,
        What::WholeStat | What::Stat | What::Status | What::Comm => libc::S_IFREG,
    };
    // It may be a link itself (O_PATH with O_NOFOLLOW), or something that was mounted there.
    if raw::file_type(fd) == kind && proc_view::is_kernels(fd) {
        state.set_view(view);
    }
    if let Some(kept) = KEPT.get(fd as usize % KEPT.len()) {
        kept.fd.set(-1);
    }
}

/// `new` was made a copy of `old`, which may be of a guest.
pub(super) fn duplicated(old: i32, new: i32) {
    if let Some(view) = known(old) {
        remember(new, view);
    }
}

/// What a number is of, as far as that is known, if it may be of a guest.
#[inline]
pub(super) fn known(fd: i32) -> Option<View> {
    let view = fds::table().known(fd)?.view();
    (!view.is_nothing()).then_some(view)
}

/// The same, if the number is still the file's that it was of.
fn present(fd: i32) -> Option<View> {
    let state = fds::table().known(fd)?;
    if state.view().is_nothing() || state.is_anothers(fd) {
        return None;
    }
    Some(state.view())
}

// --- stat --------------------------------------------------------------------------

/// The argument of a call that is a buffer for a file's status.
fn buffer(nr: i64) -> Option<usize> {
    match nr {
        libc::SYS_stat | libc::SYS_lstat | libc::SYS_fstat => Some(1),
        libc::SYS_newfstatat => Some(2),
        libc::SYS_statx => Some(4),
        _ => None,
    }
}

/// Puts what is a view's own into the status that a call has just written, if it has.
fn with_status(c: &Call<'_>, view: View, ret: i64) -> i64 {
    let Some(at) = buffer(c.frame.rax as i64).filter(|_| ret == 0) else {
        return ret;
    };
    let to = c.a[at];
    let extended = c.frame.rax as i64 == libc::SYS_statx;
    let (inode_at, links_at, size_at) = if extended {
        (
            core::mem::offset_of!(libc::statx, stx_ino),
            core::mem::offset_of!(libc::statx, stx_nlink),
            core::mem::offset_of!(libc::statx, stx_size),
        )
    } else {
        (
            core::mem::offset_of!(libc::stat, st_ino),
            core::mem::offset_of!(libc::stat, st_nlink),
            core::mem::offset_of!(libc::stat, st_size),
        )
    };
    let (inode_at, links_at) = (to + inode_at as u64, to + links_at as u64);
    // SAFETY: fields of the program's own buffer, which the kernel has written.
    let written = unsafe {
        match view.what {
            // Another directory that was mounted there has a size.
            _ if raw::get::<u64>(to + size_at as u64) != Ok(0) => Ok(()),
            What::Tasks if extended => raw::get::<u32>(links_at).and_then(|links| {
                let links = u64::from(links).saturating_sub(LINKS);
                raw::put(links_at, (LINKS as usize + threads(c.hub, links)) as u32)
            }),
            What::Tasks => raw::get::<u64>(links_at).and_then(|links| {
                let links = links.saturating_sub(LINKS);
                raw::put(links_at, LINKS + threads(c.hub, links) as u64)
            }),
            What::Thread if view.tid != c.hub.pid.get() => raw::put(inode_at, inode(view.tid)),
            _ => Ok(()),
        }
    };
    written.err().unwrap_or(ret)
}

/// Links of `/proc/PID/task` besides one for each thread.
const LINKS: u64 = 2;

/// The inode of a guest's directory: another one than any of the kernel's, which counts from 1.
fn inode(tid: i32) -> u64 {
    1 << 40 | tid as u64
}

/// How many threads the program has, where the kernel counts so many.
fn threads(hub: &Hub, kernels: u64) -> usize {
    let ended = usize::from(hub.initial.get().is_null());
    let others = if hub.has_foreign() {
        (kernels as usize).saturating_sub(processor::each().len())
    } else {
        0
    };
    // An initial thread that has ended stays, as a zombie, while others live.
    hub.count() + ended + others
}

// --- files -------------------------------------------------------------------------

/// The text that was made for a number when it was read last: what is read in pieces is one.
struct Kept {
    fd: Cell<i32>,
    view: Cell<View>,
    /// Where a read goes on with it.
    next: Cell<u64>,
    text: UnsafeCell<Text>,
}

// SAFETY: see Synchronization.
unsafe impl Sync for Kept {}

static KEPT: [Kept; 4] = [const {
    Kept {
        fd: Cell::new(-1),
        view: Cell::new(View::NOTHING),
        next: Cell::new(0),
        text: UnsafeCell::new(Text::new()),
    }
}; 4];

/// What the kernel says, before it is written anew; and what a directory lists.
struct Scratch(UnsafeCell<[u8; SCRATCH]>);
const SCRATCH: usize = 16 << 10;

// SAFETY: see Synchronization.
unsafe impl Sync for Scratch {}

static SCRATCH_BYTES: Scratch = Scratch(UnsafeCell::new([0; SCRATCH]));

/// lseek(2) for a guest.
fn position(c: &Call<'_>, fd: i32, offset: i64, whence: i32) -> i64 {
    let a = [fd as u64, offset as u64, whence as u64, 0, 0, 0];
    // SAFETY: no pointers.
    unsafe { elsewhere::make(c.guest, libc::SYS_lseek as u64, a) }
}

/// Reads what the kernel says in a file of `guest`'s from its beginning.
fn read_scratch(c: &Call<'_>, fd: i32) -> i64 {
    let to = SCRATCH_BYTES.0.get();
    let args = |to: *mut u8| [fd as u64, to as u64, SCRATCH as u64, 0, 0, 0];
    if !elsewhere::is_others(libc::SYS_pread64 as u64, &args(to.cast())) {
        // SAFETY: a buffer of ours.
        return unsafe { syscall4(libc::SYS_pread64, fd as u64, to as u64, SCRATCH as u64, 0) };
    }
    // Others run meanwhile, who may use the scratch.
    let own = c.hub.call(c.guest, || {
        let mut bytes = Vec::<u8>::new();
        bytes.try_reserve_exact(SCRATCH).ok()?;
        bytes.resize(SCRATCH, 0);
        Some(Box::into_raw(bytes.into_boxed_slice()))
    });
    let Some(own) = own else {
        return err(libc::ENOMEM);
    };
    let n = offload::run(c.guest, libc::SYS_pread64, args(own.cast()));
    c.hub.call(c.guest, || {
        // SAFETY: the box above, which the read is through with.
        let own = unsafe { Box::from_raw(own) };
        // SAFETY: see Synchronization; the reference ends with the statement.
        unsafe { (&mut *to).copy_from_slice(&own) };
    });
    n
}

/// A read of a file that tells of threads, at the position or at an offset. `None`: the
/// kernel's.
#[inline]
pub(super) fn read(c: &Call<'_>, fd: i32, buffers: &Buffers, offset: Option<u64>) -> Option<i64> {
    known(fd)?;
    read_text(c, fd, buffers, offset)
}

#[cold]
fn read_text(c: &Call<'_>, fd: i32, buffers: &Buffers, offset: Option<u64>) -> Option<i64> {
    let view = present(fd)?;
    let from = match offset {
        Some(offset) => offset as i64,
        None => position(c, fd, 0, libc::SEEK_CUR),
    };
    let from = u64::try_from(from).ok()?;
    let kept = &KEPT[fd as usize % KEPT.len()];
    let goes_on = kept.fd.get() == fd && kept.view.get() == view && kept.next.get() == from;
    if from == 0 || !goes_on {
        let ret = renew(c, fd, view, kept)?;
        if ret < 0 {
            return Some(ret);
        }
    }
    // SAFETY: see Synchronization; the reference ends with the function.
    let text = unsafe { &*kept.text.get() }.bytes();
    let rest = text.get(from as usize..).unwrap_or(&[]);
    let mut done = 0;
    for i in 0..buffers.count() {
        let buffer = buffers.get(i)?;
        let n = buffer.iov_len.min(rest.len() - done);
        // SAFETY: the program's own buffer, which the kernel would write.
        if !unsafe { arch::copy(buffer.iov_base.cast(), rest[done..].as_ptr(), n) } {
            if done == 0 {
                return Some(err(libc::EFAULT));
            }
            break;
        }
        done += n;
    }
    kept.next.set(from + done as u64);
    if offset.is_none() {
        position(c, fd, (from + done as u64) as i64, libc::SEEK_SET);
    }
    Some(done as i64)
}

/// Makes a text anew. A negative result is the read's; `None`: the read is the kernel's.
fn renew(c: &Call<'_>, fd: i32, view: View, kept: &Kept) -> Option<i64> {
    kept.fd.set(-1);
    let to = SCRATCH_BYTES.0.get();
    let n = read_scratch(c, fd);
    if n < 0 {
        return (!raw::is_refused(n)).then_some(n);
    }
    // SAFETY: see Synchronization; the reference ends with the function.
    let kernel = unsafe { &(&*to)[..n as usize] };
    let guest = c.hub.find(view.tid);
    if guest.is_none() && view.tid != c.hub.pid.get() {
        return Some(err(libc::ESRCH));
    }
    let values = values(c, view, guest, kernel);
    // SAFETY: as above.
    let text = unsafe { &mut *kept.text.get() };
    text.clear();
    match view.what {
        What::WholeStat | What::Stat => text::stat(kernel, &values, text),
        What::Status => text::status(kernel, &values, text),
        What::Comm => text::comm(&values, text),
        _ => return None,
    }
    .ok()?;
    kept.fd.set(fd);
    kept.view.set(view);
    kept.next.set(0);
    Some(0)
}

/// What the kernel's text gets: of `guest`, or of an initial thread that has ended.
fn values(c: &Call<'_>, view: View, guest: Option<&'static Guest>, kernel: &[u8]) -> Values {
    let (mut ignored, mut caught) = (0, 0);
    for number in 1..=signal::LAST {
        match signal::view(number).handler as usize {
            libc::SIG_DFL => {}
            libc::SIG_IGN => ignored |= signal::bit(number),
            _ => caught |= signal::bit(number),
        }
    }
    let mut values = Values {
        tid: view.tid,
        name: None,
        state: b'Z',
        threads: threads(c.hub, text::threads(kernel).unwrap_or(0)),
        times: None,
        pending: 0,
        pending_of_process: 0,
        blocked: 0,
        ignored,
        caught,
        policy: None,
        nice: None,
    };
    let Some(guest) = guest else {
        return values;
    };
    values.name = Some(guest.name.get());
    values.state = match guest.state.get() {
        State::Parked => b'S',
        _ => b'R',
    };
    (values.pending, values.pending_of_process) = signal::pending_apart(guest);
    values.blocked = guest.signal.mask();
    if view.what == What::Stat {
        values.times = text::times(kernel).map(|(user, system)| {
            let used = cpu_clock::used(c.guest, guest);
            let (user, system) = guest.cpu.split(used, user, system);
            (user / TICK, system / TICK)
        });
    }
    let given = &guest.sched;
    values.policy = given.policy.get();
    values.nice = given.nice.get();
    values
}

/// Nanoseconds of a clock tick (USER_HZ is 100 on every machine of this kind).
const TICK: u64 = raw::NS_PER_S / 100;

/// A write of a name. `None`: the kernel's.
#[inline]
pub(super) fn write(c: &Call<'_>, fd: i32, buffers: &Buffers) -> Option<i64> {
    known(fd)?;
    write_name(c, fd, buffers)
}

#[cold]
fn write_name(c: &Call<'_>, fd: i32, buffers: &Buffers) -> Option<i64> {
    let view = present(fd).filter(|view| view.what == What::Comm)?;
    let flags = raw::status_flags(fd) as i32;
    if flags & libc::O_ACCMODE == libc::O_RDONLY {
        return None;
    }
    let Some(guest) = c.hub.find(view.tid) else {
        return (view.tid != c.hub.pid.get()).then_some(err(libc::ESRCH));
    };
    let mut done = 0;
    // A buffer after the other, as the kernel writes to files that know no arrays, until all is
    // written.
    for i in 0..buffers.count() {
        if i > 0 && done == buffers.total() as i64 {
            break;
        }
        let buffer = buffers.get(i)?;
        let mut name = [0u8; 16];
        let len = buffer.iov_len.min(name.len() - 1);
        // SAFETY: the program's own buffer, which the kernel would read.
        if !unsafe { arch::copy(name.as_mut_ptr(), buffer.iov_base.cast(), len) } {
            return Some(if done > 0 { done } else { err(libc::EFAULT) });
        }
        if let Some(end) = name.iter().position(|&byte| byte == 0) {
            name[end..].fill(0);
        }
        guest.name.set(name);
        done += buffer.iov_len as i64;
    }
    if guest.is_initial() {
        // The kernel thread is called what the initial thread is called.
        // SAFETY: the guest's own call.
        return Some(unsafe { elsewhere::make(c.guest, c.frame.rax, c.a) });
    }
    Some(done)
}

// --- descriptors -------------------------------------------------------------------

/// A call about a descriptor in its first argument, if that leads to threads. `None`: the
/// kernel's.
#[inline]
pub(super) fn on_descriptor(c: &mut Call<'_>) -> Option<Outcome> {
    let fd = c.fd(0);
    match c.frame.rax as i64 {
        libc::SYS_fstat => {
            known(fd)?;
            let view = present(fd)?;
            // SAFETY: the guest's own call.
            let ret = unsafe { elsewhere::make(c.guest, c.frame.rax, c.a) };
            Some(Outcome::Done(with_status(c, view, ret)))
        }
        libc::SYS_getdents | libc::SYS_getdents64 => {
            let state = fds::table().of_call(fd)?;
            state.kind(fd);
            if state.view().what != What::Tasks || present(fd).is_none() {
                return None;
            }
            list(c, fd).map(Outcome::Done)
        }
        _ => None,
    }
}

/// getdents64(2) and getdents(2) of `/proc/PID/task`. `None`: the kernel's.
fn list(c: &Call<'_>, fd: i32) -> Option<i64> {
    let format = if c.frame.rax as i64 == libc::SYS_getdents {
        Format::Old
    } else {
        Format::Of64
    };
    let from = position(c, fd, 0, libc::SEEK_CUR);
    if from < 0 {
        return (!raw::is_refused(from)).then_some(from);
    }
    let room = (c.a[2] as u32 as usize).min(SCRATCH);
    let filled = c.hub.call(c.guest, || {
        let entries = entries(c.hub, fd, from, room)?;
        // SAFETY: see Synchronization; the reference ends with the statement.
        let to = unsafe { &mut (&mut *SCRATCH_BYTES.0.get())[..room] };
        listing::fill(&entries, from, format, to)
    });
    let (len, next) = match filled {
        Ok(filled) => filled,
        Err(error) => return Some(error),
    };
    // SAFETY: bytes of ours to the program's own buffer, which the kernel would write.
    if !unsafe { arch::copy(c.a[1] as *mut u8, SCRATCH_BYTES.0.get().cast(), len) } {
        return Some(err(libc::EFAULT));
    }
    let moved = position(c, fd, next, libc::SEEK_SET);
    Some(if moved < 0 { moved } else { len as i64 })
}

/// The entries of the directory behind a position, in their order, as many as may fit in `room`.
/// Host mode.
fn entries(hub: &Hub, fd: i32, position: i64, room: usize) -> Result<Vec<Entry>, i64> {
    let mut entries = Vec::new();
    let mut add = |entry: Entry| {
        if entry.next() <= position {
            return Ok(());
        }
        entries
            .try_reserve(1)
            .map_err(|_| err(libc::ENOMEM))
            .map(|()| entries.push(entry))
    };
    let of = |name: &core::ffi::CStr| {
        // SAFETY: all zero is a valid one.
        let mut stat: libc::stat = unsafe { core::mem::zeroed() };
        let to = &raw mut stat as u64;
        // SAFETY: a name and a variable of ours.
        unsafe { syscall4(libc::SYS_newfstatat, fd as u64, name.as_ptr() as u64, to, 0) };
        // It cannot be zero for a name that is there.
        stat.st_ino.max(1)
    };
    let pid = hub.pid.get();
    let mut name = [0u8; 16];
    let (digits, len) = path::decimal(pid as u32);
    name[..len].copy_from_slice(&digits[..len]);
    let initial = core::ffi::CStr::from_bytes_until_nul(&name).unwrap_or(c".");
    for (tid, name) in [(Entry::HERE, c"."), (Entry::ABOVE, c".."), (pid, initial)] {
        let entry = Entry { inode: 0, tid };
        if entry.next() > position {
            add(Entry {
                inode: of(name),
                ..entry
            })?;
        }
    }
    for guest in hub.guests().filter(|guest| !guest.is_initial()) {
        let tid = guest.tid.get();
        let inode = inode(tid);
        add(Entry { inode, tid })?;
    }
    if hub.has_foreign() {
        add_foreign(fd, position, &mut add)?;
    }
    // One that does not fit is left, so that an error can be told from the end.
    let most = room / listing::LEAST + 1;
    if entries.len() > most {
        entries.select_nth_unstable_by_key(most, |entry| entry.tid);
        entries.truncate(most);
    }
    entries.sort_unstable_by_key(|entry| entry.tid);
    Ok(entries)
}

/// lseek(2) in host mode.
fn seek(fd: i32, offset: i64) {
    // SAFETY: no pointers.
    unsafe {
        syscall3(
            libc::SYS_lseek,
            fd as u64,
            offset as u64,
            libc::SEEK_SET as u64,
        )
    };
}

/// Adds the kernel threads that run no guests.
fn add_foreign(
    fd: i32,
    from: i64,
    add: &mut impl FnMut(Entry) -> Result<(), i64>,
) -> Result<(), i64> {
    seek(fd, 0);
    let added = loop {
        let mut listed = [0u8; 4096];
        let (to, size) = (listed.as_mut_ptr() as u64, listed.len() as u64);
        // SAFETY: a buffer of ours.
        let n = unsafe { syscall3(libc::SYS_getdents64, fd as u64, to, size) };
        if n <= 0 {
            break Ok(());
        }
        let runs_guests = |&tid: &i32| processor::each().iter().any(|of| of.kernel_tid() == tid);
        let others = listing::ids(&listed[..n as usize]).filter(|tid| !runs_guests(tid));
        let entry = |tid| Entry {
            inode: inode(tid),
            tid,
        };
        if let Err(error) = others.map(entry).try_for_each(&mut *add) {
            break Err(error);
        }
    };
    seek(fd, from);
    added
}
