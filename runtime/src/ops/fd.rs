//! read, write and their vectors on whatever a descriptor may be; close and dup.
//!
//! The try is `preadv2`/`pwritev2` with RWF_NOWAIT, which sockets, pipes,
//! eventfds, timerfds and regular files know. What does not know it (inotify, most
//! devices) answers EOPNOTSUPP and is asked with poll(2) first.
#![allow(unsafe_code)]

use io_uring::{opcode, types};
use patch_events::numbers;

use super::iov::Buffers;
use super::wait::{Direction, Limit, Place, Ready, readiness, send_all, transfer};
use super::{Call, Outcome, lock, net, offloaded, owner, proc_view, send, thread, tty};
use crate::arch::{syscall, syscall1, syscall3};
use crate::guest::OnRing;
use crate::hub::Hub;
use crate::mounts;
use crate::offload;
use crate::private;
use crate::raw::{self, ERESTARTSYS, err};
use crate::reactor::fds::{self, Kind};
use crate::sandbox::elsewhere;

/// "At the file position", for preadv2, pwritev2 and io_uring.
const HERE: u64 = u64::MAX;

/// Answers -EOPNOTSUPP where the try itself is refused, as by a filter of system calls: the
/// program's own call is to be made.
fn try_read(fd: i32, iov: *const libc::iovec, count: usize, offset: u64) -> i64 {
    // SAFETY: the guest's buffers, as the guest's own call names them.
    unless_refused(unsafe {
        syscall(
            libc::SYS_preadv2 as u64,
            [
                fd as u64,
                iov as u64,
                count as u64,
                offset,
                0,
                libc::RWF_NOWAIT as u64,
            ],
        )
    })
}

/// As [`try_read`].
fn try_write(fd: i32, iov: *const libc::iovec, count: usize) -> i64 {
    // SAFETY: as in `try_read`.
    unless_refused(unsafe {
        syscall(
            libc::SYS_pwritev2 as u64,
            [
                fd as u64,
                iov as u64,
                count as u64,
                HERE,
                0,
                libc::RWF_NOWAIT as u64,
            ],
        )
    })
}

fn unless_refused(ret: i64) -> i64 {
    if raw::is_refused(ret) {
        err(libc::EOPNOTSUPP)
    } else {
        ret
    }
}

fn kind(fd: i32) -> Kind {
    let state = fds::table().of_call(fd);
    match state.map(|state| state.kind(fd)) {
        // What is done with these would wait for a pipe, and the hub with it.
        Some(Kind::Regular | Kind::Bottomless | Kind::Terminal) if fds::is_doubted() => {
            let state = fds::table().of_call_at_once(fd);
            state.map_or(Kind::Other, |state| state.kind(fd))
        }
        kind => kind.unwrap_or(Kind::Other),
    }
}

/// The kind of a descriptor that is no socket, where one was expected.
fn kind_again(fd: i32) -> Kind {
    fds::table().closed(fd);
    kind(fd)
}

/// Waits until poll(2) says that a descriptor without RWF_NOWAIT is ready, and
/// then makes the guest's own call.
fn poll_first(c: &Call<'_>, fd: i32, events: i16) -> Outcome {
    let place = Place::new(fd);
    loop {
        let ready = raw::poll_now(place.fd(), events);
        if raw::is_refused(ready) && !raw::is_nonblocking(place.fd()) {
            return offloaded::wait_untried(c);
        }
        if ready != 0 || raw::is_nonblocking(place.fd()) {
            match tty::call(c, place.fd()) {
                Some(ret) => return Outcome::Done(ret),
                None => continue,
            }
        }
        match readiness(c, &place, events as u32, None) {
            Ready::Yes | Ready::Timeout => {}
            Ready::Signal => return Outcome::Done(ERESTARTSYS),
            Ready::Never => return Outcome::Native,
        }
    }
}

/// From so many bytes on a read of /dev/urandom computes for milliseconds.
const MANY_DEVICE_BYTES: usize = 1 << 20;

