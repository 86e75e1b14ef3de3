//! Who gets the signals of a descriptor: F_SETOWN and its like, and the calls that ask.
//!
//! The kernel does not know guests. Where one is named it is told the process, and
//! [`signal`] leads what it then sends to the guest.
#![allow(unsafe_code)]

use super::{Call, Outcome};
use crate::arch::{syscall, syscall3};
use crate::raw;
use crate::signal::{
    self, F_OWNER_PGRP, F_OWNER_PID, F_OWNER_TID, F_SETOWN_EX, IoOwner, LAST, bit,
};

const F_SETSIG: i32 = 10;
const F_GETSIG: u64 = 11;
const F_GETOWN_EX: i32 = 16;

/// Commands of ioctl(2) for sockets, which are F_SETOWN and F_GETOWN by other names.
const FIOSETOWN: u64 = 0x8901;
const SIOCSPGRP: u64 = 0x8902;
const FIOGETOWN: u64 = 0x8903;
const SIOCGPGRP: u64 = 0x8904;

/// The kernel's `struct f_owner_ex`: the kind of an owner, and its id.
type Owner = [i32; 2];

/// What F_SETOWN and the ioctls name with one number.
fn named_by(who: i32) -> Owner {
    if who < 0 {
        [F_OWNER_PGRP, who.wrapping_neg()]
    } else {
        [F_OWNER_PID, who]
    }
}

/// A signal of a descriptor that is for one guest must not do to the process what it would
/// if that guest did not block it.
fn force(signal: i64) {
    match signal as i32 {
        0 => signal::force(bit(libc::SIGIO)),
        signal @ 1..=LAST => signal::force(bit(signal)),
        _ => {}
    }
}

/// Sets an owner. `make` makes the call, about another owner than the guest's own call if it
/// is given one.
fn set(c: &Call<'_>, named: Owner, make: impl FnOnce(Option<Owner>) -> i64) -> Outcome {
    let fd = c.fd(0);
    let [kind, id] = named;
    let guest = c.hub.find(id);
    let owner = match (kind, guest) {
        (F_OWNER_TID, Some(_)) => IoOwner::Thread(id),
        (F_OWNER_PID, Some(guest)) if !guest.is_initial() => IoOwner::Process(id),
        _ if id == 0 => IoOwner::Nobody,
        _ => IoOwner::Other,
    };
    if matches!(owner, IoOwner::Thread(_)) {
        // SAFETY: no pointers.
        force(unsafe { syscall3(libc::SYS_fcntl, fd as u64, F_GETSIG, 0) });
    }
    let stand_in = guest
        .filter(|guest| !guest.is_initial())
        .and_then(|_| match kind {
            F_OWNER_TID | F_OWNER_PID => Some([F_OWNER_PID, c.hub.pid.get()]),
            // A group that has no process.
            F_OWNER_PGRP => Some([F_OWNER_PGRP, 0]),
            _ => None,
        });
    let ret = make(stand_in);
    if ret == 0 {
        signal::set_io_owner(fd, owner);
    }
    Outcome::Done(ret)
}

/// What the kernel answers about a descriptor whose owner is a guest that it does not know.
fn answer(c: &Call<'_>) -> Option<Owner> {
    match signal::io_owner(c.fd(0)) {
        IoOwner::Thread(tid) if c.hub.find(tid).is_some_and(|guest| !guest.is_initial()) => {
            Some([F_OWNER_TID, tid])
        }
        // A process is not known by the id of any thread of its.
        IoOwner::Process(_) => Some([F_OWNER_PID, 0]),
        _ => None,
    }
}

/// fcntl(2) about owners; `None` for other commands.
///
/// # Safety
/// Operations are called by dispatch with a guest's present call.
pub unsafe fn fcntl(c: &Call<'_>) -> Option<Outcome> {
    let [fd, command, argument, ..] = c.a;
    let set_by_kernel = |owner: Option<Owner>| {
        let ex = owner.unwrap_or_default();
        let (command, argument) = match owner {
            Some(_) => (F_SETOWN_EX as u64, &raw const ex as u64),
            None => (command, argument),
        };
        // SAFETY: the guest's own call, or one with an owner of ours.
        unsafe { syscall3(libc::SYS_fcntl, fd, command, argument) }
    };
    match command as i32 {
        libc::F_SETOWN => Some(set(c, named_by(argument as i32), set_by_kernel)),
        F_SETOWN_EX => {
            // SAFETY: the guest's own pointer, which the kernel would read.
            let owner = unsafe { raw::get::<Owner>(argument) };
            owner.ok().map(|owner| set(c, owner, set_by_kernel))
        }
        libc::F_GETOWN => answer(c).map(|[_, id]| Outcome::Done(id.into())),
        F_GETOWN_EX => answer(c).map(|owner| {
            // SAFETY: the guest's own pointer, which the kernel would write through.
            let written = unsafe { raw::put(argument, owner) };
            Outcome::Done(written.err().unwrap_or(0))
        }),
        F_SETSIG => {
            if matches!(signal::io_owner(fd as i32), IoOwner::Thread(_)) {
                force(argument as i64);
            }
            None
        }
        _ => None,
    }
}

/// ioctl(2) about owners; `None` for other commands.
///
/// # Safety
/// As [`fcntl`].
pub unsafe fn ioctl(c: &Call<'_>) -> Option<Outcome> {
    let [_, command, argument, ..] = c.a;
    let with = |number: &mut i32| {
        let mut a = c.a;
        a[2] = number as *mut i32 as u64;
        // SAFETY: the guest's own call, about a number of ours.
        unsafe { syscall(c.frame.rax, a) }
    };
    match command {
        FIOSETOWN | SIOCSPGRP => {
            // SAFETY: the guest's own pointer, which the kernel would read.
            let who = unsafe { raw::get::<i32>(argument) }.ok()?;
            Some(set(c, named_by(who), |owner| {
                with(&mut owner.map_or(who, |[_, id]| id))
            }))
        }
        FIOGETOWN | SIOCGPGRP => {
            let [_, id] = answer(c)?;
            let ret = with(&mut 0);
            if ret != 0 {
                return Some(Outcome::Done(ret));
            }
            // SAFETY: the guest's own pointer, which the kernel would write through.
            let written = unsafe { raw::put(argument, id) };
            Some(Outcome::Done(written.err().unwrap_or(0)))
        }
        _ => None,
    }
}
