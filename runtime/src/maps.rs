//! Lines of `/proc/self/maps` (proc_pid_maps(5)), as far as the range goes.

use core::ops::Range;

use crate::mounts;

/// The range of a line.
fn range(line: &str) -> Option<Range<usize>> {
    let (start, end) = line.split(' ').next()?.split_once('-')?;
    let number = |digits| usize::from_str_radix(digits, 16).ok();
    Some(number(start)?..number(end)?)
}

/// The process's mappings, ascending; none where the file can't be read. Host code: allocates.
pub fn ranges() -> Vec<Range<usize>> {
    let maps = mounts::contents(c"/proc/self/maps").unwrap_or_default();
    let maps = String::from_utf8_lossy(&maps);
    maps.lines().filter_map(range).collect()
}

/// The mapping that an address is in. As [`ranges`].
pub fn around(address: usize) -> Option<Range<usize>> {
    ranges().into_iter().find(|range| range.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_lines() {
        let line = "7f0000000000-7f0000001000 rw-p 00000000 00:00 0 ";
        assert_eq!(range(line), Some(0x7f00_0000_0000..0x7f00_0000_1000));
        assert_eq!(range(""), None);
        assert_eq!(range("7f-x rw-p"), None);
    }

    #[test]
    fn a_variable_is_in_one() {
        let variable = 0u8;
        let address = &raw const variable as usize;
        assert!(around(address).unwrap().contains(&address));
        assert_eq!(around(0), None);
    }
}
