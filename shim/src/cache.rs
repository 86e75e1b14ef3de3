//! Plans kept between runs, by the linker's build-id of the object and a digest of its code.
//!
//! A plan from here is used only if it fits the bytes at hand: every candidate
//! of the object is in it, planned or refused; the bytes of every window are
//! those in memory; and they decode to what a window may hold. What this does
//! not repeat is the proof that nothing jumps into a window, so the directory
//! must be the user's own and closed to others; else there is no cache. Anything
//! wrong with a file makes it as good as absent, and it is written again.
//!
//! The proof is about the functions that the sites are in. Two objects may have one
//! build-id: it is a note like any other, and one that is copied into an object that was changed
//! lies. So what is proved is a part of the name, as a [`digest`].
//!
//! Form of a file, little-endian: `MAGIC`; count of windows (4 bytes); count
//! of refusals (4 bytes); for each window its begin (8 bytes), the offset of the
//! site in it (1), its length (1) and its bytes; for each refusal the address
//! (8 bytes) and which it is (1); the [`checksum`] of all that (8 bytes).

use std::ffi::OsString;
use std::path::PathBuf;

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::image::Image;
use crate::kernel::{self, fstat, openat};
use crate::plan::{HOP_LEN, JUMP_LEN, Plan, Room, Window};
use crate::scan::{Refusal, Wanted};
use crate::unwind::Unwind;

/// First bytes of a file; changes with the planner's rules.
const MAGIC: &[u8; 16] = b"gevent-shim pln5";
/// Longest file that is read, in bytes.
const SIZE_MAX: usize = 1 << 20;

const REFUSALS: [Refusal; 8] = [
    Refusal::SignalReturn,
    Refusal::ProgramStart,
    Refusal::NoFunction,
    Refusal::NotAnInstruction,
    Refusal::IndirectJump,
    Refusal::LandingPads,
    Refusal::NoWindow,
    Refusal::Relocation,
];

/// Writes a plan in the form of a file.
pub fn encode(plan: &Plan) -> Option<Vec<u8>> {
    let mut out = MAGIC.to_vec();
    out.extend(u32::try_from(plan.windows.len()).ok()?.to_le_bytes());
    out.extend(u32::try_from(plan.refused.len()).ok()?.to_le_bytes());
    for w in &plan.windows {
        out.extend(w.start.to_le_bytes());
        out.push(u8::try_from(w.site - w.start).ok()?);
        out.push(u8::try_from(w.bytes.len()).ok()?);
        out.extend(&w.bytes);
        if w.bytes.len() as u64 == HOP_LEN {
            let room = w.room.as_ref()?;
            out.extend(room.start.to_le_bytes());
            out.extend(room.bytes);
        }
    }
    for (addr, refusal) in &plan.refused {
        out.extend(addr.to_le_bytes());
        out.push(REFUSALS.iter().position(|r| r == refusal)? as u8);
    }
    out.extend(checksum(&out).to_le_bytes());
    Some(out)
}

/// FNV-1a: damage is to be seen, not forgery.
pub fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, &byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Reads what [`encode`] wrote. `None` for anything else.
pub fn decode(bytes: &[u8]) -> Option<Plan> {
    let (bytes, sum) = bytes.split_last_chunk()?;
    (u64::from_le_bytes(*sum) == checksum(bytes)).then_some(())?;
    let mut rest = bytes.strip_prefix(MAGIC)?;
    let mut take = |n: usize| {
        let (head, tail) = rest.split_at_checked(n)?;
        rest = tail;
        Some(head)
    };
    let int = |b: &[u8]| b.iter().rev().fold(0u64, |n, &b| n << 8 | u64::from(b));
    let (windows, refused) = (int(take(4)?), int(take(4)?));
    let mut plan = Plan::default();
    for _ in 0..windows {
        let start = int(take(8)?);
        let (site, len) = (int(take(1)?), int(take(1)?));
        let bytes = take(len as usize)?.to_vec();
        let room = if len == HOP_LEN {
            Some(Room {
                start: int(take(8)?),
                bytes: *take(JUMP_LEN as usize)?.first_chunk()?,
            })
        } else {
            None
        };
        plan.windows.push(Window {
            start,
            site: start.checked_add(site)?,
            end: start.checked_add(len)?,
            bytes,
            room,
        });
    }
    for _ in 0..refused {
        let addr = int(take(8)?);
        let refusal = *REFUSALS.get(int(take(1)?) as usize)?;
        plan.refused.push((addr, refusal));
    }
    rest.is_empty().then_some(plan)
}

