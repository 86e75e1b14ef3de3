//! Objects made of given functions, with unwind tables for them.

use gevent_shim::cfi;
use gevent_shim::image::{Image, Segment};
use gevent_shim::plan::{Plan, plan};
use gevent_shim::scan::{Wanted, candidates, scan};

/// Where the functions begin.
pub const TEXT: u64 = 0x10_0000;
/// Where `data` lies.
pub const DATA: u64 = 0x20_0000;
const HDR: u64 = 0x30_0000;

/// An object.
#[derive(Debug, Clone)]
pub struct Object {
    /// The code of all functions, one after the other.
    pub text: Vec<u8>,
    /// Constants, at [`DATA`].
    pub data: Vec<u8>,
    /// The entry point.
    pub entry: u64,
    hdr: Vec<u8>,
}

impl Object {
    /// Functions with their code, and how much of it their entry covers.
    pub fn new(functions: &[(Vec<u8>, u32)]) -> Self {
        let mut text = Vec::new();
        let mut entries = Vec::new();
        for (code, len) in functions {
            entries.push(cfi::Entry {
                start: TEXT + text.len() as u64,
                len: *len,
                ra: 0,
            });
            text.extend(code);
        }
        let hdr_len = 12 + 8 * entries.len();
        let frame = HDR + hdr_len as u64;
        let mut hdr = vec![1, 0x1b, 0x03, 0x3b];
        hdr.extend((hdr_len as u32 - 4).to_le_bytes());
        hdr.extend((entries.len() as u32).to_le_bytes());
        for (i, entry) in entries.iter().enumerate() {
            hdr.extend((entry.start.wrapping_sub(HDR) as i32).to_le_bytes());
            let fde = frame + cfi::size(i) as u64 - 4;
            hdr.extend((fde.wrapping_sub(HDR) as i32).to_le_bytes());
        }
        hdr.extend(cfi::eh_frame(frame, &entries).unwrap());
        Self {
            text,
            data: Vec::new(),
            entry: 0,
            hdr,
        }
    }

    /// What the planner sees.
    pub fn image(&self) -> Image<'_> {
        let segment = |addr, bytes, exec| Segment { addr, bytes, exec };
        Image {
            segments: vec![
                segment(TEXT, &self.text[..], true),
                segment(DATA, &self.data[..], false),
                segment(HDR, &self.hdr[..], false),
            ],
            eh_frame_hdr: Some(HDR),
            fixed: false,
            entry: self.entry,
            build_id: None,
        }
    }

    /// Its plan, with the given live addresses.
    pub fn plan(&self, live: &[u64]) -> Plan {
        let image = self.image();
        let found = candidates(&image, Wanted::All);
        let scan = scan(&image, &found, live);
        plan(&scan, |start, end| image.get(start, end - start))
    }
}