fn read_some(c: &mut Call<'_>, buffers: Option<Buffers>) -> Outcome {
    let fd = c.fd(0);
    let Some(buffers) = buffers.filter(|buffers| buffers.total() > 0) else {
        return Outcome::Native;
    };
    let (iov, count) = buffers.array();
    let total = buffers.total();
    match kind(fd) {
        Kind::Regular => {
            if let Some(ret) = proc_view::read(c, fd, &buffers, None) {
                return Outcome::Done(ret);
            }
            let first = try_read(fd, iov, count, HERE);
            if first == total as i64
                || first <= 0 && first != err(libc::EAGAIN) && first != err(libc::EOPNOTSUPP)
            {
                return Outcome::Done(first);
            }
            if first == err(libc::EOPNOTSUPP) {
                return Outcome::Done(offload::run(c.guest, c.frame.rax as i64, c.a));
            }
            // A part may be in the page cache and the rest not: a blocking read
            // returns all of it.
            let done = first.max(0) as usize;
            return Outcome::Done(read_rest(c, fd, &buffers, done, HERE));
        }
        Kind::Terminal => return tty::read(c, &buffers),
        // Tries would be cut short where somebody else wants the processor.
        Kind::Bottomless if total >= MANY_DEVICE_BYTES => return offloaded::hand_over(c),
        Kind::Bottomless => return Outcome::Done(read_device(c, fd, &buffers)),
        _ => {}
    }
    let entry = match (count, buffers.get(0)) {
        (1, Some(one)) => opcode::Read::new(
            types::Fd(fd),
            one.iov_base.cast(),
            one.iov_len.min(u32::MAX as usize) as u32,
        )
        .offset(HERE)
        .build(),
        _ => opcode::Readv::new(types::Fd(fd), iov, count as u32)
            .offset(HERE)
            .build(),
    };
    match transfer(
        c,
        fd,
        Direction::In,
        Some((entry, opcode::Read::CODE)),
        total,
        &Limit::default(),
        |fd| try_read(fd, iov, count, HERE),
    ) {
        Some(ret) if ret == err(libc::EOPNOTSUPP) => poll_first(c, fd, libc::POLLIN),
        Some(ret) => Outcome::Done(ret),
        None => Outcome::Native,
    }
}

/// Reads a part of a regular file that has to come from the disk. As bare, no signal
/// ends that.
fn read_slowly(c: &Call<'_>, fd: i32, iov: *const libc::iovec, n: usize, at: u64) -> i64 {
    let entry = opcode::Readv::new(types::Fd(fd), iov, n as u32)
        .offset(at)
        .build();
    // io_uring would not hold the file position for other readers of the description, and
    // waits for a FUSE server while it takes the entry.
    if at != HERE
        && !mounts::is_slow_file(c.guest, fd)
        // SAFETY: the reference ends with the statement.
        && unsafe { c.hub.reactor() }.submit(c.guest, fd, entry, OnRing::Once)
    {
        offload::wait_in_flight(c.guest);
        let ret = c.guest.result.get();
        // Nobody cancels it but who gives the ring up.
        if ret != err(libc::ECANCELED) {
            return ret;
        }
    }
    offload::run(
        c.guest,
        libc::SYS_preadv2,
        [fd as u64, iov as u64, n as u64, at, 0, 0],
    )
}

/// Reads what is left of a regular file's read, off the hub.
fn read_rest(c: &Call<'_>, fd: i32, buffers: &Buffers, mut done: usize, offset: u64) -> i64 {
    while done < buffers.total() {
        let rest = buffers.rest(done);
        let (iov, n) = rest.array();
        let at = if offset == HERE {
            HERE
        } else {
            offset + done as u64
        };
        let mut ret = try_read(fd, iov, n, at);
        if ret == err(libc::EAGAIN) || ret == err(libc::EOPNOTSUPP) {
            ret = read_slowly(c, fd, iov, n, at);
        }
        if ret <= 0 {
            return if done > 0 { done as i64 } else { ret };
        }
        done += ret as usize;
    }
    done as i64
}

