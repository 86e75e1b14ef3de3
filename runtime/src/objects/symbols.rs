//! The dynamic symbols of an ELF object in memory: pure.
//!
//! Nothing that the object says is trusted: an address outside its segments is as if
//! there were nothing. Addresses are those that the object was linked to.

use libc::{Elf64_Phdr, Elf64_Sym};

/// Segments of an object that are looked at; those beyond are as if not there.
const MAX_LOADS: usize = 16;

/// What is readable of an object.
#[derive(Debug, Clone, Copy)]
pub struct Image<'a> {
    loads: [(u64, &'a [u8]); MAX_LOADS],
}

impl<'a> Image<'a> {
    /// An object of these segments: the address that each was linked to, and its bytes.
    pub fn new(loads: impl IntoIterator<Item = (u64, &'a [u8])>) -> Self {
        let mut image = Image {
            loads: [(0, &[]); MAX_LOADS],
        };
        for (to, load) in image.loads.iter_mut().zip(loads) {
            *to = load;
        }
        image
    }

    /// From an address to the end of its segment.
    fn rest(&self, address: u64) -> Option<&'a [u8]> {
        self.loads.iter().find_map(|(start, bytes)| {
            let offset = address.checked_sub(*start)?;
            let rest = bytes.get(usize::try_from(offset).ok()?..)?;
            (!rest.is_empty()).then_some(rest)
        })
    }

    /// So many bytes, if a segment has them.
    pub fn bytes(&self, address: u64, len: usize) -> Option<&'a [u8]> {
        self.rest(address)?.get(..len)
    }

    fn read<const N: usize>(&self, address: u64) -> Option<[u8; N]> {
        self.rest(address)?.first_chunk().copied()
    }

    fn u16(&self, address: u64) -> Option<u16> {
        self.read(address).map(u16::from_le_bytes)
    }

    fn u32(&self, address: u64) -> Option<u32> {
        self.read(address).map(u32::from_le_bytes)
    }

    fn u64(&self, address: u64) -> Option<u64> {
        self.read(address).map(u64::from_le_bytes)
    }

    /// The string there, without its end.
    fn string(&self, address: u64) -> Option<&'a [u8]> {
        let rest = self.rest(address)?;
        rest.iter().position(|&b| b == 0).map(|end| &rest[..end])
    }
}

/// A symbol that an object defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Symbol {
    /// Where it is.
    pub address: u64,
    /// The address is of a function that returns the symbol's (STT_GNU_IFUNC).
    pub indirect: bool,
}

/// The tables of an object.
#[derive(Debug, Clone, Copy)]
pub struct Symbols<'a> {
    image: Image<'a>,
    names: u64,
    symbols: u64,
    gnu_hash: Option<u64>,
    hash: Option<u64>,
    versions: Option<u64>,
    soname: Option<u64>,
}

impl<'a> Symbols<'a> {
    /// The tables that the dynamic section at `dynamic` names. The loader may have added
    /// `bias`, by which the object was moved, to the addresses there.
    pub fn new(image: Image<'a>, dynamic: u64, bias: u64) -> Option<Self> {
        let place = |value: u64| {
            let moved = value.wrapping_sub(bias);
            if image.rest(moved).is_some() {
                moved
            } else {
                value
            }
        };
        let (mut names, mut symbols, mut soname) = (None, None, None);
        let (mut gnu_hash, mut hash, mut versions) = (None, None, None);
        let mut at = dynamic;
        loop {
            let (tag, value) = (image.u64(at)?, image.u64(at.checked_add(8)?)?);
            match tag {
                DT_NULL => break,
                DT_HASH => hash = Some(place(value)),
                DT_STRTAB => names = Some(place(value)),
                DT_SYMTAB => symbols = Some(place(value)),
                DT_SONAME => soname = Some(value),
                DT_GNU_HASH => gnu_hash = Some(place(value)),
                DT_VERSYM => versions = Some(place(value)),
                _ => {}
            }
            at = at.checked_add(16)?;
        }
        Some(Symbols {
            image,
            names: names?,
            symbols: symbols?,
            gnu_hash,
            hash,
            versions,
            soname,
        })
    }

