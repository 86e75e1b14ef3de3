//! The groups: what can be made cooperative, or left alone, as one.
//!
//! The names are gevent's (`gevent.monkey.patch_all`), and `file` and `sys` for
//! what Python has no module for.

use std::fmt;
use std::str::FromStr;

macro_rules! groups {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// One group of system calls (and, for `dns`, of libc's names).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Group {
            $($(#[$doc])* $variant,)*
        }

        impl Group {
            /// Every group, in the order in which sets list them.
            pub const ALL: &[Group] = &[$(Group::$variant),*];

            /// The name in `GEVENT_SHIM_PATCH` and in events.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Group::$variant => $name,)*
                }
            }
        }
    };
}

groups! {
    /// Sockets: connect, accept, send and receive.
    Socket = "socket",
    /// The resolver's names: `getaddrinfo` and its family.
    Dns = "dns",
    /// Sleeping and timers that block.
    Time = "time",
    /// Waiting for a set of descriptors: poll, select, epoll.
    Select = "select",
    /// Threads and what they wait on: clone, futex, exit, yield.
    Thread = "thread",
    /// Processes from below: fork, wait, and descriptors without a group of their own (pipes).
    Os = "os",
    /// Processes from above: what `posix_spawn`, `system` and `popen` are made of.
    Subprocess = "subprocess",
    /// Signals: masks, waiting, sending.
    Signal = "signal",
    /// Message queues and semaphores, System V's and POSIX's.
    Queue = "queue",
    /// Regular files.
    File = "file",
    /// Identity and properties of a thread as the kernel knows them.
    Sys = "sys",
}

impl Group {
    /// The group of this name, in any case.
    pub fn from_name(name: &str) -> Option<Group> {
        Group::ALL
            .iter()
            .copied()
            .find(|group| group.name().eq_ignore_ascii_case(name))
    }

    const fn bit(self) -> u16 {
        1 << self as u8
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A set of groups: one word, free to copy. Every method is async-signal-safe
/// and allocates nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct GroupSet(u16);

const _: () = assert!(Group::ALL.len() <= u16::BITS as usize);

impl GroupSet {
    /// No group.
    pub const NONE: GroupSet = GroupSet(0);

    /// Every group.
    pub const ALL: GroupSet = GroupSet::of(Group::ALL);

    /// The groups of a list.
    pub const fn of(groups: &[Group]) -> GroupSet {
        let mut set = 0;
        let mut i = 0;
        while i < groups.len() {
            set |= groups[i].bit();
            i += 1;
        }
        GroupSet(set)
    }

    /// Whether `group` is in the set.
    pub const fn contains(self, group: Group) -> bool {
        self.0 & group.bit() != 0
    }

    /// The set with `group`.
    #[must_use]
    pub const fn with(self, group: Group) -> GroupSet {
        GroupSet(self.0 | group.bit())
    }

    /// The set without `group`.
    #[must_use]
    pub const fn without(self, group: Group) -> GroupSet {
        GroupSet(self.0 & !group.bit())
    }

    /// Whether the two sets have a group in common.
    pub const fn intersects(self, other: GroupSet) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether no group is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many groups are in the set.
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The groups of the set, in the order of [`Group::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Group> {
        Group::ALL
            .iter()
            .copied()
            .filter(move |group| self.contains(*group))
    }
}

impl FromIterator<Group> for GroupSet {
    fn from_iter<I: IntoIterator<Item = Group>>(groups: I) -> Self {
        groups.into_iter().fold(GroupSet::NONE, GroupSet::with)
    }
}

impl fmt::Display for GroupSet {
    /// `all`, `none` or the names with commas: what [`GroupSet::from_str`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == GroupSet::ALL {
            return f.write_str("all");
        }
        if self.is_empty() {
            return f.write_str("none");
        }
        for (i, group) in self.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            f.write_str(group.name())?;
        }
        Ok(())
    }
}

impl fmt::Debug for GroupSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GroupSet({self})")
    }
}

/// A list of groups has an item that is no group, `-group`, `all` or `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownGroup;

impl fmt::Display for UnknownGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an item of the list names no group")
    }
}

impl std::error::Error for UnknownGroup {}

impl FromStr for GroupSet {
    type Err = UnknownGroup;

    /// Reads a comma list from left to right: `all` and `none` replace what
    /// stands before them, a name adds a group, `-name` removes it. A list
    /// that starts with a removal starts from all, any other from none.
    fn from_str(list: &str) -> Result<Self, UnknownGroup> {
        let mut set = if list.trim_start().starts_with('-') {
            GroupSet::ALL
        } else {
            GroupSet::NONE
        };
        for item in list.split(',').map(str::trim) {
            set = if item.eq_ignore_ascii_case("all") {
                GroupSet::ALL
            } else if item.eq_ignore_ascii_case("none") {
                GroupSet::NONE
            } else if let Some(name) = item.strip_prefix('-') {
                set.without(Group::from_name(name).ok_or(UnknownGroup)?)
            } else {
                set.with(Group::from_name(item).ok_or(UnknownGroup)?)
            };
        }
        Ok(set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Group::*;

    #[test]
    fn the_names_are_those_promised() {
        let names: Vec<_> = Group::ALL.iter().map(|group| group.name()).collect();
        assert_eq!(
            names,
            [
                "socket",
                "dns",
                "time",
                "select",
                "thread",
                "os",
                "subprocess",
                "signal",
                "queue",
                "file",
                "sys"
            ]
        );
    }

    #[test]
    fn lists_are_read_from_left_to_right() {
        let all = GroupSet::ALL;
        let cases = [
            ("all", all),
            ("ALL", all),
            ("none", GroupSet::NONE),
            ("socket", GroupSet::of(&[Socket])),
            ("socket,dns", GroupSet::of(&[Socket, Dns])),
            (" socket , DNS ", GroupSet::of(&[Socket, Dns])),
            ("-file", all.without(File)),
            (" -file,-sys", all.without(File).without(Sys)),
            ("-file,file", all),
            ("all,-signal", all.without(Signal)),
            ("none,time", GroupSet::of(&[Time])),
            ("-time,none,os", GroupSet::of(&[Os])),
            ("socket,all", all),
            ("socket,-socket", GroupSet::NONE),
            ("socket,-file", GroupSet::of(&[Socket])),
            ("queue,queue", GroupSet::of(&[Queue])),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse(), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in [
            "",
            ",",
            "socket,",
            ",socket",
            "socket,,dns",
            "sockets",
            "-all",
            "-none",
            "--socket",
            "- socket",
            "-",
            "+socket",
            "socket dns",
            "socket;dns",
            "sock\u{e9}t",
        ] {
            assert_eq!(text.parse::<GroupSet>(), Err(UnknownGroup), "{text:?}");
        }
    }

    #[test]
    fn every_set_is_read_back_as_it_was_shown() {
        for bits in 0..1 << Group::ALL.len() {
            let set = GroupSet(bits);
            assert_eq!(set.to_string().parse(), Ok(set));
            assert_eq!(set.iter().collect::<GroupSet>(), set);
            assert_eq!(set.iter().count(), set.len());
        }
    }

    #[test]
    fn membership() {
        let set = GroupSet::of(&[Socket, Sys]);
        assert!(set.contains(Socket) && set.contains(Sys) && !set.contains(File));
        assert!(set.intersects(GroupSet::of(&[Sys, File])));
        assert!(!set.intersects(GroupSet::of(&[File])));
        assert!(GroupSet::NONE.is_empty() && !set.is_empty());
    }
}