/// Reads a device that has as much as anybody asks for. Only a signal makes such a read
/// short: it goes on if the signal is not this guest's.
fn read_device(c: &Call<'_>, fd: i32, buffers: &Buffers) -> i64 {
    let mut done = 0;
    loop {
        let rest = buffers.rest(done);
        let (iov, count) = rest.array();
        let mut ret = c.hub.unlocked(|| {
            // SAFETY: the guest's buffers, as the guest's own call names them.
            unsafe { syscall3(libc::SYS_readv, fd as u64, iov as u64, count as u64) }
        });
        if done == 0 && raw::is_refused(ret) {
            // SAFETY: the guest's own call.
            ret = c.hub.unlocked(|| unsafe { syscall(c.frame.rax, c.a) });
            return if ret == err(libc::EINTR) {
                ERESTARTSYS
            } else {
                ret
            };
        }
        if ret <= 0 && ret != err(libc::EINTR) {
            return if done > 0 { done as i64 } else { ret };
        }
        done += ret.max(0) as usize;
        if done >= buffers.total() {
            return done as i64;
        }
        if c.hub.has_signal(c.guest) {
            return if done > 0 { done as i64 } else { ERESTARTSYS };
        }
    }
}

fn write_all(c: &mut Call<'_>, buffers: Option<Buffers>) -> Outcome {
    let fd = c.fd(0);
    let Some(buffers) = buffers else {
        return Outcome::Native;
    };
    if buffers.total() == 0 {
        // A name may be empty. With an array the kernel does not come to the file.
        return match c.frame.rax as i64 {
            libc::SYS_write => {
                proc_view::write(c, fd, &buffers).map_or(Outcome::Native, Outcome::Done)
            }
            _ => Outcome::Native,
        };
    }
    match kind(fd) {
        // It goes to the page cache, unless it may not.
        Kind::Regular => {
            return match proc_view::write(c, fd, &buffers) {
                Some(ret) => Outcome::Done(ret),
                None => slow_write(c).unwrap_or(Outcome::Native),
            };
        }
        Kind::Terminal => return tty::write(c, &buffers),
        Kind::Bottomless => return Outcome::Native,
        _ => {}
    }
    let write = |fd: i32, done: usize| {
        let rest = buffers.rest(done);
        let (iov, count) = rest.array();
        try_write(fd, iov, count)
    };
    let first = write(fd, 0);
    if first == buffers.total() as i64 {
        return Outcome::Done(first);
    }
    if first == err(libc::EOPNOTSUPP) {
        // A pipe takes a part only where a signal comes between.
        return match kind(fd) {
            Kind::Pipe => tty::write(c, &buffers),
            _ => poll_first(c, fd, libc::POLLOUT),
        };
    }
    if first < 0 && first != err(libc::EAGAIN) {
        return Outcome::Done(first);
    }
    let mut first = Some(first);
    let sent = send_all(c, fd, buffers.total(), |fd, done| {
        first.take().unwrap_or_else(|| write(fd, done))
    });
    match sent {
        Some(ret) => Outcome::Done(ret),
        None => Outcome::Native,
    }
}

/// The array of readv(2) and its like.
fn array(c: &Call<'_>) -> Option<Buffers> {
    Buffers::of(c.a[1], c.a[2] as usize)
}

/// read(2).
///
/// # Safety
/// Operations are called by dispatch with a guest's present call.
pub unsafe fn read(c: &mut Call<'_>) -> Outcome {
    if c.a[2] != 0 && kind(c.fd(0)).is_socket() {
        match net::receive(c, c.a[1], c.a[2]) {
            Outcome::Done(ret) if raw::is_refused(ret) => {
                return poll_first(c, c.fd(0), libc::POLLIN);
            }
            Outcome::Done(ret)
                if ret == err(libc::ENOTSOCK) && !kind_again(c.fd(0)).is_socket() => {}
            outcome => return outcome,
        }
    }
    let iov = libc::iovec {
        iov_base: c.a[1] as *mut _,
        iov_len: c.a[2] as usize,
    };
    read_some(c, Some(Buffers::one(&iov)))
}

/// readv(2).
///
/// # Safety
/// As [`read`].
pub unsafe fn readv(c: &mut Call<'_>) -> Outcome {
    read_some(c, array(c))
}

