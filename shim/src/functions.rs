//! The functions of a file by address.

use std::ops::Range;

use object::read::elf::ElfFile64;
use object::{LittleEndian, Object, ObjectSymbol, SymbolKind};

/// Functions by address, as the file is linked.
#[derive(Debug, Default)]
pub struct Functions(Vec<(Range<u64>, String)>);

impl Functions {
    /// Of both symbol tables of a file.
    pub fn of(elf: &ElfFile64<'_, LittleEndian>) -> Functions {
        let mut functions: Vec<_> = elf
            .symbols()
            .chain(elf.dynamic_symbols())
            .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.address() != 0)
            .filter_map(|symbol| {
                let range = symbol.address()..symbol.address() + symbol.size().max(1);
                Some((range, symbol.name().ok()?.to_owned()))
            })
            .collect();
        functions.sort_by_key(|(range, _)| range.start);
        functions.dedup_by(|a, b| a.0 == b.0);
        Functions(functions)
    }

    /// The same; none if the bytes are no such file.
    pub fn of_bytes(file: &[u8]) -> Functions {
        let elf = ElfFile64::<LittleEndian>::parse(file);
        elf.map(|elf| Functions::of(&elf)).unwrap_or_default()
    }

    /// The function that holds an address: where it begins, and its name.
    pub fn at(&self, address: u64) -> Option<(u64, &str)> {
        let after = self.0.partition_point(|(range, _)| range.start <= address);
        let (range, name) = self.0[..after].last()?;
        range
            .contains(&address)
            .then_some((range.start, name.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_holds_its_addresses_alone() {
        let functions = Functions(vec![(10..20, "a".to_owned()), (30..31, "b".to_owned())]);
        let name = |at| functions.at(at).map(|(_, name)| name);
        let names = [9, 10, 19, 20, 30, 31].map(name);
        assert_eq!(names, [None, Some("a"), Some("a"), None, Some("b"), None]);
    }

    #[test]
    fn what_is_no_file_has_no_functions() {
        assert!(Functions::of_bytes(b"words").at(0).is_none());
    }
}
