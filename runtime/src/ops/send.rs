//! Sending on sockets.
#![allow(unsafe_code)]

use super::iov::{Buffers, MOST_BYTES};
use super::net::{DONTWAIT, done, header_of};
use super::wait::send_all;
use super::{Call, Outcome};
use crate::arch::{syscall, syscall3};
use crate::raw;
use crate::reactor::fds;

const NOSIGNAL: u64 = libc::MSG_NOSIGNAL as u64;

/// write(2) to a socket, with a length.
pub(super) fn send(c: &Call<'_>, buf: u64, len: u64) -> Outcome {
    send_from(c, buf, len, 0, [0; 2])
}

/// sendto(2).
///
/// # Safety
/// Operations are called by dispatch with a guest's present call.
pub unsafe fn sendto(c: &mut Call<'_>) -> Outcome {
    let [_, buf, len, flags, address, address_len] = c.a;
    if flags & DONTWAIT != 0 {
        return Outcome::Native;
    }
    send_from(c, buf, len, flags, [address, address_len])
}

fn send_from(c: &Call<'_>, buf: u64, len: u64, flags: u64, to: [u64; 2]) -> Outcome {
    let len = len.min(MOST_BYTES as u64);
    done(send_all(c, c.fd(0), len as usize, |fd, sent| {
        let more = if sent > 0 { NOSIGNAL } else { 0 };
        let (buf, len) = (buf + sent as u64, len - sent as u64);
        let flags = flags | DONTWAIT | more;
        // SAFETY: the guest's own call, or its rest.
        unsafe {
            syscall(
                libc::SYS_sendto as u64,
                [fd as u64, buf, len, flags, to[0], to[1]],
            )
        }
    }))
}

/// sendmsg(2).
///
/// # Safety
/// As [`sendto`].
pub unsafe fn sendmsg(c: &mut Call<'_>) -> Outcome {
    let [_, message, flags, ..] = c.a;
    if flags & DONTWAIT != 0 {
        return Outcome::Native;
    }
    // SAFETY: the guest's own header, which the kernel would read; any bytes make one.
    let Ok(header) = (unsafe { raw::get::<libc::msghdr>(message) }) else {
        return Outcome::Native;
    };
    let Some(buffers) = Buffers::of(header.msg_iov as u64, header.msg_iovlen) else {
        return Outcome::Native;
    };
    if header.msg_controllen > 0 && passes_descriptors(&header) {
        fds::table().are_shared();
    }
    done(send_all(c, c.fd(0), buffers.total(), |fd, sent| {
        if sent == 0 {
            // SAFETY: the guest's own call with MSG_DONTWAIT.
            return unsafe { syscall3(libc::SYS_sendmsg, fd as u64, message, flags | DONTWAIT) };
        }
        // Only a stream sends a part; control data went with the first.
        let rest = buffers.rest(sent);
        let header = header_of(&rest);
        // SAFETY: parts of the guest's own buffers.
        unsafe {
            syscall3(
                libc::SYS_sendmsg,
                fd as u64,
                &raw const header as u64,
                flags | DONTWAIT | NOSIGNAL,
            )
        }
    }))
}

/// Whether control data carries descriptors, to another process for all we know.
fn passes_descriptors(header: &libc::msghdr) -> bool {
    const ALIGN: usize = size_of::<usize>();
    let mut at = 0;
    while at + size_of::<libc::cmsghdr>() <= header.msg_controllen {
        // SAFETY: the guest's own data, which the kernel would read; any bytes make a
        // header.
        let one = unsafe { raw::get::<libc::cmsghdr>(header.msg_control as u64 + at as u64) };
        match one {
            Ok(one) if one.cmsg_level == libc::SOL_SOCKET && one.cmsg_type == libc::SCM_RIGHTS => {
                return true;
            }
            Ok(one) if one.cmsg_len >= size_of::<libc::cmsghdr>() => {
                at = at.saturating_add(one.cmsg_len.next_multiple_of(ALIGN));
            }
            _ => return false,
        }
    }
    false
}

/// sendmmsg(2): message by message.
///
/// # Safety
/// As [`sendto`].
pub unsafe fn sendmmsg(c: &mut Call<'_>) -> Outcome {
    let [fd, vector, count, flags, ..] = c.a;
    if flags & DONTWAIT != 0 {
        return Outcome::Native;
    }
    let count = (count as u32).min(1024) as u64;
    let mut have = 0u64;
    while have < count {
        let at = vector + have * size_of::<libc::mmsghdr>() as u64;
        let mut one = Call {
            guest: c.guest,
            hub: c.hub,
            frame: c.frame,
            a: [fd, at, flags, 0, 0, 0],
        };
        // SAFETY: the header is the first field of mmsghdr.
        let ret = match unsafe { sendmsg(&mut one) } {
            Outcome::Done(ret) => ret,
            other if have == 0 => return other,
            _ => break,
        };
        // SAFETY: the guest's own vector: the kernel writes the length too.
        let told = |n: i64| unsafe {
            raw::put(
                at + core::mem::offset_of!(libc::mmsghdr, msg_len) as u64,
                n as u32,
            )
        };
        match ret {
            n if n >= 0 => match told(n) {
                Ok(()) => have += 1,
                Err(e) if have == 0 => return Outcome::Done(e),
                Err(_) => break,
            },
            e if have == 0 => return Outcome::Done(e),
            _ => break,
        }
    }
    Outcome::Done(have as i64)
}