/// write(2).
///
/// # Safety
/// As [`read`].
pub unsafe fn write(c: &mut Call<'_>) -> Outcome {
    let iov = libc::iovec {
        iov_base: c.a[1] as *mut _,
        iov_len: c.a[2] as usize,
    };
    if c.a[2] != 0 && kind(c.fd(0)).is_socket() {
        match send::send(c, c.a[1], c.a[2]) {
            Outcome::Done(ret) if raw::is_refused(ret) => {
                return tty::write(c, &Buffers::one(&iov));
            }
            Outcome::Done(ret)
                if ret == err(libc::ENOTSOCK) && !kind_again(c.fd(0)).is_socket() => {}
            outcome => return outcome,
        }
    }
    write_all(c, Some(Buffers::one(&iov)))
}

/// writev(2).
///
/// # Safety
/// As [`read`].
pub unsafe fn writev(c: &mut Call<'_>) -> Outcome {
    write_all(c, array(c))
}

fn read_at(c: &mut Call<'_>, buffers: Option<Buffers>, offset: u64) -> Outcome {
    let fd = c.fd(0);
    let Some(buffers) = buffers.filter(|b| b.total() > 0 && offset as i64 != -1) else {
        return Outcome::Native;
    };
    if let Some(ret) = proc_view::read(c, fd, &buffers, Some(offset)) {
        return Outcome::Done(ret);
    }
    let (iov, count) = buffers.array();
    let first = try_read(fd, iov, count, offset);
    // Files of proc(5) answer so; others are not asked what they are.
    if first == err(libc::EOPNOTSUPP)
        && kind(fd) == Kind::Regular
        && let Some(ret) = proc_view::read(c, fd, &buffers, Some(offset))
    {
        return Outcome::Done(ret);
    }
    if first == buffers.total() as i64
        || first <= 0 && first != err(libc::EAGAIN) && first != err(libc::EOPNOTSUPP)
    {
        return Outcome::Done(first);
    }
    if first == err(libc::EOPNOTSUPP) {
        return Outcome::Done(offload::run(c.guest, c.frame.rax as i64, c.a));
    }
    Outcome::Done(read_rest(c, fd, &buffers, first.max(0) as usize, offset))
}

/// pread64(2).
///
/// # Safety
/// As [`read`].
pub unsafe fn pread64(c: &mut Call<'_>) -> Outcome {
    let iov = libc::iovec {
        iov_base: c.a[1] as *mut _,
        iov_len: c.a[2] as usize,
    };
    read_at(c, Some(Buffers::one(&iov)), c.a[3])
}

/// preadv(2).
///
/// # Safety
/// As [`read`].
pub unsafe fn preadv(c: &mut Call<'_>) -> Outcome {
    read_at(c, array(c), c.a[3])
}

/// preadv2(2) without flags: readv(2) at the file position, preadv(2) elsewhere.
/// With flags the program says itself how it wants to wait.
///
/// # Safety
/// As [`read`].
pub unsafe fn preadv2(c: &mut Call<'_>) -> Outcome {
    match (c.a[5], c.a[3]) {
        (0, HERE) => read_some(c, array(c)),
        (0, offset) => read_at(c, array(c), offset),
        _ => Outcome::Native,
    }
}

/// pwrite64(2) and pwritev(2).
///
/// # Safety
/// As [`read`].
pub unsafe fn write_at(c: &mut Call<'_>) -> Outcome {
    if kind(c.fd(0)) != Kind::Regular {
        return Outcome::Native;
    }
    slow_write(c).unwrap_or(Outcome::Native)
}

/// pwritev2(2) without flags at the file position: writev(2).
///
/// # Safety
/// As [`read`].
pub unsafe fn pwritev2(c: &mut Call<'_>) -> Outcome {
    match (c.a[5], c.a[3]) {
        (0, HERE) => write_all(c, array(c)),
        (flags, _) if flags & (libc::RWF_DSYNC | libc::RWF_SYNC) as u64 != 0 => {
            offloaded::hand_over_uninterrupted(c)
        }
        // SAFETY: as here.
        (0, _) => unsafe { write_at(c) },
        _ => Outcome::Native,
    }
}

/// A write to a regular file that waits for the disk, or for a server.
fn slow_write(c: &Call<'_>) -> Option<Outcome> {
    let fd = c.fd(0);
    let synchronous = fds::table().get(fd)?.is_synchronous(fd);
    (synchronous || mounts::is_slow_file(c.guest, fd))
        .then(|| offloaded::hand_over_uninterrupted(c))
}

