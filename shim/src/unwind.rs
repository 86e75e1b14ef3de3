//! Where functions begin and end, and where exceptions land: the object's
//! unwind tables.

use gimli::{
    BaseAddresses, EhFrame, EhFrameHdr, EndianSlice, LittleEndian, Pointer, Reader, UnwindSection,
};

use crate::image::Image;

type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// The addresses that one entry of the tables covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Function {
    /// First address.
    pub start: u64,
    /// Address after the last one.
    pub end: u64,
    /// Its table of landing pads.
    pub lsda: Option<u64>,
    /// The kernel built its frame, for a handler to return to.
    pub signal_return: bool,
}

/// The sorted table of `.eh_frame_hdr`.
#[derive(Debug)]
pub struct Unwind<'a> {
    hdr_addr: u64,
    /// Distance of the function's first address, distance of its entry.
    table: &'a [[u8; 8]],
    frame: EhFrame<Slice<'a>>,
    frame_addr: u64,
    bases: BaseAddresses,
}

impl<'a> Unwind<'a> {
    /// `None` if the object has no such table or it is not well formed.
    pub fn parse(image: &Image<'a>) -> Option<Self> {
        let hdr_addr = image.eh_frame_hdr?;
        let bases = BaseAddresses::default().set_eh_frame_hdr(hdr_addr);
        let hdr = EhFrameHdr::new(image.from(hdr_addr)?, LittleEndian)
            .parse(&bases, 8)
            .ok()?;
        let Pointer::Direct(frame_addr) = hdr.eh_frame_ptr() else {
            return None;
        };
        let bases = bases.set_eh_frame(frame_addr);
        // The one form that linkers write and unwinders search in: pairs of
        // 4-byte distances from the header.
        let bytes = image.from(hdr_addr)?;
        (bytes.get(1..4)? == [PCREL_SDATA4, UDATA4, DATAREL_SDATA4]).then_some(())?;
        let count = u32::from_le_bytes(bytes.get(8..12)?.try_into().ok()?) as usize;
        let (table, _) = bytes.get(12..)?.as_chunks::<8>();
        let table = table.get(..count)?;
        table.is_sorted_by_key(distance).then_some(())?;
        Some(Self {
            hdr_addr,
            table,
            frame: EhFrame::new(image.from(frame_addr)?, LittleEndian),
            frame_addr,
            bases,
        })
    }

    /// The last function that begins at or before `addr`, and the begin of the
    /// one after it.
    pub fn at_or_before(&self, addr: u64) -> Option<(Function, Option<u64>)> {
        let start_of = |e: &[u8; 8]| self.hdr_addr.wrapping_add_signed(distance(e));
        let after = self.table.partition_point(|e| start_of(e) <= addr);
        let pair = self.table.get(after.checked_sub(1)?)?;
        let start = start_of(pair);
        let [_, _, _, _, entry @ ..] = *pair;
        let entry = self
            .hdr_addr
            .wrapping_add_signed(i32::from_le_bytes(entry).into());
        let next = self.table.get(after).map(start_of);
        let offset = usize::try_from(entry.checked_sub(self.frame_addr)?).ok()?;
        let fde = self
            .frame
            .fde_from_offset(&self.bases, offset.into(), EhFrame::cie_from_offset)
            .ok()?;
        (fde.initial_address() == start && fde.len() > 0).then_some(())?;
        let lsda = match fde.lsda() {
            None => None,
            Some(Pointer::Direct(addr)) => Some(addr),
            Some(Pointer::Indirect(_)) => return None,
        };
        let end = fde.initial_address().checked_add(fde.len())?;
        let function = Function {
            start,
            end,
            lsda,
            signal_return: fde.is_signal_trampoline(),
        };
        Some((function, next))
    }
}

/// Of a function's first address from the header.
fn distance(pair: &[u8; 8]) -> i64 {
    let [start @ .., _, _, _, _] = *pair;
    i32::from_le_bytes(start).into()
}

/// The landing pads of a function: addresses that the unwinder jumps to.
/// `None` if the table can't be read.
pub fn landing_pads(image: &Image<'_>, function: &Function) -> Option<Vec<u64>> {
    let Some(lsda) = function.lsda else {
        return Some(Vec::new());
    };
    let mut r = Slice::new(image.from(lsda)?, LittleEndian);
    // A landing pad base of its own is only written for code split over
    // sections in ways this reader does not follow.
    (r.read_u8().ok()? == OMIT).then_some(())?;
    if r.read_u8().ok()? != OMIT {
        r.read_uleb128().ok()?;
    }
    let encoding = r.read_u8().ok()?;
    let size = r.read_uleb128().ok()?;
    let mut r = r.split(usize::try_from(size).ok()?).ok()?;
    let mut pads = Vec::new();
    while !r.is_empty() {
        let mut value = || match encoding {
            ULEB128 => r.read_uleb128().ok(),
            UDATA4 => r.read_u32().ok().map(u64::from),
            _ => None,
        };
        let (_start, _len, pad) = (value()?, value()?, value()?);
        r.read_uleb128().ok()?;
        if pad != 0 {
            pads.push(function.start.checked_add(pad)?);
        }
    }
    Some(pads)
}

const OMIT: u8 = 0xff;
const ULEB128: u8 = 0x01;
const UDATA4: u8 = 0x03;
const PCREL_SDATA4: u8 = 0x1b;
const DATAREL_SDATA4: u8 = 0x3b;
