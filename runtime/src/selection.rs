//! What is made cooperative: groups, and single calls of others.
//!
//! A guest cannot be a thread without some calls, whatever is selected: they are carried
//! out in any case, and stop nobody.

#![allow(unsafe_code)]

use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};
use std::fmt;
use std::str::FromStr;

use crate::group::{Group, GroupSet};
use crate::syscalls::{self, LIMIT, Syscall, TABLE};

/// A set of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Calls([u64; LIMIT / 64]);

impl Calls {
    const NONE: Calls = Calls([0; LIMIT / 64]);

    fn has(&self, nr: u16) -> bool {
        self.0[nr as usize / 64] & 1 << (nr % 64) != 0
    }

    fn set(&mut self, nr: u16, on: bool) {
        let bit = 1 << (nr % 64);
        let word = &mut self.0[nr as usize / 64];
        *word = if on { *word | bit } else { *word & !bit };
    }
}

/// Groups, with single calls more or less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selection {
    groups: GroupSet,
    with: Calls,
    without: Calls,
}

impl Selection {
    /// Everything.
    pub const ALL: Selection = Selection::of(GroupSet::ALL);

    /// Groups as they are.
    pub const fn of(groups: GroupSet) -> Selection {
        Selection {
            groups,
            with: Calls::NONE,
            without: Calls::NONE,
        }
    }

    /// The groups of which calls are on.
    pub fn groups(&self) -> GroupSet {
        self.groups
    }

    /// Whether a call is asked for.
    pub fn has(&self, row: &Syscall) -> bool {
        !self.without.has(row.nr) && (self.groups.contains(row.group) || self.with.has(row.nr))
    }

    /// Whether a call is carried out when there are guests: it is asked for, or needed.
    pub fn is_on(&self, row: &Syscall) -> bool {
        self.has(row) || is_needed(row)
    }

    /// Switches a group, with every call of it, on or off.
    pub fn set_group(&mut self, group: Group, on: bool) {
        self.groups = if on {
            self.groups.with(group)
        } else {
            self.groups.without(group)
        };
        for row in TABLE.iter().filter(|row| row.group == group) {
            self.with.set(row.nr, false);
            self.without.set(row.nr, false);
        }
    }

    /// Takes a group over as another selection has it, call by call.
    pub fn take_over(&mut self, group: Group, other: &Selection) {
        self.set_group(group, other.groups.contains(group));
        for row in TABLE.iter().filter(|row| row.group == group) {
            self.with.set(row.nr, other.with.has(row.nr));
            self.without.set(row.nr, other.without.has(row.nr));
        }
    }

    /// Switches a call on or off.
    pub fn set_call(&mut self, row: &Syscall, on: bool) {
        self.with.set(row.nr, on);
        self.without.set(row.nr, !on);
    }

    /// The calls left out that are carried out nevertheless.
    pub fn needed_anyway(&self) -> impl Iterator<Item = &'static Syscall> + '_ {
        TABLE
            .iter()
            .filter(|row| row.is_ours() && is_needed(row) && self.without.has(row.nr))
    }
}

/// Whether guests need a call: it makes and ends them and keeps what is theirs apart, or
/// tells of descriptors and processes that come and go.
pub fn is_needed(row: &Syscall) -> bool {
    match row.group {
        Group::Thread | Group::Sys => true,
        Group::Signal => !matches!(
            row.nr as i64,
            libc::SYS_pause
                | libc::SYS_rt_sigsuspend
                | libc::SYS_rt_sigtimedwait
                | libc::SYS_rt_sigpending
        ),
        _ => matches!(
            row.nr as i64,
            libc::SYS_close
                | libc::SYS_close_range
                | libc::SYS_dup2
                | libc::SYS_dup3
                | libc::SYS_setsockopt
                | libc::SYS_fcntl
                | libc::SYS_ioctl
                | libc::SYS_fork
                | libc::SYS_vfork
                | libc::SYS_execve
                | libc::SYS_execveat
        ),
    }
}

/// An item of a list that names nothing that can be selected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownItem {
    item: String,
}

impl UnknownItem {
    /// The name of a group or call that is nearest to the item.
    pub fn nearest(&self) -> &'static str {
        let name = self.item.trim_start_matches('-').to_ascii_lowercase();
        // The distance takes time in proportion to the name, which may be long.
        let start: String = name.chars().take(32).collect();
        let groups = Group::ALL.iter().map(|group| group.name());
        let calls = selectable().map(|row| row.name);
        groups
            .chain(calls)
            .min_by_key(|known| strsim::levenshtein(known, &start))
            .unwrap_or("all")
    }
}

impl fmt::Display for UnknownItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the nearest is {}", self.nearest())
    }
}

impl std::error::Error for UnknownItem {}

/// The calls that can be selected: those that are carried out.
fn selectable() -> impl Iterator<Item = &'static Syscall> {
    TABLE.iter().filter(|row| row.is_ours())
}

impl FromStr for Selection {
    type Err = UnknownItem;