/// close(2): what was registered for the number is not its successor's.
///
/// # Safety
/// As [`read`].
pub unsafe fn close(c: &mut Call<'_>) -> Outcome {
    let fd = c.fd(0);
    if private::is_ours(fd) {
        return Outcome::Done(err(libc::EBADF));
    }
    // Asked while the number still has its state.
    let lingers = fds::table().get(fd).is_some_and(|state| state.lingers(fd));
    abandon_number(c.hub, fd);
    if lingers || mounts::is_slow_file(c.guest, fd) {
        return offloaded::hand_over(c);
    }
    Outcome::Native
}

/// What is to be done before the program closes a number.
fn abandon_number(hub: &Hub, fd: i32) {
    // SAFETY: the reference ends with the statement.
    unsafe { hub.reactor() }.settle(fd);
    if let Some(kept) = fds::table().keep_for_waiters(fd) {
        // A failure leaves the waits without events, which a signal still ends.
        // SAFETY: the reference ends with the statement.
        let _ = unsafe { hub.reactor() }.arm(kept);
    }
    fds::table().closed(fd);
}

/// close(2) of a foreign thread, on the hub. `None`: the number is settled, and the caller is
/// to close it itself, which may take long; [`closed_elsewhere`] follows.
pub fn close_here(hub: &Hub, fd: i32) -> Option<i64> {
    if private::is_ours(fd) {
        return Some(err(libc::EBADF));
    }
    let state = fds::table().get(fd);
    let slow = state.is_none_or(|state| {
        matches!(state.kind(fd), Kind::Regular | Kind::Other) || state.lingers(fd)
    });
    abandon_number(hub, fd);
    // SAFETY: no pointers.
    (!slow).then(|| unsafe { syscall1(libc::SYS_close, fd as u64) })
}

/// A foreign thread has closed a number itself. A guest that used it meanwhile has made its
/// kind known again.
pub fn closed_elsewhere(fd: i32) {
    if fds::table()
        .get(fd)
        .is_some_and(|state| matches!(state.known_kind(), Some(Kind::Regular | Kind::Other)))
    {
        fds::table().closed(fd);
    }
}

/// What dup2(2) and dup3(2) need before they are made, or their result.
pub fn before_dup2(hub: &Hub, old: i32, new: i32) -> Option<i64> {
    if private::is_ours(old) {
        return Some(err(libc::EBADF));
    }
    if private::is_ours(new) {
        if numbers::as_program(numbers::limits).is_some_and(|(soft, _)| soft <= new as u64) {
            // The kernel's own answer is that of any number beyond the limit.
            return None;
        }
        // Ours cannot move away: the ring keeps its number. As dup2(2) says of a number that
        // is being opened elsewhere.
        return Some(err(libc::EBUSY));
    }
    if old != new {
        abandon_number(hub, new);
    }
    None
}

/// Whether a call changes the status flags of a description.
pub fn changes_flags(nr: i64, a: [u64; 6]) -> bool {
    match nr {
        libc::SYS_fcntl => a[1] as i32 == libc::F_SETFL,
        libc::SYS_ioctl => a[1] == libc::FIONBIO,
        _ => false,
    }
}

/// dup2(2) and dup3(2).
///
/// # Safety
/// As [`read`].
pub unsafe fn dup2(c: &mut Call<'_>) -> Outcome {
    if let Some(ret) = before_dup2(c.hub, c.fd(0), c.fd(1)) {
        return Outcome::Done(ret);
    }
    duplicate(c)
}

/// Makes a call that copies the descriptor in its first argument.
fn duplicate(c: &Call<'_>) -> Outcome {
    let old = c.fd(0);
    if proc_view::known(old).is_none() {
        return Outcome::Native;
    }
    // SAFETY: the guest's own call, without pointers.
    let new = unsafe { elsewhere::make(c.guest, c.frame.rax, c.a) };
    if new >= 0 && new != i64::from(old) {
        proc_view::duplicated(old, new as i32);
    }
    Outcome::Done(new)
}

