//! What kind of program an ELF file holds, and why the library serves some kinds not at all.
//!
//! Three ask: the constructor of the library, for the program that it is in; the event that
//! tells of a program about to be started; and the launcher, before it becomes one. The first two
//! must not allocate, and the second may be in a child on its parent's memory, so nothing
//! here does, and what is read is read through [`Source`].
//!
//! # Go
//! The runtime of Go makes its system calls itself, on stacks of a few hundred bytes, which
//! have no room for a stub's way into the runtime, and waits in raw futexes for threads that
//! libc makes for it. What a linker of Go's leaves: a note with the name "Go" (the id of the
//! build), unless the program was linked with an empty one, and the record that `go version`
//! reads, in a segment of data. Section headers may be stripped; neither is looked up by them.

/// Bytes of an ELF file, or of its image in memory, by where they are.
pub trait Source {
    /// Fills `into` from the byte at `at` on. False: there are not that many.
    fn fill(&self, at: u64, into: &mut [u8]) -> bool;

    /// `N` bytes from the one at `at` on.
    fn bytes<const N: usize>(&self, at: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(at, &mut bytes).then_some(bytes)
    }
}

impl Source for &[u8] {
    fn fill(&self, at: u64, into: &mut [u8]) -> bool {
        let part = usize::try_from(at)
            .ok()
            .and_then(|at| self.get(at..at.checked_add(into.len())?));
        part.is_some_and(|part| {
            into.copy_from_slice(part);
            true
        })
    }
}

/// Why the library can't serve a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Why {
    /// It has no interpreter.
    Static,
    /// It holds the runtime of Go.
    Go,
    /// It is for another processor.
    Foreign,
    /// Its addresses have 32 bits, or its bytes another order.
    OtherClass,
    /// Another dynamic linker than glibc's loads it.
    OtherLinker,
    /// Its headers lead out of the file.
    Damaged,
    /// It is set-user-ID or set-group-ID.
    OtherUser,
    /// Its file has capabilities.
    Capabilities,
}

impl Why {
    /// All of them, in their order.
    pub const ALL: [Why; 8] = [
        Why::Static,
        Why::Go,
        Why::Foreign,
        Why::OtherClass,
        Why::OtherLinker,
        Why::Damaged,
        Why::OtherUser,
        Why::Capabilities,
    ];

    /// In words that fit behind "it".
    pub fn in_words(self) -> &'static str {
        match self {
            Why::Static => "is statically linked: no dynamic linker loads a library beside it",
            Why::Go => "is a Go program: its runtime makes its system calls itself, without libc",
            Why::Foreign => "is for another processor: the library is for 64-bit x86",
            Why::OtherClass => "is 32-bit or big-endian: the library is for 64-bit x86",
            Why::OtherLinker => "is not loaded by glibc's dynamic linker",
            Why::Damaged => "is a damaged ELF file",
            Why::OtherUser => {
                "is set-user-ID or set-group-ID: the dynamic linker ignores LD_PRELOAD"
            }
            Why::Capabilities => "has file capabilities: the dynamic linker ignores LD_PRELOAD",
        }
    }
}

/// Longest path of an interpreter that is looked at, in bytes.
pub const INTERPRETER_MAX: usize = 256;

/// The file name of glibc's dynamic linker, which is part of the ABI.
const LINKER: &[u8] = b"ld-linux-x86-64.so.2";

/// e_machine of this processor.
const EM_X86_64: u16 = 62;

/// An entry of the program headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// `PT_*`.
    pub kind: u32,
    /// `PF_*`.
    pub flags: u32,
    /// Where it begins in the file.
    pub offset: u64,
    /// Its link-time address.
    pub addr: u64,
    /// Its bytes in the file.
    pub size: u64,
    /// Its alignment.
    pub align: u64,
}

impl Part {
    fn parse(entry: &[u8; 56]) -> Part {
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&entry[at..at + 8]);
            u64::from_le_bytes(word)
        };
        Part {
            kind: word(0) as u32,
            flags: (word(0) >> 32) as u32,
            offset: word(8),
            addr: word(16),
            size: word(32),
            align: word(48),
        }
    }
}