    /// The name under which other objects need this one.
    pub fn soname(&self) -> Option<&'a [u8]> {
        self.image.string(self.names.checked_add(self.soname?)?)
    }

    /// The definition that a reference without a version gets: not one that is kept for
    /// old programs.
    pub fn find(&self, name: &[u8]) -> Option<Symbol> {
        if name.is_empty() || name.contains(&0) {
            return None;
        }
        match (self.gnu_hash, self.hash) {
            (Some(table), _) => self.find_gnu(table, name),
            (None, Some(table)) => self.find_sysv(table, name),
            (None, None) => None,
        }
    }

    fn find_gnu(&self, table: u64, name: &[u8]) -> Option<Symbol> {
        let word = |n: u64| self.image.u32(table.checked_add(n.checked_mul(4)?)?);
        let (buckets, first, filters) = (word(0)?, word(1)?, word(2)?);
        if buckets == 0 || filters == 0 {
            return None;
        }
        let hash = gnu_hash(name);
        let filter = u64::from(hash / 64 % filters);
        let filter = self.image.u64(table.checked_add(16 + filter * 8)?)?;
        let second = hash.checked_shr(word(3)?).unwrap_or(0);
        if filter >> (hash % 64) & filter >> (second % 64) & 1 == 0 {
            return None;
        }
        // The head's four words, the filters, the buckets, the chains.
        let buckets_at = 4 + u64::from(filters) * 2;
        let mut index = word(buckets_at + u64::from(hash % buckets))?;
        loop {
            let chain = buckets_at + u64::from(buckets) + u64::from(index.checked_sub(first)?);
            let found = word(chain)?;
            if found | 1 == hash | 1
                && let Some(symbol) = self.symbol(index, name)
            {
                return Some(symbol);
            }
            if found & 1 != 0 {
                return None;
            }
            index = index.checked_add(1)?;
        }
    }

    fn find_sysv(&self, table: u64, name: &[u8]) -> Option<Symbol> {
        let word = |n: u64| self.image.u32(table.checked_add(n.checked_mul(4)?)?);
        let (buckets, chains) = (word(0)?, word(1)?);
        if buckets == 0 {
            return None;
        }
        let mut index = word(2 + u64::from(sysv_hash(name) % buckets))?;
        // A chain that is longer than the table goes round.
        for _ in 0..chains {
            if index == 0 || index >= chains {
                return None;
            }
            if let Some(symbol) = self.symbol(index, name) {
                return Some(symbol);
            }
            index = word(2 + u64::from(buckets) + u64::from(index))?;
        }
        None
    }

    /// The symbol of this index, if it is defined and has this name.
    fn symbol(&self, index: u32, name: &[u8]) -> Option<Symbol> {
        const SIZE: u64 = size_of::<Elf64_Sym>() as u64;
        let at = self.symbols.checked_add(u64::from(index) * SIZE)?;
        let own_name = u64::from(self.image.u32(at)?);
        let [info, _] = self.image.read(at.checked_add(4)?)?;
        let section = self.image.u16(at.checked_add(6)?)?;
        let value = self.image.u64(at.checked_add(8)?)?;
        let kind = info & 0xf;
        if section == SHN_UNDEF || kind == STT_TLS {
            return None;
        }
        if let Some(versions) = self.versions {
            let version = versions.checked_add(u64::from(index) * 2)?;
            if self.image.u16(version)? & VERSYM_HIDDEN != 0 {
                return None;
            }
        }
        let found = self.image.string(self.names.checked_add(own_name)?)?;
        (found == name).then_some(Symbol {
            address: value,
            indirect: kind == STT_GNU_IFUNC,
        })
    }
}

/// The addresses of an object's dynamic section, by its program headers.
pub fn dynamic_of(headers: &[Elf64_Phdr]) -> Option<u64> {
    let dynamic = headers.iter().find(|h| h.p_type == libc::PT_DYNAMIC)?;
    Some(dynamic.p_vaddr)
}

const DT_NULL: u64 = 0;
const DT_HASH: u64 = 4;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_SONAME: u64 = 14;
const DT_GNU_HASH: u64 = 0x6fff_fef5;
const DT_VERSYM: u64 = 0x6fff_fff0;
const SHN_UNDEF: u16 = 0;
const STT_TLS: u8 = 6;
const STT_GNU_IFUNC: u8 = 10;
/// The definition is not the default one of its name.
const VERSYM_HIDDEN: u16 = 0x8000;

/// The hash of DT_GNU_HASH.
fn gnu_hash(name: &[u8]) -> u32 {
    name.iter().fold(5381, |hash: u32, &byte| {
        hash.wrapping_mul(33).wrapping_add(u32::from(byte))
    })
}

/// The hash of DT_HASH (System V ABI).
fn sysv_hash(name: &[u8]) -> u32 {
    name.iter().fold(0, |hash: u32, &byte| {
        let hash = (hash << 4).wrapping_add(u32::from(byte));
        let high = hash & 0xf000_0000;
        (hash ^ high >> 24) & !high
    })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