/// dup(2).
///
/// # Safety
/// As [`read`].
pub unsafe fn dup(c: &mut Call<'_>) -> Outcome {
    duplicate(c)
}

/// fcntl(2): changed flags must be asked again.
///
/// # Safety
/// As [`read`].
pub unsafe fn fcntl(c: &mut Call<'_>) -> Outcome {
    // SAFETY: the guest's own call.
    if let Some(outcome) = unsafe { lock::record(c).or_else(|| owner::fcntl(c)) } {
        return outcome;
    }
    if changes_flags(libc::SYS_fcntl, c.a) {
        fds::table().flags_change();
    }
    match c.a[1] as i32 {
        libc::F_DUPFD | libc::F_DUPFD_CLOEXEC => duplicate(c),
        _ => Outcome::Native,
    }
}

/// SECCOMP_IOCTL_NOTIF_RECV of seccomp_unotify(2).
const NOTIF_RECV: u64 = 0xc050_2100;

/// ioctl(2): FIONBIO changes flags; who answers for a filter of system calls waits for calls of
/// other threads.
///
/// # Safety
/// As [`read`].
pub unsafe fn ioctl(c: &mut Call<'_>) -> Outcome {
    // SAFETY: the guest's own call.
    if let Some(outcome) = unsafe { owner::ioctl(c) } {
        return outcome;
    }
    if changes_flags(libc::SYS_ioctl, c.a) {
        fds::table().flags_change();
    }
    if c.a[1] == NOTIF_RECV {
        return offloaded::wait_for_others(c, || raw::poll_now(c.fd(0), libc::POLLIN) > 0);
    }
    Outcome::Native
}

/// close_range(2), around our own descriptors.
///
/// # Safety
/// As [`read`].
pub unsafe fn close_range(c: &mut Call<'_>) -> Outcome {
    if c.a[2] & u64::from(UNSHARE) != 0 && c.a[0] as u32 <= c.a[1] as u32 {
        let ret = thread::unshare_descriptors(c);
        if ret != 0 {
            return Outcome::Done(ret);
        }
    }
    close_range_here(c.hub, c.a).map_or(Outcome::Native, Outcome::Done)
}

/// Gives the caller a table of descriptors of its own first (close_range(2)).
const UNSHARE: u32 = libc::CLOSE_RANGE_UNSHARE;

/// As [`close_range`], for whoever calls. `None`: it is the kernel's.
pub fn close_range_here(hub: &Hub, a: [u64; 6]) -> Option<i64> {
    let (first, last, flags) = (a[0] as u32, a[1] as u32, a[2]);
    if first > last || flags & !u64::from(UNSHARE | libc::CLOSE_RANGE_CLOEXEC) != 0 {
        return None;
    }
    // Guests that run on one kernel thread have one table, and nobody else has it unless it is
    // shared with another process: then it is for the caller to see to that.
    let flags = flags & !u64::from(UNSHARE);
    if flags == 0 {
        for fd in first..=last.min(first.saturating_add(1 << 16)) {
            abandon_number(hub, fd as i32);
        }
    }
    Some(close_around_ours(first, last, flags))
}

/// close_range(2) of all numbers but ours, in the caller's table.
pub fn close_around_ours(first: u32, last: u32, flags: u64) -> i64 {
    let mut from = first;
    loop {
        let ours = private::lowest_from(from)
            .map(|fd| fd as u32)
            .filter(|&fd| fd <= last);
        let upto = ours.map_or(last, |fd| fd.wrapping_sub(1));
        if ours != Some(from) {
            // SAFETY: no pointers.
            let ret = unsafe { syscall3(libc::SYS_close_range, from as u64, upto as u64, flags) };
            if ret != 0 {
                return ret;
            }
        }
        match ours {
            Some(fd) if fd < last => from = fd + 1,
            _ => return 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::arch::syscall1;
    use crate::private;

    #[test]
    fn our_numbers_survive_a_close_range() {
        // SAFETY: a descriptor of this test.
        let high = private::open(|| unsafe { syscall1(libc::SYS_epoll_create1, 0) }) as i32;
        assert!(private::is_ours(high));
        assert_eq!(private::lowest_from(0), Some(high));
        private::close(high);
        assert!(!private::is_ours(high));
    }
}
