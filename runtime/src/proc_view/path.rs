//! Paths below `/proc`, name by name. Pure.

use super::{View, What};

/// Bytes of the longest path that is looked at, with its end.
pub const MAX: usize = 256;

/// Whose process and threads names are about.
pub trait Who {
    /// The process's id.
    fn pid(&self) -> i32;
    /// Who makes the call.
    fn caller(&self) -> i32;
    /// Whether it is the id of a live guest that the kernel does not know.
    fn is_guest(&self, tid: i32) -> bool;
    /// The kernel thread whose files are to be a guest's.
    fn kernel_thread(&self, tid: i32) -> i32;
}

/// Where a path leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Walk {
    /// To what.
    pub view: View,
    /// Whether that is a symbolic link by its last name: `thread-self`.
    pub is_link: bool,
    /// A name that is a guest's id: where it begins and ends, and whether it stands in `/proc`
    /// or in `task`.
    swaps: [Option<(usize, usize, What)>; 2],
}

/// The number that a name is as the kernel reads it (its `name_to_int`).
pub fn number(name: &[u8]) -> Option<i32> {
    if name.is_empty() || name.len() > 9 || name[0] == b'0' {
        return None;
    }
    name.iter().try_fold(0i32, |number, &byte| {
        byte.is_ascii_digit()
            .then(|| number * 10 + i32::from(byte - b'0'))
    })
}

/// The names of a path with the places where they begin.
fn names(path: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 0;
    path.split(|&byte| byte == b'/').filter_map(move |name| {
        let begin = at;
        at += name.len() + 1;
        (!name.is_empty() && name != b".").then_some((begin, name))
    })
}

/// Follows `path` from what `from` is.
pub fn walk(from: View, path: &[u8], who: &impl Who) -> Walk {
    let mut walk = Walk {
        view: from,
        is_link: false,
        swaps: [None; 2],
    };
    for (begin, name) in names(path) {
        walk.is_link = from == View::ROOT
            && walk.view.what == What::Root
            && name == b"thread-self"
            && begin + name.len() == path.len();
        let place = walk.view.what;
        walk.view = step(walk.view, name, who);
        if matches!(place, What::Root | What::Tasks)
            && let Some(tid) = number(name)
            && who.is_guest(tid)
            && let Some(swap) = walk.swaps.iter_mut().find(|swap| swap.is_none())
        {
            *swap = Some((begin, begin + name.len(), place));
        }
    }
    walk
}

fn step(at: View, name: &[u8], who: &impl Who) -> View {
    let View { what, tid } = at;
    let (what, tid) = match (what, name) {
        (What::Root, b"self") => (What::Process, who.pid()),
        (What::Root, b"thread-self") => (What::Thread, who.caller()),
        (What::Root, name) => match number(name) {
            Some(id) if id == who.pid() || who.is_guest(id) => (What::Process, id),
            _ => (What::Nothing, 0),
        },
        (What::Process, b"task") => (What::Tasks, who.pid()),
        (What::Process, b"stat") => (What::WholeStat, tid),
        (What::Tasks, name) => match number(name) {
            Some(id) if id == who.pid() || who.is_guest(id) => (What::Thread, id),
            _ => (What::Nothing, 0),
        },
        (What::Thread, b"stat") => (What::Stat, tid),
        (What::Process | What::Thread, b"status") => (What::Status, tid),
        (What::Process | What::Thread, b"comm") => (What::Comm, tid),
        _ => (What::Nothing, 0),
    };
    View { what, tid }
}

impl Walk {
    /// Whether the kernel does not know the path by its names.
    pub fn has_guests(&self) -> bool {
        self.swaps[0].is_some()
    }

    /// The path `from` that was followed, with names that the kernel knows, and a zero byte at its
    /// end; `None` if it does not fit.
    pub fn for_kernel(
        &self,
        from: &[u8],
        prefix: &[u8],
        who: &impl Who,
        to: &mut [u8; MAX + 32],
    ) -> Option<()> {
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            to.get_mut(at..at + bytes.len())?.copy_from_slice(bytes);
            at += bytes.len();
            Some(())
        };
        put(prefix)?;
        let mut copied = 0;
        for &(begin, end, place) in self.swaps.iter().flatten() {
            put(&from[copied..begin])?;
            let id = match place {
                // Not `self`, which is a symbolic link.
                What::Root => who.pid(),
                _ => who.kernel_thread(number(&from[begin..end])?),
            };
            let (digits, len) = decimal(id as u32);
            put(&digits[..len])?;
            copied = end;
        }
        put(&from[copied..])?;
        put(b"\0")
    }
}