/// Why the library can't serve the program whose file this is, as far as the program headers
/// tell. `None` for what is no ELF file, too. Any mode.
pub fn why_not(file: &impl Source) -> Option<Why> {
    let header: [u8; 64] = match file.bytes(0) {
        Some(header) => header,
        None => return is_elf(file).then_some(Why::Damaged),
    };
    if !header.starts_with(b"\x7fELF") {
        return None;
    }
    let half = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    if header[4..6] != [2, 1] {
        return Some(Why::OtherClass);
    }
    if half(18) != EM_X86_64 {
        return Some(Why::Foreign);
    }
    let mut table = [0; 8];
    table.copy_from_slice(&header[32..40]);
    let (table, size) = (u64::from_le_bytes(table), u64::from(half(54)));
    let mut interpreter = None;
    for i in 0..u64::from(half(56)) {
        let at = table.checked_add(i * size);
        let Some(entry) = at.and_then(|at| file.bytes(at)) else {
            return Some(Why::Damaged);
        };
        let part = Part::parse(&entry);
        match part.kind {
            libc::PT_INTERP => interpreter = Some(part),
            libc::PT_NOTE if has_note_of_go(file, part.offset, part.size) => return Some(Why::Go),
            _ => {}
        }
    }
    match interpreter {
        None => Some(Why::Static),
        Some(part) => match is_glibcs(file, part) {
            None => Some(Why::Damaged),
            Some(true) => None,
            Some(false) => Some(Why::OtherLinker),
        },
    }
}

/// Whether this is the file of a program for another processor, or of another class or order of
/// bytes: whose dynamic linker says so of every object that it is to load first. Any mode.
pub fn is_foreign(file: &impl Source) -> bool {
    let mut header = [0; 20];
    if !file.fill(0, &mut header) {
        return false;
    }
    let machine = u16::from_le_bytes([header[18], header[19]]);
    header.starts_with(b"\x7fELF") && (header[4..6] != [2, 1] || machine != EM_X86_64)
}

fn is_elf(file: &impl Source) -> bool {
    file.bytes::<4>(0) == Some(*b"\x7fELF")
}

/// Whether the interpreter that this part names is glibc's dynamic linker, by its name.
fn is_glibcs(file: &impl Source, part: Part) -> Option<bool> {
    let mut path = [0; INTERPRETER_MAX];
    let path = interpreter(file, part, &mut path)?;
    Some(path.rsplit(|byte| *byte == b'/').next() == Some(LINKER))
}

/// The path that a part of the kind `PT_INTERP` holds.
pub fn interpreter<'a>(
    file: &impl Source,
    part: Part,
    into: &'a mut [u8; INTERPRETER_MAX],
) -> Option<&'a [u8]> {
    let path = &mut into[..usize::try_from(part.size).ok()?.min(INTERPRETER_MAX)];
    file.fill(part.offset, path).then_some(())?;
    let len = path.iter().position(|byte| *byte == 0)?;
    Some(&path[..len])
}

/// Most notes that are looked at.
const NOTES: usize = 16;

/// Whether one of the notes in the `size` bytes from `at` on is the id of a build of Go's. Any mode.
pub fn has_note_of_go(source: &impl Source, at: u64, size: u64) -> bool {
    let mut done = 0u64;
    for _ in 0..NOTES {
        let note = at
            .checked_add(done)
            .and_then(|at| source.bytes::<16>(at))
            .filter(|_| size.saturating_sub(done) >= 16);
        let Some(note) = note else {
            return false;
        };
        if note[12..] == *b"Go\0\0" {
            return true;
        }
        let length = |i: usize| {
            let bytes = [note[i], note[i + 1], note[i + 2], note[i + 3]];
            u64::from(u32::from_le_bytes(bytes)).next_multiple_of(4)
        };
        done += 12 + length(0) + length(4);
    }
    false
}

/// The begin of the record that `go version` reads, up to the size of a pointer.
const RECORD: &[u8; 15] = b"\xff Go buildinf:\x08";

/// How the record is aligned.
const RECORD_ALIGN: usize = 16;

