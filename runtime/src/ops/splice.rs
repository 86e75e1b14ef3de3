//! Moving data between descriptors: splice, tee, vmsplice, sendfile.
//!
//! Pipes are asked not to wait by `SPLICE_F_NONBLOCK`. A socket knows only its own
//! O_NONBLOCK here, which is set for just the one call, on the hub.
#![allow(unsafe_code)]

use super::wait::{Direction, Place, Ready, readiness, socket_timeout};
use super::{Call, Outcome};
use crate::arch::{syscall, syscall4};
use crate::raw::{self, ERESTARTSYS, err};
use crate::reactor::fds::{self, Kind};

const NONBLOCK: u64 = libc::SPLICE_F_NONBLOCK as u64;

fn kind(fd: i32) -> Kind {
    fds::table()
        .of_call_at_once(fd)
        .map_or(Kind::Other, |state| state.kind(fd))
}

fn is_socket(fd: i32) -> bool {
    kind(fd).is_socket()
}

/// Makes a call while `fd`, if it is a socket, does not wait.
fn without_waiting(fd: i32, call: impl FnOnce() -> i64) -> i64 {
    if !is_socket(fd) {
        return call();
    }
    let flags = raw::status_flags(fd);
    if flags < 0 || flags & libc::O_NONBLOCK as i64 != 0 {
        return call();
    }
    raw::set_status_flags(fd, flags | libc::O_NONBLOCK as i64);
    let ret = call();
    raw::set_status_flags(fd, flags);
    ret
}

/// One end of a transfer.
struct End {
    place: Place,
    direction: Direction,
    /// Its own time-out has begun to count.
    deadline: Option<Option<u64>>,
}

impl End {
    fn new(fd: i32, direction: Direction) -> Self {
        End {
            place: Place::new(fd),
            direction,
            deadline: None,
        }
    }

    fn fd(&self) -> i32 {
        self.place.fd()
    }

    fn events(&self) -> i32 {
        match self.direction {
            Direction::In => libc::POLLIN as i32,
            Direction::Out => libc::POLLOUT as i32,
        }
    }

    fn is_ready(&self) -> bool {
        raw::poll_now(self.fd(), self.events() as i16) != 0
    }

    /// Parks until it may be ready. `Err`: what the call returns instead, if nothing has
    /// been moved; `None` for "as the kernel says".
    fn wait(&mut self, c: &Call<'_>, pipes_wait: bool) -> Result<(), Option<i64>> {
        let socket = is_socket(self.fd());
        // Of the sockets only AF_UNIX ones look at SPLICE_F_NONBLOCK, for reading.
        let as_pipe = !socket
            || self.direction == Direction::In
                && raw::socket_option(self.fd(), libc::SO_DOMAIN) == libc::AF_UNIX;
        if as_pipe && !pipes_wait || raw::is_nonblocking(self.fd()) {
            return Err(Some(err(libc::EAGAIN)));
        }
        let (fd, direction) = (self.fd(), self.direction);
        let deadline = *self.deadline.get_or_insert_with(|| {
            let state = fds::table().get(fd).filter(|_| socket)?;
            let ns = socket_timeout(fd, state, direction)?;
            Some(raw::now().saturating_add(ns))
        });
        match readiness(c, &self.place, self.events() as u32, deadline) {
            Ready::Yes => Ok(()),
            Ready::Timeout => Err(Some(err(libc::EAGAIN))),
            Ready::Signal if deadline.is_some() => Err(Some(err(libc::EINTR))),
            Ready::Signal => Err(Some(ERESTARTSYS)),
            Ready::Never => Err(None),
        }
    }
}

fn result(done: u64, otherwise: Option<i64>) -> Outcome {
    match otherwise {
        _ if done > 0 => Outcome::Done(done as i64),
        Some(ret) => Outcome::Done(ret),
        None => Outcome::Native,
    }
}

/// Waits for the end that keeps a transfer back. Neither: somebody else was quicker.
fn wait_for_either(
    c: &Call<'_>,
    input: &mut End,
    output: &mut End,
    pipes_wait: bool,
) -> Result<(), Option<i64>> {
    if !input.is_ready() {
        input.wait(c, pipes_wait)
    } else if !output.is_ready() {
        output.wait(c, pipes_wait)
    } else {
        c.hub.yield_now(c.guest);
        Ok(())
    }
}

