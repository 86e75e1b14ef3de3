//! From a sample of a guest to the names of the functions it is in.
//!
//! Runs on the drain thread, which may allocate and read files. It takes no lock of the
//! dynamic linker's, which a parked guest may hold: what is mapped stands in
//! `/proc/self/maps`, and names stand in the files.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use framehop::x86_64::{CacheX86_64, UnwindRegsX86_64, UnwinderX86_64};
use framehop::{ExplicitModuleSectionInfo, FrameAddress, Module, Unwinder};
use gevent_runtime::trace::sample::{Sample, bytes, memory};
use object::{LittleEndian, Object, ObjectSection};

use crate::arm;
use crate::functions::Functions;
use crate::image::Layout;
use crate::maps::{self, Mapping};

/// The kernel's own object: time is asked for there.
const VDSO: &str = "[vdso]";

/// Most functions of a backtrace.
const DEEPEST: usize = 32;

/// A file that is mapped executable.
struct Text {
    range: Range<u64>,
    /// From the file's addresses to those in the process.
    bias: u64,
    path: PathBuf,
    functions: Functions,
}

/// What is mapped, as far as it was looked at.
///
/// Synchronization: used by the drain thread; the lock is there for the type's sake and
/// is never waited for.
struct Objects {
    texts: Vec<Text>,
    unwinder: UnwinderX86_64<Vec<u8>>,
    cache: CacheX86_64,
}

static OBJECTS: Mutex<Option<Box<Objects>>> = Mutex::new(None);

/// The functions that a sample is in, innermost first, in one line.
pub fn name(sample: &Sample) -> String {
    let mut objects = OBJECTS.lock().unwrap_or_else(PoisonError::into_inner);
    let objects = objects.get_or_insert_with(|| {
        Box::new(Objects {
            texts: Vec::new(),
            unwinder: UnwinderX86_64::new(),
            cache: CacheX86_64::new(),
        })
    });
    let frames = objects.unwind(sample);
    let names = frames.into_iter().map(|(address, certain)| {
        let doubt = if certain { "" } else { "perhaps " };
        format!("{doubt}{}", objects.name(address))
    });
    names.collect::<Vec<_>>().join(" < ")
}

impl Objects {
    /// The addresses in each function, and whether they are certain.
    fn unwind(&mut self, sample: &Sample) -> Vec<(u64, bool)> {
        // In a stub it is as if it stood behind its site.
        let ip = arm::site_of(sample.ip).unwrap_or(sample.ip);
        let mut found = vec![(ip, true)];
        let mut registers = UnwindRegsX86_64::new(ip, sample.sp, sample.fp);
        let mut address = FrameAddress::from_instruction_pointer(ip);
        let mut certain = true;
        let word = |at: u64| {
            let offset = usize::try_from(at.checked_sub(sample.sp)?).ok()?;
            let bytes = sample.stack.get(offset..)?.first_chunk()?;
            Some(u64::from_le_bytes(*bytes))
        };
        while found.len() < DEEPEST {
            if self.text(address.address_for_lookup()).is_none() {
                break;
            }
            let mut read = |at: u64| word(at).ok_or(());
            let next =
                self.unwinder
                    .unwind_frame(address, &mut registers, &mut self.cache, &mut read);
            let next = match next {
                Ok(None) => break,
                Ok(Some(next)) if self.text(next).is_some() => Some(next),
                Ok(Some(_)) | Err(_) => {
                    // The frame pointer is not known, or there is no table: what looks
                    // like the next return address is one, most of the time.
                    certain = false;
                    self.scan(&mut registers, &word)
                }
            };
            let Some(next) = next.and_then(FrameAddress::from_return_address) else {
                break;
            };
            address = next;
            found.push((address.address_for_lookup(), certain));
        }
        found
    }

    /// The next word up the stack that a call has left there.
    fn scan(
        &mut self,
        registers: &mut UnwindRegsX86_64,
        word: &impl Fn(u64) -> Option<u64>,
    ) -> Option<u64> {
        let mut at = registers.sp();
        loop {
            let value = word(at)?;
            if self.text(value).is_some() && follows_call(value) {
                let frame = word(at.wrapping_sub(8)).filter(|frame| *frame > at);
                *registers = UnwindRegsX86_64::new(value, at + 8, frame.unwrap_or(0));
                return Some(value);
            }
            at += 8;
        }
    }