    /// Reads a comma list from left to right: `all` and `none` replace what stands before
    /// them, the name of a group or a call adds it, `-name` removes it. A list that starts
    /// with a removal starts from all, any other from none.
    fn from_str(list: &str) -> Result<Self, UnknownItem> {
        let mut selection = if list.trim_start().starts_with('-') {
            Selection::ALL
        } else {
            Selection::of(GroupSet::NONE)
        };
        for item in list.split(',').map(str::trim) {
            if item.eq_ignore_ascii_case("all") {
                selection = Selection::ALL;
                continue;
            }
            if item.eq_ignore_ascii_case("none") {
                selection = Selection::of(GroupSet::NONE);
                continue;
            }
            let (name, on) = match item.strip_prefix('-') {
                Some(name) => (name, false),
                None => (item, true),
            };
            if let Some(group) = Group::from_name(name) {
                selection.set_group(group, on);
            } else if let Some(row) = call(name) {
                selection.set_call(row, on);
            } else {
                return Err(UnknownItem {
                    item: item.to_owned(),
                });
            }
        }
        Ok(selection)
    }
}

/// The call of this name that can be selected, in any case.
pub fn call(name: &str) -> Option<&'static Syscall> {
    selectable().find(|row| row.name.eq_ignore_ascii_case(name))
}

impl fmt::Display for Selection {
    /// What [`Selection::from_str`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.groups)?;
        for row in TABLE {
            if self.without.has(row.nr) {
                write!(f, ",-{}", row.name)?;
            } else if self.with.has(row.nr) {
                write!(f, ",{}", row.name)?;
            }
        }
        Ok(())
    }
}

/// What is in use, after everybody who may object was asked. Null: not settled.
///
/// Synchronization: released when it is stored, acquired when it is read; what it points
/// to is never changed or freed.
static IN_USE: AtomicPtr<Selection> = AtomicPtr::new(ptr::null_mut());

/// Settles what is in use. Allocates; called a few times in a process at most.
pub fn settle(selection: Selection) -> &'static Selection {
    let settled = Box::leak(Box::new(selection));
    IN_USE.store(settled, Ordering::Release);
    settled
}

/// What is in use; everything until that is settled. One load: may be used anywhere.
pub fn in_use() -> &'static Selection {
    static ALL: Selection = Selection::ALL;
    // SAFETY: see Synchronization.
    unsafe { IN_USE.load(Ordering::Acquire).as_ref() }.unwrap_or(&ALL)
}

/// Whether the group, or the call, of this name is made cooperative. `None`: there is none
/// of the name.
pub fn is_selected(name: &str) -> Option<bool> {
    if let Some(group) = Group::from_name(name) {
        return Some(in_use().groups.contains(group));
    }
    let all = TABLE.iter().find(|row| row.name == name)?;
    let row = syscalls::lookup(all.nr as u64)?;
    Some(row.is_ours() && in_use().is_on(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(list: &str, name: &str) -> bool {
        let selection: Selection = list.parse().unwrap();
        selection.has(call(name).unwrap())
    }

    #[test]
    fn single_calls_come_and_go() {
        for (list, name, on) in [
            ("all", "connect", true),
            ("-connect", "connect", false),
            ("-connect", "accept", true),
            ("-CONNECT", "connect", false),
            ("socket,-connect", "connect", false),
            ("socket,-connect", "recvfrom", true),
            ("socket,-connect", "read", false),
            ("connect", "connect", true),
            ("connect", "accept", false),
            ("-socket,connect", "connect", true),
            ("-socket,connect", "accept", false),
            ("-connect,socket", "connect", true),
            ("connect,-socket", "connect", false),
            ("-connect,all", "connect", true),
        ] {
            assert_eq!(has(list, name), on, "{name} of {list}");
            let shown = list.parse::<Selection>().unwrap().to_string();
            assert_eq!(has(&shown, name), on, "{name} of {list} shown as {shown}");
        }
    }

    #[test]
    fn what_is_needed_stays() {
        let selection: Selection = "none,thread,-close,-connect".parse().unwrap();
        let is_on = |name| selection.is_on(call(name).unwrap());
        assert!(is_on("close") && is_on("clone3") && is_on("rt_sigprocmask"));
        assert!(!is_on("connect") && !is_on("rt_sigsuspend") && !is_on("read"));
        let anyway: Vec<_> = selection.needed_anyway().map(|row| row.name).collect();
        assert_eq!(anyway, ["close"]);
    }

    #[test]
    fn a_group_alone_is_alone_and_off_alone_is_off() {
        for group in Group::ALL.iter().copied() {
            let alone = Selection::of(GroupSet::of(&[group]));
            let without = Selection::of(GroupSet::ALL.without(group));
            for row in selectable() {
                assert_eq!(alone.has(row), row.group == group);
                assert_eq!(without.has(row), row.group != group);
            }
        }
    }

    #[test]
    fn the_nearest_name_is_told() {
        for (list, nearest) in [
            ("sockets", "socket"),
            ("socket,-conect", "connect"),
            ("-dnss", "dns"),
            ("socket,", "dns"),
            ("--socket", "socket"),
            ("-all", "file"),
        ] {
            let error = list.parse::<Selection>().unwrap_err();
            let nearest_found = error.nearest();
            assert!(
                nearest_found == nearest || nearest.len() < 5,
                "{list}: {nearest_found}"
            );
        }
        // Runs as it is, so there is nothing to select.
        assert!("getpid".parse::<Selection>().is_err());
    }
}
