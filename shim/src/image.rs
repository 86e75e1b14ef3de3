//! An ELF object as the planner sees it: bytes by link-time address.
//!
//! Link-time addresses make a plan independent of where the object is loaded.
//! The bytes come from memory for an object that runs, or from its file for one
//! that the dynamic linker is still mapping.

use object::LittleEndian as LE;
use object::elf::{
    DT_FLAGS, DT_TEXTREL, Dyn64, ET_EXEC, FileHeader64, NT_GNU_BUILD_ID, PF_X, PT_DYNAMIC,
    PT_GNU_EH_FRAME, PT_LOAD, PT_NOTE, ProgramHeader64,
};
use object::read::elf::{Dyn, FileHeader, NoteIterator, ProgramHeader};

const DF_TEXTREL: u64 = 4;

/// Bytes of one loaded segment.
#[derive(Debug, Clone, Copy)]
pub struct Segment<'a> {
    /// Link-time address of the first byte.
    pub addr: u64,
    /// The file's part of the segment.
    pub bytes: &'a [u8],
    /// Executable.
    pub exec: bool,
}

impl<'a> Segment<'a> {
    /// Link-time address after the last byte.
    pub fn end(&self) -> u64 {
        self.addr + self.bytes.len() as u64
    }

    /// The bytes from `addr` to the segment's end.
    pub fn from(&self, addr: u64) -> Option<&'a [u8]> {
        let at = usize::try_from(addr.checked_sub(self.addr)?).ok()?;
        self.bytes.get(at..)
    }
}

/// What the program headers say.
#[derive(Debug, Clone)]
pub struct Layout {
    /// `(address, file offset, size in the file, executable, writable)` of every
    /// loaded segment, by address.
    pub loads: Vec<Load>,
    /// Address of `.eh_frame_hdr`.
    pub eh_frame_hdr: Option<u64>,
    /// Address and size of the notes.
    notes: Vec<(u64, u64, u64)>,
    /// Address and size of the dynamic section.
    dynamic: Option<(u64, u64)>,
    /// Linked to run at its link-time address.
    pub fixed: bool,
    /// Address of the first instruction of a program.
    entry: u64,
}

/// One `PT_LOAD`.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Link-time address.
    pub addr: u64,
    /// Where in the file.
    pub offset: u64,
    /// Bytes in the file.
    pub size: u64,
    /// Executable.
    pub exec: bool,
}

/// Why an object can't be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// Not a 64-bit little-endian ELF object with program headers.
    #[error("not an ELF object of this machine")]
    NotElf,
    /// The loaded segments overflow or overlap.
    #[error("its segments make no sense")]
    BadSegments,
    /// Relocations would overwrite patched code.
    #[error("its text is relocated")]
    TextRelocations,
}

impl Layout {
    /// Reads the headers at the begin of `file` (the first page is enough).
    ///
    /// # Errors
    /// [`ImageError::NotElf`], [`ImageError::BadSegments`].
    pub fn parse(file: &[u8]) -> Result<Self, ImageError> {
        let header = FileHeader64::<LE>::parse(file).map_err(|_| ImageError::NotElf)?;
        if header.e_machine(LE) != object::elf::EM_X86_64 {
            return Err(ImageError::NotElf);
        }
        let headers: &[ProgramHeader64<LE>] = header
            .program_headers(LE, file)
            .map_err(|_| ImageError::NotElf)?;
        let mut layout = Self {
            loads: Vec::new(),
            eh_frame_hdr: None,
            notes: Vec::new(),
            dynamic: None,
            fixed: header.e_type(LE) == ET_EXEC,
            entry: header.e_entry(LE),
        };
        for p in headers {
            let (addr, size) = (p.p_vaddr(LE), p.p_filesz(LE));
            match p.p_type(LE) {
                PT_LOAD => layout.loads.push(Load {
                    addr,
                    offset: p.p_offset(LE),
                    size,
                    exec: p.p_flags(LE).0 & PF_X.0 != 0,
                }),
                PT_GNU_EH_FRAME => layout.eh_frame_hdr = Some(addr),
                PT_NOTE => layout.notes.push((addr, size, p.p_align(LE))),
                PT_DYNAMIC => layout.dynamic = Some((addr, size)),
                _ => {}
            }
        }
        let sane = layout.loads.iter().all(|l| {
            // Offsets within a text are kept in 32 bits.
            l.size < 1 << 31 && l.addr < 1 << 47 && l.offset.checked_add(l.size).is_some()
        }) && layout
            .loads
            .windows(2)
            .all(|w| w[0].addr + w[0].size <= w[1].addr);
        if layout.loads.is_empty() || !sane {
            return Err(ImageError::BadSegments);
        }
        Ok(layout)
    }
}

