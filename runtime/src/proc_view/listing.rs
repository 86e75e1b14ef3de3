//! The entries of `/proc/PID/task`, as getdents64(2) and getdents(2) return them. Pure.
//!
//! Threads are listed by their ids, and the position behind an entry follows from its id: a thread
//! that ends, or is made, while a program reads the directory, moves no other one.

use super::path;
use crate::raw::err;

/// Position of the first thread, behind the directory itself and the one above it.
const FIRST: i64 = 2;

/// A thread, or one of the two directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Number of its inode.
    pub inode: u64,
    /// Its id; negative for the directory itself (-2) and the one above it (-1).
    pub tid: i32,
}

impl Entry {
    /// The directory itself.
    pub const HERE: i32 = -2;
    /// The one above it.
    pub const ABOVE: i32 = -1;

    fn name(self) -> ([u8; 10], usize) {
        match self.tid {
            Self::HERE => (*b".\0\0\0\0\0\0\0\0\0", 1),
            Self::ABOVE => (*b"..\0\0\0\0\0\0\0\0", 2),
            tid => path::decimal(tid as u32),
        }
    }

    /// The position behind it.
    pub fn next(self) -> i64 {
        match self.tid {
            Self::HERE => 1,
            Self::ABOVE => FIRST,
            tid => FIRST + i64::from(tid),
        }
    }
}

/// Bytes of the shortest entry, of either structure.
pub const LEAST: usize = 24;

/// Which structure the call writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `struct linux_dirent64`.
    Of64,
    /// `struct linux_dirent`, with the type in the last byte.
    Old,
}

/// Offset of an entry's name: behind inode, position and length, and in the newer format the type.
const fn name_at(format: Format) -> usize {
    match format {
        Format::Of64 => 19,
        Format::Old => 18,
    }
}

/// Writes those of `entries`, which ascend by their ids, that are behind `position`, as many as fit.
/// How many bytes that are, and the position behind them.
///
/// # Errors
/// `-EINVAL`: not even one fits.
pub fn fill(
    entries: &[Entry],
    position: i64,
    format: Format,
    to: &mut [u8],
) -> Result<(usize, i64), i64> {
    let from = position;
    let (mut len, mut position) = (0, position);
    for entry in entries.iter().filter(|entry| entry.next() > from) {
        let (name, name_len) = entry.name();
        let begin = name_at(format);
        // A zero byte ends the name, and the type follows it in the older format.
        let after = if format == Format::Of64 { 1 } else { 2 };
        let size = (begin + name_len + after).next_multiple_of(8);
        let Some(at) = to.get_mut(len..len + size) else {
            if len == 0 {
                return Err(err(libc::EINVAL));
            }
            break;
        };
        at.fill(0);
        at[..8].copy_from_slice(&entry.inode.to_ne_bytes());
        at[8..16].copy_from_slice(&entry.next().to_ne_bytes());
        at[16..18].copy_from_slice(&(size as u16).to_ne_bytes());
        at[begin..begin + name_len].copy_from_slice(&name[..name_len]);
        let kind = if format == Format::Of64 { 18 } else { size - 1 };
        at[kind] = libc::DT_DIR;
        len += size;
        position = entry.next();
    }
    Ok((len, position))
}

/// The names of a directory as `struct linux_dirent64` that are ids.
pub fn ids(listed: &[u8]) -> impl Iterator<Item = i32> {
    let mut at = 0;
    core::iter::from_fn(move || {
        loop {
            let entry = listed.get(at..)?;
            let size = u16::from_ne_bytes([*entry.get(16)?, *entry.get(17)?]) as usize;
            let name = entry.get(19..size)?;
            at += size;
            let end = name.iter().position(|&byte| byte == 0)?;
            if let Some(id) = path::number(&name[..end]) {
                return Some(id);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<Entry> {
        [Entry::HERE, Entry::ABOVE, 100, 4_194_305, 4_194_310]
            .map(|tid| Entry {
                inode: (1000 + i64::from(tid)) as u64,
                tid,
            })
            .to_vec()
    }

    #[test]
    fn all_are_listed_once_with_any_room() {
        for room in [32, 40, 64, 100, 4096] {
            let mut position = 0;
            let mut found = Vec::new();
            loop {
                let mut to = vec![0; room];
                let (len, next) = fill(&entries(), position, Format::Of64, &mut to).unwrap();
                if len == 0 {
                    break;
                }
                found.extend(ids(&to[..len]));
                position = next;
            }
            assert_eq!(found, [100, 4_194_305, 4_194_310], "{room}");
        }
    }

    #[test]
    fn one_that_ends_moves_no_other() {
        let mut to = [0; 96];
        let (len, position) = fill(&entries(), 0, Format::Of64, &mut to).unwrap();
        assert_eq!(ids(&to[..len]).collect::<Vec<_>>(), [100]);
        let left: Vec<_> = entries().into_iter().filter(|e| e.tid != 100).collect();
        let (len, _) = fill(&left, position, Format::Of64, &mut to).unwrap();
        assert_eq!(ids(&to[..len]).collect::<Vec<_>>(), [4_194_305, 4_194_310]);
    }

    #[test]
    fn the_older_structure_has_the_type_last() {
        let mut to = [0; 24];
        let (len, position) = fill(&entries(), 0, Format::Old, &mut to).unwrap();
        assert_eq!((len, position), (24, 1));
        assert_eq!(&to[18..20], b".\0");
        assert_eq!(to[23], libc::DT_DIR);
        assert_eq!(u16::from_ne_bytes([to[16], to[17]]), 24);
        assert_eq!(
            fill(&entries(), 2, Format::Old, &mut to),
            Ok((24, 102)),
            "three digits"
        );
        assert_eq!(
            fill(&entries(), 102, Format::Old, &mut to),
            Err(err(libc::EINVAL))
        );
    }
}