/// Bytes before and behind a function on which its plan depends: a room is so near that a short
/// jump leads there, and so may be what jumps to that.
const REACH: u64 = 320;

/// A number that nearly always differs if the functions that the candidates are in, or what is
/// next to these, differ in their bytes, bounds or landing pads. `originals` are bytes that
/// were there before something of ours was written, by their link-time addresses.
pub fn digest(image: &Image<'_>, candidates: &[u64], originals: &[(u64, &[u8])]) -> u64 {
    let mut sum = Digest(0);
    let Some(unwind) = Unwind::parse(image) else {
        return 0;
    };
    let mut done = 0;
    for &candidate in candidates.iter() {
        let Some((function, _)) = unwind.at_or_before(candidate) else {
            continue;
        };
        if function.start < done {
            continue;
        }
        done = function.end;
        let Some(text) = image.text_at(function.start) else {
            continue;
        };
        let start = function.start.saturating_sub(REACH).max(text.addr);
        let end = function.end.saturating_add(REACH).min(text.end());
        sum.word(function.start);
        sum.word(function.end);
        sum.word(function.lsda.unwrap_or_default());
        let code = image.get(start, end.saturating_sub(start));
        let mut code = code.unwrap_or_default().to_vec();
        for &(at, bytes) in originals {
            for (address, &byte) in (at..).zip(bytes) {
                let offset = address.wrapping_sub(start) as usize;
                if let Some(to) = code.get_mut(offset) {
                    *to = byte;
                }
            }
        }
        sum.bytes(&code);
    }
    sum.0
}

/// Multiplication and rotation, a word at a time.
struct Digest(u64);

impl Digest {
    fn word(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        for byte in rest {
            self.word(u64::from(*byte));
        }
    }
}

/// Whether the plan is one of the object whose candidates and bytes these are.
pub fn fits<'a>(
    plan: &Plan,
    candidates: &[u64],
    bytes: impl Fn(u64, u64) -> Option<&'a [u8]>,
) -> bool {
    let mut sites: Vec<u64> = plan.windows.iter().map(|w| w.site).collect();
    sites.extend(plan.refused.iter().map(|r| r.0));
    sites.sort_unstable();
    sites == candidates
        && plan.windows.windows(2).all(|w| w[0].end <= w[1].start)
        && plan
            .windows
            .iter()
            .all(|w| bytes(w.start, w.end - w.start) == Some(&w.bytes[..]) && w.is_well_formed())
        && rooms_fit(plan, bytes)
}

/// Whether the rooms are as they were, and neither in each other nor in a window but behind
/// its jump.
fn rooms_fit<'a>(plan: &Plan, bytes: impl Fn(u64, u64) -> Option<&'a [u8]>) -> bool {
    let mut rooms: Vec<&Room> = plan
        .windows
        .iter()
        .filter_map(|w| w.room.as_ref())
        .collect();
    rooms.sort_unstable_by_key(|room| room.start);
    let outside = |room: &Room| {
        plan.windows.iter().all(|w| {
            room.start >= w.end
                || w.start
                    .checked_sub(room.start)
                    .is_some_and(|gap| gap >= JUMP_LEN)
                || w.room.is_none() && w.start + JUMP_LEN <= room.start && room.end() <= w.end
        })
    };
    rooms.windows(2).all(|pair| pair[0].end() <= pair[1].start)
        && rooms
            .iter()
            .all(|room| bytes(room.start, JUMP_LEN) == Some(&room.bytes[..]) && outside(room))
}

/// The user's directory of plans.
#[derive(Debug)]
pub struct Cache {
    dir: OwnedFd,
}