/// splice(2).
///
/// # Safety
/// Operations are called by dispatch with a guest's present call.
pub unsafe fn splice(c: &mut Call<'_>) -> Outcome {
    let [_, from, _, to, len, flags] = c.a;
    let mut input = End::new(c.fd(0), Direction::In);
    let mut output = End::new(c.fd(2), Direction::Out);
    let pipes_wait = flags & NONBLOCK == 0;
    let to_socket = is_socket(output.fd());
    if !pipes_wait && !to_socket && !is_socket(input.fd()) {
        return Outcome::Native;
    }
    let mut done = 0;
    loop {
        let (fd_in, fd_out) = (input.fd(), output.fd());
        let call = || {
            let args = [
                fd_in as u64,
                from,
                fd_out as u64,
                to,
                len - done,
                flags | NONBLOCK,
            ];
            // SAFETY: the guest's own call, not waiting.
            unsafe { syscall(libc::SYS_splice as u64, args) }
        };
        let ret = without_waiting(if to_socket { fd_out } else { fd_in }, call);
        if ret > 0 {
            done += ret as u64;
            // A socket takes all that the pipe holds before the call ends.
            if !to_socket || done >= len || raw::poll_now(fd_in, libc::POLLIN) == 0 {
                return Outcome::Done(done as i64);
            }
            continue;
        }
        if ret != err(libc::EAGAIN) {
            return result(done, Some(ret));
        }
        if done > 0 && !input.is_ready() {
            return Outcome::Done(done as i64);
        }
        if let Err(ret) = wait_for_either(c, &mut input, &mut output, pipes_wait) {
            return result(done, ret);
        }
    }
}

/// tee(2).
///
/// # Safety
/// As [`splice`].
pub unsafe fn tee(c: &mut Call<'_>) -> Outcome {
    let [_, _, len, flags, ..] = c.a;
    if flags & NONBLOCK != 0 {
        return Outcome::Native;
    }
    let mut input = End::new(c.fd(0), Direction::In);
    let mut output = End::new(c.fd(1), Direction::Out);
    loop {
        // SAFETY: no pointers.
        let ret = unsafe {
            syscall4(
                libc::SYS_tee,
                input.fd() as u64,
                output.fd() as u64,
                len,
                flags | NONBLOCK,
            )
        };
        if ret != err(libc::EAGAIN) {
            return Outcome::Done(ret);
        }
        if let Err(ret) = wait_for_either(c, &mut input, &mut output, true) {
            return result(0, ret);
        }
    }
}

/// vmsplice(2): into a pipe's write end, or out of its read end.
///
/// # Safety
/// As [`splice`].
pub unsafe fn vmsplice(c: &mut Call<'_>) -> Outcome {
    let [_, iov, count, flags, ..] = c.a;
    if flags & NONBLOCK != 0 {
        return Outcome::Native;
    }
    let writes = raw::status_flags(c.fd(0)) & libc::O_ACCMODE as i64 != libc::O_RDONLY as i64;
    let direction = if writes {
        Direction::Out
    } else {
        Direction::In
    };
    let mut pipe = End::new(c.fd(0), direction);
    loop {
        // SAFETY: the guest's own call, not waiting.
        let ret = unsafe {
            syscall4(
                libc::SYS_vmsplice,
                pipe.fd() as u64,
                iov,
                count,
                flags | NONBLOCK,
            )
        };
        if ret != err(libc::EAGAIN) {
            return Outcome::Done(ret);
        }
        if let Err(ret) = pipe.wait(c, true) {
            return result(0, ret);
        }
    }
}

/// sendfile(2): all of it to a socket, as much as there is room for to a pipe.
///
/// # Safety
/// As [`splice`].
pub unsafe fn sendfile(c: &mut Call<'_>) -> Outcome {
    let [_, input, offset, count, ..] = c.a;
    let mut output = End::new(c.fd(0), Direction::Out);
    if !is_socket(output.fd()) {
        if raw::file_type(output.fd()) != libc::S_IFIFO {
            return Outcome::Native;
        }
        while !output.is_ready() {
            if let Err(ret) = output.wait(c, true) {
                return result(0, ret);
            }
        }
        return Outcome::Native;
    }
    let mut done = 0;
    loop {
        let fd = output.fd();
        let ret = without_waiting(fd, || {
            // SAFETY: the guest's own call, not waiting.
            unsafe { syscall4(libc::SYS_sendfile, fd as u64, input, offset, count - done) }
        });
        if ret > 0 {
            done += ret as u64;
            if done < count {
                continue;
            }
        }
        if ret != err(libc::EAGAIN) {
            return result(done, Some(ret));
        }
        if let Err(ret) = output.wait(c, true) {
            return result(done, ret);
        }
    }
}