/// Whether the bytes of a segment of data, the first of which has the address `addr`, hold the
/// record of a build of Go's.
pub fn has_record_of_go(data: &[u8], addr: u64) -> bool {
    let before = addr.wrapping_neg() as usize % RECORD_ALIGN;
    let (places, _) = data
        .get(before..)
        .unwrap_or_default()
        .as_chunks::<RECORD_ALIGN>();
    places.iter().any(|place| place.starts_with(RECORD))
}

/// The program headers of the ELF object whose image begins at `start` of `source`.
pub fn parts<S: Source>(source: &S, start: u64) -> impl Iterator<Item = Part> + '_ {
    let header = source
        .bytes::<64>(start)
        .filter(|header| header.starts_with(b"\x7fELF\x02\x01"));
    let (table, size, count) = header.map_or((0, 0, 0), |header| {
        let half = |at: usize| u64::from(u16::from_le_bytes([header[at], header[at + 1]]));
        let mut table = [0; 8];
        table.copy_from_slice(&header[32..40]);
        (u64::from_le_bytes(table), half(54), half(56))
    });
    (0..count).map_while(move |i| {
        let at = start.checked_add(table)?.checked_add(i * size)?;
        source.bytes(at).map(|entry| Part::parse(&entry))
    })
}

/// Bytes of a segment that are looked at together: a multiple of [`RECORD_ALIGN`].
const PIECE: usize = 4096;

/// Whether the object whose file this is holds Go's runtime.
pub fn holds_go(file: &impl Source) -> bool {
    parts(file, 0).any(|part| match part.kind {
        libc::PT_NOTE => has_note_of_go(file, part.offset, part.size),
        libc::PT_LOAD if part.flags & libc::PF_W != 0 => holds_record_of_go(file, part),
        _ => false,
    })
}

