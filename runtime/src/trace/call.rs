//! One record for each call for which a guest was off the processor.
#![allow(unsafe_code)]

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use core::ptr;
use std::time::Duration;

use patch_events::{Record, WORDS, channel, events};

use super::{calls, totals};
use crate::frame::Frame;
use crate::guest::Guest;
use crate::raw;
use crate::syscalls;

/// Bytes of a socket address that a record holds: an IPv6 one's, and some.
const ADDRESS: usize = 32;

/// The words of a record.
#[repr(C)]
#[derive(Clone, Copy)]
struct Told {
    tid: i32,
    nr: u16,
    /// Bytes of `address`.
    length: u16,
    args: [u64; 6],
    ret: i64,
    waited: u64,
    address: [u8; ADDRESS],
}

const _: () = assert!(size_of::<Told>() == size_of::<[u64; WORDS]>());

/// `guest` is back on the CPU, which it left at `guest.since`.
#[inline(never)]
pub fn woke(guest: &Guest) {
    let now = raw::now();
    let waited = (now - guest.since.get()).max(1);
    guest.waited.set(guest.waited.get() + waited);
    guest.woke.set(now);
}

/// `guest` returns from call `nr` with `ret`: leaves a record if it waited and calls
/// are told. The frame is read here alone: arguments that are gathered wherever this is
/// called take longer than all else there.
#[cold]
#[inline(never)]
pub fn returned(guest: &Guest, nr: u64, frame: &Frame, ret: i64) {
    let waited = guest.waited.replace(0);
    if waited != 0 {
        guest.told_open.set(false);
    }
    if waited != 0 && totals::are_kept() {
        totals::waited(nr, waited);
    }
    if waited != 0 && calls() {
        leave(guest, nr, frame.args(), ret, waited);
    }
}

/// `guest` is in a call and has not come back by `now`.
pub fn still_waits(guest: &Guest, now: u64) {
    // SAFETY: the frame of the call that the guest is parked in, on its own stack.
    let Some(frame) = (unsafe { guest.frame.get().as_ref() }) else {
        return;
    };
    let told = Told {
        tid: guest.tid.get(),
        nr: frame.rax as u16,
        length: 0,
        args: frame.args(),
        ret: 0,
        waited: guest.waited.get() + now.saturating_sub(guest.since.get()),
        address: [0; ADDRESS],
    };
    push(now, tell_open, told);
}

fn push(at: u64, tell: fn(&[u64; WORDS]), told: Told) {
    channel::push(Record {
        at,
        tell,
        // SAFETY: the same size, and any bytes are words.
        words: unsafe { core::mem::transmute::<Told, [u64; WORDS]>(told) },
    });
}

#[inline(never)]
fn leave(guest: &Guest, nr: u64, args: [u64; 6], ret: i64, waited: u64) {
    let mut told = Told {
        tid: guest.tid.get(),
        nr: nr as u16,
        length: 0,
        args,
        ret,
        waited,
        address: [0; ADDRESS],
    };
    if let Some((at, length)) = address_of(nr, &args, ret) {
        let length = length.min(ADDRESS);
        told.length = length as u16;
        // SAFETY: the kernel has read or written as many bytes there in this call.
        unsafe { ptr::copy_nonoverlapping(at as *const u8, told.address.as_mut_ptr(), length) };
    }
    push(guest.woke.get(), tell, told);
}

/// Where a call's socket address is, and how long it is.
fn address_of(nr: u64, a: &[u64; 6], ret: i64) -> Option<(u64, usize)> {
    let (at, length) = match nr as i64 {
        libc::SYS_connect if ret != raw::err(libc::EFAULT) => (a[1], a[2] as usize),
        libc::SYS_sendto if ret >= 0 => (a[4], a[5] as usize),
        libc::SYS_accept | libc::SYS_accept4 if ret >= 0 => (a[1], returned_length(a[2])?),
        libc::SYS_recvfrom if ret >= 0 => (a[4], returned_length(a[5])?),
        _ => return None,
    };
    raw::plausible(at).then_some((at, length))
}

fn returned_length(at: u64) -> Option<usize> {
    // SAFETY: the kernel has written the length there in this call.
    let length: u32 = unsafe { raw::get(at) }.ok()?;
    Some(length as usize)
}