/// The digits of a number, and how many there are.
pub fn decimal(mut number: u32) -> ([u8; 10], usize) {
    let mut digits = [0u8; 10];
    let mut len = 0;
    loop {
        digits[len] = b'0' + (number % 10) as u8;
        len += 1;
        number /= 10;
        if number == 0 {
            digits[..len].reverse();
            return (digits, len);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Process 100 with the guests 5000 and 5001, of which the latter asks.
    struct Program;

    impl Who for Program {
        fn pid(&self) -> i32 {
            100
        }
        fn caller(&self) -> i32 {
            5001
        }
        fn is_guest(&self, tid: i32) -> bool {
            tid == 5000 || tid == 5001
        }
        fn kernel_thread(&self, tid: i32) -> i32 {
            if tid == 5001 { 103 } else { 100 }
        }
    }

    fn view(what: What, tid: i32) -> View {
        View { what, tid }
    }

    #[test]
    fn names_lead_where_the_kernel_leads() {
        for (path, expected) in [
            ("", View::ROOT),
            ("self", view(What::Process, 100)),
            ("self/", view(What::Process, 100)),
            ("100/./stat", view(What::WholeStat, 100)),
            ("5000/stat", view(What::WholeStat, 5000)),
            ("5000//task", view(What::Tasks, 100)),
            ("self/task", view(What::Tasks, 100)),
            ("self/task/5000", view(What::Thread, 5000)),
            ("self/task/100/stat", view(What::Stat, 100)),
            ("thread-self", view(What::Thread, 5001)),
            ("thread-self/comm", view(What::Comm, 5001)),
            ("100/task/5001/status", view(What::Status, 5001)),
            ("self/status", view(What::Status, 100)),
            ("self/status/x", View::NOTHING),
            ("self/maps", View::NOTHING),
            ("self/../self/stat", View::NOTHING),
            ("101/stat", View::NOTHING),
            ("self/task/0100/stat", View::NOTHING),
            ("self/task/103/stat", View::NOTHING),
            ("self/task/4999999999/stat", View::NOTHING),
            ("stat", View::NOTHING),
        ] {
            let found = walk(View::ROOT, path.as_bytes(), &Program);
            assert_eq!(found.view, expected, "{path}");
            assert_eq!(found.is_link, path == "thread-self");
        }
    }

    #[test]
    fn names_are_relative_to_descriptors() {
        let tasks = view(What::Tasks, 100);
        let found = walk(tasks, b"5000/comm", &Program);
        assert_eq!(found.view, view(What::Comm, 5000));
        assert!(found.has_guests());
        let found = walk(view(What::Thread, 5000), b"stat", &Program);
        assert_eq!(found.view, view(What::Stat, 5000));
        assert!(!found.has_guests());
        assert!(!walk(view(What::Thread, 5000), b"thread-self", &Program).is_link);
    }

    #[test]
    fn the_kernel_is_told_ids_that_it_knows() {
        for (path, expected) in [
            ("self/task/5000/stat", "/proc/self/task/100/stat\0"),
            ("5000/task/5001/fd/7", "/proc/100/task/103/fd/7\0"),
            ("5001//task/./5000", "/proc/100//task/./100\0"),
            ("5000", "/proc/100\0"),
            ("self/task/100/fd/5000", "/proc/self/task/100/fd/5000\0"),
        ] {
            let found = walk(View::ROOT, path.as_bytes(), &Program);
            let mut to = [1; MAX + 32];
            found
                .for_kernel(path.as_bytes(), b"/proc/", &Program, &mut to)
                .unwrap();
            assert_eq!(&to[..expected.len()], expected.as_bytes(), "{path}");
        }
        let long = [b'/'; MAX + 40];
        let found = walk(View::ROOT, &long, &Program);
        let mut to = [1; MAX + 32];
        assert!(
            found
                .for_kernel(&long, b"/proc/", &Program, &mut to)
                .is_none()
        );
    }

    #[test]
    fn numbers_have_their_digits() {
        for number in [0, 7, 10, 4_194_305, u32::MAX] {
            let (digits, len) = decimal(number);
            assert_eq!(&digits[..len], number.to_string().as_bytes());
        }
    }
}