    /// The text that holds an address; looks at what is mapped now if it is new.
    fn text(&mut self, address: u64) -> Option<usize> {
        let holds = |texts: &[Text]| texts.iter().position(|text| text.range.contains(&address));
        if let Some(known) = holds(&self.texts) {
            return Some(known);
        }
        let mappings = maps::read().ok()?;
        let mapping = mappings
            .iter()
            .find(|m| m.exec && m.start <= address && address < m.end)
            .filter(|m| m.file.1 != 0 || m.path.as_os_str() == VDSO)?;
        self.add(mapping)?;
        holds(&self.texts)
    }

    fn add(&mut self, mapping: &Mapping) -> Option<()> {
        let file = if mapping.path.as_os_str() == VDSO {
            // It is whole in memory, and nowhere else.
            memory(mapping.start, (mapping.end - mapping.start) as usize)
        } else {
            maps::read_file(&mapping.path).ok()?
        };
        let layout = Layout::parse(&file).ok()?;
        let load = layout.loads.iter().find(|load| {
            load.exec && (load.offset & !4095..load.offset + load.size).contains(&mapping.offset)
        })?;
        let linked = load
            .addr
            .wrapping_sub(load.offset)
            .wrapping_add(mapping.offset);
        let bias = mapping.start.wrapping_sub(linked);
        let range = mapping.start..mapping.end;
        let elf = object::read::elf::ElfFile64::<LittleEndian>::parse(&*file).ok()?;
        let section = |name: &str| {
            let section = elf.section_by_name(name)?;
            let range = section.address()..section.address() + section.size();
            Some((range, section.data().ok()?.to_vec()))
        };
        let (eh_frame_svma, eh_frame) = section(".eh_frame").unzip();
        let (eh_frame_hdr_svma, eh_frame_hdr) = section(".eh_frame_hdr").unzip();
        self.unwinder.add_module(Module::new(
            mapping.path.display().to_string(),
            range.clone(),
            bias,
            ExplicitModuleSectionInfo {
                eh_frame_svma,
                eh_frame,
                eh_frame_hdr_svma,
                eh_frame_hdr,
                ..ExplicitModuleSectionInfo::default()
            },
        ));
        self.texts.push(Text {
            range,
            bias,
            path: mapping.path.clone(),
            functions: Functions::of(&elf),
        });
        Some(())
    }

    fn name(&mut self, address: u64) -> String {
        let Some(text) = self.text(address).map(|text| &self.texts[text]) else {
            return format!("{address:#x}");
        };
        let object = file_name(&text.path);
        let here = address.wrapping_sub(text.bias);
        match text.functions.at(here) {
            Some((start, name)) => format!("{name}+{:#x} in {object}", here - start),
            None => format!("{object}+{here:#x}"),
        }
    }
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}

/// Whether the instruction before an address is a call: direct, or through a register or
/// memory, in the forms that compilers use.
fn follows_call(address: u64) -> bool {
    let Some(before) = bytes::<7>(address.wrapping_sub(7)) else {
        return false;
    };
    let is_indirect = |code: &[u8]| code[0] == 0xff && code[1] & 0x38 == 0x10;
    before[2] == 0xe8
        || [7, 6, 4, 3, 2]
            .into_iter()
            .any(|len| is_indirect(&before[7 - len..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(never)]
    fn inner(sample: &mut Option<Sample>) {
        let here = [1u64; 512];
        let sp = std::hint::black_box(&here).as_ptr() as u64;
        // Anywhere in this function, at a place where its frame is complete: the
        // unwinder only has the tables to go by, so the scan finds its caller.
        *sample = Some(Sample {
            ip: inner as *const () as u64,
            sp,
            fp: 0,
            stack: memory(sp, 16 << 10),
        });
    }

    #[test]
    fn a_caller_is_found_without_a_frame_pointer() {
        let mut sample = None;
        inner(std::hint::black_box(&mut sample));
        let line = name(&sample.unwrap());
        assert!(line.contains("inner"), "{line}");
        assert!(
            line.contains("a_caller_is_found_without_a_frame_pointer"),
            "{line}"
        );
    }
}