impl Cache {
    /// Opens `$XDG_CACHE_HOME/gevent-shim` or `~/.cache/gevent-shim`, and makes
    /// it if it is missing. `None` if it can't be had, or is not the user's own
    /// and private.
    pub fn open() -> Option<Self> {
        let base = std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
            .or_else(|| {
                let home = PathBuf::from(std::env::var_os("HOME")?);
                home.is_absolute().then(|| home.join(".cache"))
            })?;
        Self::open_in(base)
    }

    /// The same below `base`.
    pub fn open_in(base: PathBuf) -> Option<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let base_dir = kernel::open(&base, flags, Mode::empty()).or_else(|error| {
            if error != Errno::NOENT {
                return Err(error);
            }
            kernel::mkdir(&base, Mode::RWXU)?;
            kernel::open(&base, flags, Mode::empty())
        });
        let base_dir = base_dir.ok()?;
        // Nothing is made in another user's directory.
        (fstat(&base_dir).ok()?.st_uid == kernel::effective_user()).then_some(())?;
        let flags = flags | OFlags::NOFOLLOW;
        let name = "gevent-shim";
        let dir = openat(&base_dir, name, flags, Mode::empty()).or_else(|error| {
            if error != Errno::NOENT {
                return Err(error);
            }
            match kernel::mkdirat(&base_dir, name, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
            openat(&base_dir, name, flags, Mode::empty())
        });
        let dir = dir.ok()?;
        is_private(&dir, Mode::RWXU).then_some(Self { dir })
    }

    /// The plan kept under the given identification, whatever it is worth: the
    /// caller checks that it [`fits`].
    pub fn load(&self, build_id: &[u8], wanted: Wanted) -> Option<Plan> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(&self.dir, name(build_id, wanted)?, flags, Mode::empty()).ok()?;
        if !is_private(&file, Mode::RUSR | Mode::WUSR) {
            return None;
        }
        let size = usize::try_from(fstat(&file).ok()?.st_size).ok()?;
        let mut bytes = vec![0; size.min(SIZE_MAX)];
        let mut read = 0;
        while read < bytes.len() {
            match kernel::read(&file, &mut bytes[read..]) {
                Ok(0) => return None,
                Ok(n) => read += n,
                Err(Errno::INTR) => {}
                Err(_) => return None,
            }
        }
        decode(&bytes)
    }

    /// Keeps a plan. A reader sees the old file or the new one.
    ///
    /// # Errors
    /// The kernel's reason; the old file is left.
    pub fn store(&self, build_id: &[u8], wanted: Wanted, plan: &Plan) -> Result<(), Errno> {
        let name = name(build_id, wanted).ok_or(Errno::INVAL)?;
        // Beyond the limit the kernel would send a signal that ends the program.
        let limit = kernel::file_size_limit();
        let bytes = encode(plan)
            .filter(|b| b.len() <= SIZE_MAX && b.len() as u64 <= limit)
            .ok_or(Errno::FBIG)?;
        let mut temporary = OsString::from(".");
        temporary.push(kernel::process().to_string());
        temporary.push(&name);
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.dir, &temporary, flags, Mode::RUSR | Mode::WUSR)?;
        let written =
            write_all(&file, &bytes).and_then(|()| kernel::rename_in(&self.dir, &temporary, &name));
        if written.is_err() {
            // The first error is the one to report.
            let _ = kernel::unlink_in(&self.dir, &temporary);
        }
        written
    }
}

/// Whether the file is this user's and has exactly these permissions.
fn is_private(file: &OwnedFd, mode: Mode) -> bool {
    fstat(file).is_ok_and(|stat| {
        stat.st_uid == kernel::effective_user() && Mode::from_raw_mode(stat.st_mode) == mode
    })
}

fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match kernel::write(file, bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn name(build_id: &[u8], wanted: Wanted) -> Option<OsString> {
    // Too short to tell objects apart, or no identification at all.
    (8..=64).contains(&build_id.len()).then_some(())?;
    let mut name: String = build_id.iter().map(|b| format!("{b:02x}")).collect();
    name.push_str(match wanted {
        Wanted::All => "-all",
        Wanted::AtLoad => "-load",
    });
    Some(name.into())
}