/// Whether a segment of data holds the record of a build of Go's.
fn holds_record_of_go(file: &impl Source, part: Part) -> bool {
    let mut piece = [0; PIECE];
    let mut done = 0;
    while done < part.size {
        // The next piece begins where a record may, so that none is cut.
        let addr = part.addr.wrapping_add(done);
        let most = PIECE as u64 - addr % RECORD_ALIGN as u64;
        let piece = &mut piece[..most.min(part.size - done) as usize];
        let at = part.offset.checked_add(done);
        if !at.is_some_and(|at| file.fill(at, piece)) {
            return false;
        }
        if has_record_of_go(piece, addr) {
            return true;
        }
        done += piece.len() as u64;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A note with that name.
    fn note(name: &[u8], described: usize) -> Vec<u8> {
        let mut note = Vec::new();
        note.extend((name.len() as u32).to_le_bytes());
        note.extend((described as u32).to_le_bytes());
        note.extend(4u32.to_le_bytes());
        note.extend(name);
        note.resize(
            note.len().next_multiple_of(4) + described.next_multiple_of(4),
            7,
        );
        note
    }

    /// A file with these parts behind its header: kind and bytes.
    fn file(parts: &[(u32, &[u8])]) -> Vec<u8> {
        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(64, 0);
        file[18] = 62;
        file[32] = 64;
        file[54] = 56;
        file[56] = parts.len() as u8;
        let mut at = 64 + 56 * parts.len();
        for (kind, bytes) in parts {
            let mut entry = kind.to_le_bytes().to_vec();
            entry.extend(4u32.to_le_bytes());
            for word in [at, at, at, bytes.len(), bytes.len(), 4] {
                entry.extend((word as u64).to_le_bytes());
            }
            file.extend(entry);
            at += bytes.len();
        }
        for (_, bytes) in parts {
            file.extend(*bytes);
        }
        file
    }

    fn why(bytes: &[u8]) -> Option<Why> {
        why_not(&bytes)
    }

    const GLIBC: (u32, &[u8]) = (libc::PT_INTERP, b"/nix/x/lib/ld-linux-x86-64.so.2\0");

    #[test]
    fn kinds_are_told_by_their_headers() {
        assert_eq!(why(b""), None);
        assert_eq!(why(b"#!/bin/sh\n"), None);
        assert_eq!(why(b"\x7fELF\x02\x01"), Some(Why::Damaged));
        assert_eq!(why(&file(&[])), Some(Why::Static));
        assert_eq!(why(&file(&[GLIBC])), None);
        let musl = (libc::PT_INTERP, &b"/lib/ld-musl-x86_64.so.1\0"[..]);
        assert_eq!(why(&file(&[musl])), Some(Why::OtherLinker));
        let endless = (libc::PT_INTERP, &b"/lib/ld-linux-x86-64.so.2"[..]);
        assert_eq!(why(&file(&[endless])), Some(Why::Damaged));
        for (at, byte, expected) in [
            (4, 1, Why::OtherClass),
            (5, 2, Why::OtherClass),
            (18, 0xb7, Why::Foreign),
            // The headers, and the interpreter's name, lie behind the end.
            (39, 1, Why::Damaged),
            (64 + 14, 1, Why::Damaged),
        ] {
            let mut file = file(&[GLIBC]);
            file[at] = byte;
            assert_eq!(why(&file), Some(expected), "{at}");
        }
    }

    #[test]
    fn a_note_of_go_counts_wherever_it_is() {
        let notes = [note(b"GNU\0", 20), note(b"Go\0\0", 83)].concat();
        assert_eq!(why(&file(&[GLIBC, (libc::PT_NOTE, &notes)])), Some(Why::Go));
        assert_eq!(why(&file(&[(libc::PT_NOTE, &notes)])), Some(Why::Go));
        let other = note(b"Go.\0", 4);
        assert_eq!(why(&file(&[GLIBC, (libc::PT_NOTE, &other)])), None);
        // Beyond the end of the part.
        let first = note(b"GNU\0", 20).len() as u64;
        assert!(!has_note_of_go(&&notes[..], 0, first));
    }

    #[test]
    fn a_record_of_go_counts_where_it_is_aligned() {
        let mut record = RECORD.to_vec();
        record.push(2);
        for skew in 0..16 {
            let mut data = vec![0xff; 16 - skew];
            data.extend(&record);
            assert!(has_record_of_go(&data, skew as u64), "{skew}");
            assert!(!has_record_of_go(&data, skew as u64 + 1), "{skew}");
        }
        assert!(!has_record_of_go(&record[..15], 0));
        assert!(!has_record_of_go(b"", 3));
    }

    #[test]
    fn the_record_is_found_wherever_it_lies_in_a_large_segment() {
        const DATA: usize = 256;
        for (skew, place) in [
            (0, 0),
            (0, PIECE - 16),
            (0, PIECE),
            (8, PIECE - 8),
            (8, 3 * PIECE + 8),
        ] {
            let mut file = vec![0; DATA + 4 * PIECE];
            file[..6].copy_from_slice(b"\x7fELF\x02\x01");
            (file[32], file[54], file[56]) = (64, 56, 1);
            let size = (4 * PIECE) as u64;
            let words = [
                u64::from(libc::PT_LOAD) | u64::from(libc::PF_W) << 32,
                DATA as u64,
                skew,
                0,
                size,
            ];
            for (i, word) in words.into_iter().enumerate() {
                file[64 + 8 * i..][..8].copy_from_slice(&word.to_le_bytes());
            }
            assert!(!holds_go(&&file[..]));
            file[DATA + place..][..RECORD.len()].copy_from_slice(RECORD);
            assert!(holds_go(&&file[..]), "{skew} {place}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_looked_at(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..600),
            size in any::<u64>(),
            addr in any::<u64>(),
        ) {
            if bytes.len() > 60 {
                bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
                bytes[18..20].copy_from_slice(&[62, 0]);
                bytes[32..40].copy_from_slice(&[64, 0, 0, 0, 0, 0, 0, 0]);
                bytes[54..58].copy_from_slice(&[56, 0, 4, 0]);
            }
            why(&bytes);
            has_note_of_go(&&bytes[..], 0, size);
            has_note_of_go(&&bytes[..], size, size);
            has_record_of_go(&bytes, addr);
            holds_go(&&bytes[..]);
            parts(&&bytes[..], 0).count();
        }
    }
}
