//! Look-ups of names: what the `dns` group decides.
//!
//! libc's resolver runs as it is, and what it waits on are calls of other groups: poll,
//! recvfrom, connect. So the group has no call of its own. It decides instead about the calls
//! *inside* a look-up, whatever the groups of those calls say: with the group off a
//! look-up stops every guest until it is over, as with gevent's `dns=False`; with the
//! group on alone, look-ups are all that waits cooperatively. What a guest needs to be a
//! thread at all, its locks above all, is the same inside a look-up as outside.
//!
//! The engine's library interposes [`NAMES`] and marks the guest with [`enter`]. While
//! the group agrees with the others nobody looks at the mark: [`differs`] says for which
//! calls the table of operations has [`by_place`] instead of the operation.
#![allow(unsafe_code)]

use patch_events::{channel, events};

use crate::arch;
use crate::dispatch;
use crate::group::{Group, GroupSet};
use crate::guest::Guest;
use crate::hub::processor;
use crate::ops::{Call, Outcome};
use crate::raw;
use crate::selection::{self, Selection, is_needed};
use crate::signal;
use crate::syscalls::{self, Syscall};

/// libc's functions that look names up, by which a look-up is known. `res_query(3)` and
/// its family, and the threads of `getaddrinfo_a(3)`, follow the groups of their calls.
pub const NAMES: [&str; 8] = [
    "getaddrinfo",
    "getnameinfo",
    "gethostbyname",
    "gethostbyname2",
    "gethostbyaddr",
    "gethostbyname_r",
    "gethostbyname2_r",
    "gethostbyaddr_r",
];

/// Groups whose waits a look-up is made of.
const WAITS: GroupSet = GroupSet::of(&[
    Group::Socket,
    Group::Select,
    Group::Time,
    Group::Os,
    Group::File,
]);

/// Whether a call that is on outside a look-up, or off, is the other inside.
pub(crate) fn differs(row: &Syscall, selection: &Selection, on: bool) -> bool {
    // What guests need is on in any case.
    row.parks
        && WAITS.contains(row.group)
        && !is_needed(row)
        && selection.groups().contains(Group::Dns) != on
}

/// The operation of a call for which inside and outside differ.
///
/// # Safety
/// As any operation.
pub(crate) unsafe fn by_place(c: &mut Call<'_>) -> Outcome {
    let selection = selection::in_use();
    let Some(row) = syscalls::lookup(c.frame.rax) else {
        return Outcome::Native;
    };
    let on = if is_inside(c.guest, c.frame.rsp) {
        selection.groups().contains(Group::Dns)
    } else {
        selection.has(row)
    };
    match dispatch::operation_of(row) {
        // SAFETY: the caller's contract.
        Some(operation) if on => unsafe { operation(c) },
        _ => Outcome::Native,
    }
}

/// Whether the code at `sp` runs below the look-up that the guest is marked with. The mark
/// may be of a look-up that a signal handler has left by siglongjmp.
fn is_inside(guest: &Guest, sp: u64) -> bool {
    let mark = guest.lookup.get();
    if mark != 0 && sp >= mark {
        guest.lookup.set(0);
    }
    mark != 0 && sp < mark
}

/// A look-up that a guest is about to make.
#[derive(Debug)]
pub struct Lookup {
    guest: *const Guest,
    /// The mark of the look-up that this one is part of.
    outer: u64,
    /// When it began, if somebody listens.
    begin: Option<u64>,
}

/// Marks the beginning of a look-up; `None` if the caller is no guest. Inlined, so that the
/// mark is in the frame of the interposed function.
#[inline(always)]
pub fn enter() -> Option<Lookup> {
    let guest = dispatch::current_guest()?;
    let sp = arch::stack_pointer();
    is_inside(guest, sp);
    let listens = channel::is_open() && !processor::here().shared_child.get();
    Some(Lookup {
        guest,
        outer: guest.lookup.replace(sp),
        begin: listens.then(raw::now),
    })
}

impl Lookup {
    /// Marks its end. `call` is one of [`NAMES`]; `subject` says in words what was looked up,
    /// and is called in host mode.
    pub fn leave(self, call: &'static str, subject: impl FnOnce() -> String) {
        // SAFETY: the caller, which made the look-up, is this guest.
        let guest = unsafe { &*self.guest };
        guest.lookup.set(self.outer);
        let Some(begin) = self.begin else { return };
        let duration = core::time::Duration::from_nanos(raw::now() - begin);
        let hub = guest.hub();
        hub.enter_shim();
        hub.call(guest, || {
            events::LookedUp {
                tid: guest.tid.get(),
                call,
                subject: &subject(),
                duration,
            }
            .emit();
        });
        hub.leave_shim();
        if signal::pending(guest) {
            // It arrived meanwhile: any call of the guest's delivers it.
            // SAFETY: no arguments.
            unsafe { libc::gettid() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syscalls::Op;

    #[test]
    fn the_group_decides_about_waits_alone() {
        let without = &Selection::of(GroupSet::ALL.without(Group::Dns));
        let alone = &Selection::of(GroupSet::of(&[Group::Dns, Group::Thread]));
        for op in [Op::Poll, Op::Recvfrom, Op::Connect, Op::Read, Op::Nanosleep] {
            let row = op.syscall();
            assert!(!differs(row, &Selection::ALL, true));
            assert!(differs(row, without, true));
            assert!(differs(row, alone, false));
        }
        for op in [
            Op::Futex,
            Op::RtSigsuspend,
            Op::Wait4,
            Op::Close,
            Op::Gettid,
        ] {
            assert!(!differs(op.syscall(), without, true));
        }
    }

    #[test]
    fn a_mark_counts_below_it_and_is_dropped_above() {
        let slab = crate::guest::slab::Slab::new();
        assert!(slab.init());
        let guest = slab.take().unwrap();
        assert!(!is_inside(guest, 1000));
        guest.lookup.set(1000);
        assert!(is_inside(guest, 999));
        assert!(!is_inside(guest, 1000));
        assert!(!is_inside(guest, 999));
    }
}
