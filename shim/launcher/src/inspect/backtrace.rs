//! From the saved registers and stack bytes of a guest to names.
//!
//! Everything happens here, in the process that asks: the target only copied memory.

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;

use addr2line::Loader;
use framehop::x86_64::{CacheX86_64, UnwindRegsX86_64, UnwinderX86_64};
use framehop::{ExplicitModuleSectionInfo, Module, Unwinder};
use gevent_runtime::control::wire::{GuestState, What};
use gevent_shim::maps::{self, Mapping};
use object::elf::{FileHeader64, PF_X, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{LittleEndian as LE, Object, ObjectSection};

/// Most frames that are shown of a stack.
const DEEPEST: usize = 64;

/// Most signal handlers of a stack that are looked through.
const HANDLERS: usize = 4;

/// A file of the target, as far as it is mapped executable.
struct Text {
    /// Where.
    range: Range<u64>,
    /// What is added to the file's addresses.
    bias: u64,
    path: PathBuf,
    /// Opened when first needed; `None` inside if that failed.
    symbols: Option<Option<Loader>>,
}

/// The objects of a process, to unwind and to name.
pub struct Symbols {
    texts: Vec<Text>,
    unwinder: UnwinderX86_64<Vec<u8>>,
    cache: CacheX86_64,
    /// What stands for an address that was looked up.
    names: HashMap<u64, Vec<String>>,
}

impl Symbols {
    /// Those of a process; what can't be read gives addresses in place of names.
    pub fn of(pid: i32) -> Symbols {
        let mut symbols = Symbols {
            texts: Vec::new(),
            unwinder: UnwinderX86_64::new(),
            cache: CacheX86_64::new(),
            names: HashMap::new(),
        };
        let maps = std::fs::read(format!("/proc/{pid}/maps")).unwrap_or_default();
        for mapping in maps::parse(&maps) {
            if mapping.exec && mapping.file.1 != 0 {
                symbols.add(mapping);
            }
        }
        symbols
    }

    fn add(&mut self, mapping: Mapping) {
        let range = mapping.start..mapping.end;
        let Ok(bytes) = std::fs::read(&mapping.path) else {
            return;
        };
        let Some(bias) = bias(&bytes, &mapping) else {
            return;
        };
        if let Ok(file) = object::read::elf::ElfFile64::<LE>::parse(&*bytes) {
            let section = |name: &str| {
                let section = file.section_by_name(name)?;
                let range = section.address()..section.address() + section.size();
                Some((range, section.uncompressed_data().ok()?.into_owned()))
            };
            let (eh_frame_svma, eh_frame) = section(".eh_frame").unzip();
            let (eh_frame_hdr_svma, eh_frame_hdr) = section(".eh_frame_hdr").unzip();
            let (text_svma, text) = section(".text").unzip();
            self.unwinder.add_module(Module::new(
                mapping.path.display().to_string(),
                range.clone(),
                bias,
                ExplicitModuleSectionInfo {
                    base_svma: 0,
                    text_svma,
                    text,
                    eh_frame_svma,
                    eh_frame,
                    eh_frame_hdr_svma,
                    eh_frame_hdr,
                    ..ExplicitModuleSectionInfo::default()
                },
            ));
        }
        self.texts.push(Text {
            range,
            bias,
            path: mapping.path,
            symbols: None,
        });
    }

    /// The frames of a guest, innermost first; each with the functions that are
    /// inlined in it before the function itself. Those of a guest that was interrupted
    /// are its own code's.
    pub fn frames(&mut self, guest: &GuestState, stack: &[u8]) -> Vec<Vec<String>> {
        if stack.is_empty() {
            return Vec::new();
        }
        let stack = Stack {
            from: guest.sp,
            bytes: stack,
        };
        let mut addresses = self.unwind([guest.ip, guest.sp, guest.fp], stack);
        for _ in 0..HANDLERS {
            let Some((&last, below)) = addresses.split_last() else {
                break;
            };
            let is_handler = self.name(last).iter().any(|name| name.contains("restorer"));
            let Some(context) = stack.interrupted(last + 1).filter(|_| is_handler) else {
                break;
            };
            let ours = guest.what == What::Preempted;
            let mut joined = if ours { Vec::new() } else { below.to_vec() };
            joined.extend(self.unwind(context, stack));
            addresses = joined;
        }
        addresses.truncate(DEEPEST);
        let named = addresses.into_iter().map(|address| self.name(address));
        named.collect()
    }

    /// Addresses to look up, from an instruction, stack and frame pointer on.
    fn unwind(&mut self, [ip, sp, fp]: [u64; 3], stack: Stack<'_>) -> Vec<u64> {
        let mut addresses = Vec::new();
        let mut read = |address: u64| stack.word(address).ok_or(());
        let registers = UnwindRegsX86_64::new(ip, sp, fp);
        let mut frames = self
            .unwinder
            .iter_frames(ip, registers, &mut self.cache, &mut read);
        while addresses.len() < DEEPEST
            && let Ok(Some(frame)) = frames.next()
        {
            addresses.push(frame.address_for_lookup());
        }
        addresses
    }

    fn name(&mut self, address: u64) -> Vec<String> {
        if let Some(names) = self.names.get(&address) {
            return names.clone();
        }
        let text = self
            .texts
            .iter_mut()
            .find(|text| text.range.contains(&address));
        let names = match text {
            Some(text) => text.name(address),
            None => vec![format!("{address:#x}")],
        };
        self.names.insert(address, names.clone());
        names
    }
}

/// Bytes of a stack, from an address on.
#[derive(Clone, Copy)]
struct Stack<'a> {
    from: u64,
    bytes: &'a [u8],
}

