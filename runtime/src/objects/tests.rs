//! Tables that are made for a test, and damaged ones.

use super::*;
use proptest::prelude::*;

/// An object with these symbols, one segment at `START`: its bytes, and where its dynamic
/// section is. `hidden` are definitions for old programs.
struct Made {
    bytes: Vec<u8>,
    dynamic: u64,
}

const START: u64 = 0x1000;
const SONAME: &[u8] = b"libmade.so.1";

#[derive(Debug, Clone)]
struct Entry {
    name: Vec<u8>,
    value: u64,
    hidden: bool,
}

fn words(bytes: &mut Vec<u8>, words: &[u32]) {
    words.iter().for_each(|w| bytes.extend(w.to_le_bytes()));
}

fn make(entries: &[Entry], gnu: bool, bias: u64) -> Made {
    const BUCKETS: u32 = 3;
    const FILTERS: u32 = 2;
    const SHIFT: u32 = 6;
    let mut sorted = entries.to_vec();
    if gnu {
        sorted.sort_by_key(|e| gnu_hash(&e.name) % BUCKETS);
    }
    let mut bytes = Vec::new();
    let place = |bytes: &mut Vec<u8>| {
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        START + bytes.len() as u64
    };
    // Strings.
    let names_at = place(&mut bytes);
    bytes.push(0);
    let soname = bytes.len() as u64;
    bytes.extend(SONAME);
    bytes.push(0);
    let mut at = Vec::new();
    for entry in &sorted {
        at.push(bytes.len() as u32);
        bytes.extend(&entry.name);
        bytes.push(0);
    }
    // Symbols, after the null one.
    let symbols_at = place(&mut bytes);
    bytes.extend([0; 24]);
    for (entry, name) in sorted.iter().zip(&at) {
        words(&mut bytes, &[*name]);
        bytes.extend([0x12, 0, 7, 0]);
        bytes.extend(entry.value.to_le_bytes());
        bytes.extend([0; 8]);
    }
    let versions_at = place(&mut bytes);
    bytes.extend([0; 2]);
    for entry in &sorted {
        let version: u16 = if entry.hidden { VERSYM_HIDDEN | 3 } else { 2 };
        bytes.extend(version.to_le_bytes());
    }
    let hash_at = place(&mut bytes);
    let count = sorted.len() as u32;
    if gnu {
        words(&mut bytes, &[BUCKETS, 1, FILTERS, SHIFT]);
        let mut filters = [0u64; FILTERS as usize];
        for entry in &sorted {
            let hash = gnu_hash(&entry.name);
            filters[(hash / 64 % FILTERS) as usize] |=
                1 << (hash % 64) | 1 << ((hash >> SHIFT) % 64);
        }
        filters.iter().for_each(|f| bytes.extend(f.to_le_bytes()));
        let bucket = |n: u32| gnu_hash(&sorted[n as usize].name) % BUCKETS;
        for wanted in 0..BUCKETS {
            let first = (0..count).find(|&n| bucket(n) == wanted);
            words(&mut bytes, &[first.map_or(0, |n| n + 1)]);
        }
        for n in 0..count {
            let last = n + 1 == count || bucket(n + 1) != bucket(n);
            let hash = gnu_hash(&sorted[n as usize].name);
            words(&mut bytes, &[hash & !1 | u32::from(last)]);
        }
    } else {
        words(&mut bytes, &[BUCKETS, count + 1]);
        let mut buckets = [0; BUCKETS as usize];
        let mut chains = vec![0; sorted.len() + 1];
        for (n, entry) in (1..).zip(&sorted) {
            let bucket = &mut buckets[(sysv_hash(&entry.name) % BUCKETS) as usize];
            chains[n as usize] = *bucket;
            *bucket = n;
        }
        words(&mut bytes, &buckets);
        words(&mut bytes, &chains);
    }
    let dynamic = place(&mut bytes);
    let hash_tag = if gnu { DT_GNU_HASH } else { DT_HASH };
    for (tag, value) in [
        (DT_STRTAB, names_at.wrapping_add(bias)),
        (DT_SYMTAB, symbols_at.wrapping_add(bias)),
        (DT_SONAME, soname),
        (DT_VERSYM, versions_at.wrapping_add(bias)),
        (hash_tag, hash_at.wrapping_add(bias)),
        (DT_NULL, 0),
    ] {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(value.to_le_bytes());
    }
    Made { bytes, dynamic }
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let names = prop::collection::btree_set("[a-z_0-9]{1,20}", 0..40);
    names.prop_flat_map(|names| {
        let count = names.len();
        (
            Just(names),
            prop::collection::vec((any::<u64>(), any::<bool>()), count),
        )
            .prop_map(|(names, rest)| {
                let make = |(name, (value, hidden)): (String, _)| Entry {
                    name: name.into_bytes(),
                    value,
                    hidden,
                };
                names.into_iter().zip(rest).map(make).collect()
            })
    })
}

proptest! {
    #[test]
    fn exactly_what_is_defined_is_found(
        entries in entries(),
        gnu: bool,
        moved: bool,
        other in "[a-z_0-9]{1,20}",
    ) {
        let bias = if moved { 0x7f00_0000_0000 } else { 0 };
        let made = make(&entries, gnu, bias);
        let image = Image::new([(START, &made.bytes[..])]);
        // The loader adds the bias, or does not.
        for bias in [bias, 0x5500_0000_0000] {
            if bias == 0x5500_0000_0000 && moved {
                continue;
            }
            let symbols = Symbols::new(image, made.dynamic, bias).unwrap();
            prop_assert_eq!(symbols.soname(), Some(SONAME));
            for entry in &entries {
                let found = symbols.find(&entry.name).map(|s| s.address);
                prop_assert_eq!(found, (!entry.hidden).then_some(entry.value));
            }
            let is_there = entries.iter().any(|e| e.name == other.as_bytes() && !e.hidden);
            prop_assert_eq!(symbols.find(other.as_bytes()).is_some(), is_there);
            prop_assert_eq!(symbols.find(b""), None);
        }
    }

    #[test]
    fn a_damaged_object_is_no_danger(
        entries in entries(),
        gnu: bool,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut made = make(&entries, gnu, 0);
        for (at, value) in damage {
            let at = at.index(made.bytes.len());
            made.bytes[at] = value;
        }
        let cut = cut.index(made.bytes.len());
        for bytes in [&made.bytes[..], &made.bytes[..cut]] {
            let image = Image::new([(START, bytes)]);
            if let Some(symbols) = Symbols::new(image, made.dynamic, 0) {
                symbols.soname();
                for entry in &entries {
                    symbols.find(&entry.name);
                }
            }
        }
    }
}