/// An object's bytes.
#[derive(Debug, Clone)]
pub struct Image<'a> {
    /// Its segments, by address.
    pub segments: Vec<Segment<'a>>,
    /// Address of `.eh_frame_hdr`.
    pub eh_frame_hdr: Option<u64>,
    /// Linked to run at its link-time address.
    pub fixed: bool,
    /// Address of the first instruction, if it is a program or the dynamic linker.
    pub entry: u64,
    /// The linker's identification of the contents.
    pub build_id: Option<&'a [u8]>,
}

impl<'a> Image<'a> {
    /// Joins the headers and the bytes of every `PT_LOAD`, in their order.
    ///
    /// # Errors
    /// [`ImageError::TextRelocations`].
    pub fn new(layout: &Layout, bytes: &[&'a [u8]]) -> Result<Self, ImageError> {
        let segments = layout
            .loads
            .iter()
            .zip(bytes)
            .map(|(load, bytes)| Segment {
                addr: load.addr,
                bytes,
                exec: load.exec,
            })
            .collect();
        let mut image = Self {
            segments,
            eh_frame_hdr: layout.eh_frame_hdr,
            fixed: layout.fixed,
            entry: layout.entry,
            build_id: None,
        };
        if let Some((addr, size)) = layout.dynamic
            && image.has_text_relocations(addr, size)
        {
            return Err(ImageError::TextRelocations);
        }
        image.build_id = layout
            .notes
            .iter()
            .find_map(|&(addr, size, align)| image.find_build_id(addr, size, align));
        Ok(image)
    }

    /// The bytes from `addr` to the end of the segment that holds it.
    pub fn from(&self, addr: u64) -> Option<&'a [u8]> {
        self.segments.iter().find_map(|s| s.from(addr))
    }

    /// `size` bytes at `addr`.
    pub fn get(&self, addr: u64, size: u64) -> Option<&'a [u8]> {
        self.from(addr)?.get(..usize::try_from(size).ok()?)
    }

    /// The executable segment that holds `addr`.
    pub fn text_at(&self, addr: u64) -> Option<Segment<'a>> {
        self.texts().find(|s| (s.addr..s.end()).contains(&addr))
    }

    /// The executable segments.
    pub fn texts(&self) -> impl Iterator<Item = Segment<'a>> + '_ {
        self.segments.iter().copied().filter(|s| s.exec)
    }

    fn has_text_relocations(&self, addr: u64, size: u64) -> bool {
        let Some(bytes) = self.get(addr, size) else {
            return false;
        };
        let count = bytes.len() / size_of::<Dyn64<LE>>();
        let Ok((entries, _)) = object::pod::slice_from_bytes::<Dyn64<LE>>(bytes, count) else {
            return false;
        };
        entries.iter().any(|d| {
            let tag = Dyn::d_tag(d, LE);
            tag == DT_TEXTREL || tag == DT_FLAGS && d.d_val(LE) & DF_TEXTREL != 0
        })
    }

    fn find_build_id(&self, addr: u64, size: u64, align: u64) -> Option<&'a [u8]> {
        let notes = NoteIterator::<FileHeader64<LE>>::new(LE, align, self.get(addr, size)?).ok()?;
        notes.filter_map(Result::ok).find_map(|note| {
            (note.name() == b"GNU" && note.n_type(LE) == NT_GNU_BUILD_ID).then(|| note.desc())
        })
    }
}