impl Stack<'_> {
    fn word(&self, address: u64) -> Option<u64> {
        let at = usize::try_from(address.checked_sub(self.from)?).ok()?;
        let bytes = self.bytes.get(at..)?.first_chunk()?;
        Some(u64::from_le_bytes(*bytes))
    }

    /// Instruction, stack and frame pointer of what a signal handler interrupted that
    /// returns to `restorer`: in the `ucontext_t` after the return address.
    fn interrupted(&self, restorer: u64) -> Option<[u64; 3]> {
        /// Offset of the registers in `ucontext_t`.
        const REGISTERS: u64 = 40;
        let words = self.from..self.from + self.bytes.len() as u64;
        let at = words
            .step_by(8)
            .find(|&address| self.word(address) == Some(restorer))?;
        let register = |number: i32| self.word(at + 8 + REGISTERS + 8 * number as u64);
        Some([
            register(libc::REG_RIP)?,
            register(libc::REG_RSP)?,
            register(libc::REG_RBP)?,
        ])
    }
}

impl Text {
    fn name(&mut self, address: u64) -> Vec<String> {
        let path = &self.path;
        let loader = self.symbols.get_or_insert_with(|| Loader::new(path).ok());
        let probe = address.wrapping_sub(self.bias);
        let object = path
            .file_name()
            .unwrap_or(path.as_os_str())
            .to_string_lossy();
        let mut names = Vec::new();
        if let Some(loader) = loader {
            if let Ok(mut frames) = loader.find_frames(probe) {
                while let Ok(Some(frame)) = frames.next() {
                    let Some(function) = frame.function else {
                        continue;
                    };
                    let name = function.demangle().map_or("?".to_owned(), String::from);
                    let place = frame.location.and_then(|location| {
                        Some(format!(" at {}:{}", location.file?, location.line?))
                    });
                    names.push(name + &place.unwrap_or_default());
                }
            }
            if names.is_empty()
                && let Some(symbol) = loader.find_symbol(probe)
            {
                let name = addr2line::demangle_auto(symbol.into(), None);
                names.push(format!("{name} in {object}"));
            }
        }
        if names.is_empty() {
            names.push(format!("{object}+{probe:#x}"));
        }
        names
    }
}

/// What was added to a file's addresses where it was mapped.
fn bias(bytes: &[u8], mapping: &Mapping) -> Option<u64> {
    const PAGE: u64 = 4096;
    let header = FileHeader64::<LE>::parse(bytes).ok()?;
    let headers = header.program_headers(LE, bytes).ok()?;
    let load = headers.iter().find(|header| {
        let first = header.p_offset(LE) & !(PAGE - 1);
        // Segments share the page where one ends and the next begins.
        header.p_type(LE) == PT_LOAD
            && header.p_flags(LE).0 & PF_X.0 != 0
            && (first..header.p_offset(LE) + header.p_filesz(LE)).contains(&mapping.offset)
    })?;
    let address = load.p_vaddr(LE) - load.p_offset(LE) + mapping.offset;
    Some(mapping.start.wrapping_sub(address))
}