fn tell(words: &[u64; WORDS]) {
    // SAFETY: the words that `leave` made of it.
    let told = unsafe { core::mem::transmute::<[u64; WORDS], Told>(*words) };
    let (fd, address) = subject(told.nr as i64, &told.args);
    let bytes = &told.address[..told.length as usize];
    let address = peer(bytes).or(address);
    events::Called {
        tid: told.tid,
        call: syscalls::lookup(told.nr as u64).map_or("unknown", |row| row.name),
        fd,
        address: address.as_deref(),
        ret: told.ret,
        waited: Duration::from_nanos(told.waited),
    }
    .emit();
}

fn tell_open(words: &[u64; WORDS]) {
    // SAFETY: the words that `still_waits` made of it.
    let told = unsafe { core::mem::transmute::<[u64; WORDS], Told>(*words) };
    let (fd, address) = subject(told.nr as i64, &told.args);
    events::Waiting {
        tid: told.tid,
        call: syscalls::lookup(told.nr as u64).map_or("unknown", |row| row.name),
        fd,
        address: address.as_deref(),
        waited: Duration::from_nanos(told.waited),
    }
    .emit();
}

/// What a call is about, by its arguments: a descriptor, or something in words.
pub fn subject(nr: i64, a: &[u64; 6]) -> (Option<i32>, Option<String>) {
    let fd = Some(a[0] as i32);
    match nr {
        libc::SYS_futex => (None, Some(format!("{:#x}", a[0]))),
        libc::SYS_wait4 => (None, Some(format!("child {}", a[0] as i32))),
        libc::SYS_waitid => (None, Some(format!("child {}", a[1] as i32))),
        libc::SYS_poll | libc::SYS_ppoll => (None, Some(format!("{} descriptors", a[1]))),
        libc::SYS_select | libc::SYS_pselect6 => {
            (None, Some(format!("descriptors below {}", a[0])))
        }
        libc::SYS_nanosleep
        | libc::SYS_clock_nanosleep
        | libc::SYS_sched_yield
        | libc::SYS_pause
        | libc::SYS_rt_sigsuspend
        | libc::SYS_rt_sigtimedwait
        | libc::SYS_futex_waitv
        | libc::SYS_open
        | libc::SYS_openat
        | libc::SYS_execve
        | libc::SYS_semop
        | libc::SYS_semtimedop
        | libc::SYS_msgsnd
        | libc::SYS_msgrcv
        | libc::SYS_mmap
        | libc::SYS_clone
        | libc::SYS_clone3 => (None, None),
        _ => (fd, None),
    }
}

/// A socket address in words.
fn peer(bytes: &[u8]) -> Option<String> {
    let family = u16::from_ne_bytes(*bytes.first_chunk()?);
    let rest = &bytes[2..];
    let port = || Some(u16::from_be_bytes(*rest.first_chunk()?));
    match family as i32 {
        libc::AF_INET => {
            let address: [u8; 4] = *rest.get(2..)?.first_chunk()?;
            Some(SocketAddrV4::new(Ipv4Addr::from(address), port()?).to_string())
        }
        libc::AF_INET6 => {
            let address: [u8; 16] = *rest.get(6..)?.first_chunk()?;
            Some(SocketAddrV6::new(Ipv6Addr::from(address), port()?, 0, 0).to_string())
        }
        libc::AF_UNIX => {
            let name = rest
                .split(|byte| *byte == 0)
                .find(|name| !name.is_empty())?;
            Some(format!("unix:{}", name.escape_ascii()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_addresses_in_words() {
        let mut v4 = vec![2, 0, 0x1f, 0x90, 127, 0, 0, 1];
        assert_eq!(peer(&v4).unwrap(), "127.0.0.1:8080");
        v4.truncate(6);
        assert_eq!(peer(&v4), None);
        let mut v6 = vec![10, 0, 0, 53, 0, 0, 0, 0];
        v6.extend([0; 15]);
        v6.push(1);
        assert_eq!(peer(&v6).unwrap(), "[::1]:53");
        assert_eq!(peer(b"\x01\0/run/x\0").unwrap(), "unix:/run/x");
        assert_eq!(peer(b"\x01\0\0hidden").unwrap(), "unix:hidden");
        assert_eq!(peer(b"\x01\0"), None);
        assert_eq!(peer(b"\x01"), None);
        assert_eq!(peer(&[99, 0, 1, 2, 3, 4]), None);
    }
}
