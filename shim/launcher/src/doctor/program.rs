//! What a file is, and whether the dynamic linker will load a library beside it.
//!
//! Programs may be large, and are looked at on the way to each of their starts: what is
//! read of one is its headers, and its data, where Go leaves a record.

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use gevent_runtime::executable::{self, INTERPRETER_MAX, Source, Why};
use gevent_runtime::program_file;
use object::LittleEndian as LE;
use object::elf::FileHeader64;
use object::read::elf::{FileHeader, SectionHeader};
use object::read::{ReadCache, ReadRef};

/// Scripts that are each other's interpreter end somewhere.
pub const MOST_SCRIPTS: usize = 4;

/// What a file is.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// Text with `#!`: this interpreter runs it.
    Script(OsString),
    /// Loaded by glibc's dynamic linker.
    Dynamic,
    /// Nothing that a library can be loaded beside; a trouble says why.
    Impossible,
}

/// A file and what stands in the way.
#[derive(Debug)]
pub struct Looked {
    pub found: Found,
    pub troubles: Vec<String>,
}

/// Why the library can't serve a program.
#[derive(Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// `None`: it is no program.
    pub kind: Option<Why>,
    /// In words that fit behind "it".
    pub words: String,
}

/// A file as far as it decides that.
struct File {
    mode: u32,
    is_elf: bool,
    /// What runs it, if it is a script.
    interpreter: Option<OsString>,
    obstacle: Option<Obstacle>,
}

/// The path of a program as execvp(3) finds it.
///
/// # Errors
/// A line that says that there is none.
pub fn locate(program: &OsStr) -> Result<PathBuf, String> {
    let shown = program.as_bytes().escape_ascii();
    let path = if program.as_bytes().contains(&b'/') {
        PathBuf::from(program)
    } else {
        let list = std::env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
        std::env::split_paths(&list)
            .map(|directory| directory.join(program))
            .find(|path| {
                std::fs::metadata(path).is_ok_and(|metadata| {
                    metadata.is_file() && metadata.permissions().mode() & 0o111 != 0
                })
            })
            .ok_or_else(|| format!("no program {shown} in PATH"))?
    };
    match std::fs::metadata(&path) {
        Ok(metadata) if metadata.is_file() => Ok(path),
        Ok(_) => Err(format!("{shown} is not a file")),
        Err(error) => Err(format!("no program {shown}: {error}")),
    }
}

/// Looks at a file.
///
/// # Errors
/// When it can't be read.
pub fn look(path: &Path) -> std::io::Result<Looked> {
    let file = read(path)?;
    let mut troubles = Vec::new();
    if file.mode & 0o111 == 0 {
        troubles.push("has no permission to be executed".to_owned());
    }
    let found = match (file.interpreter, &file.obstacle) {
        (Some(interpreter), _) => Found::Script(interpreter),
        (None, None) => Found::Dynamic,
        (None, Some(_)) => Found::Impossible,
    };
    troubles.extend(file.obstacle.map(|obstacle| obstacle.words));
    Ok(Looked { found, troubles })
}

/// Bytes in which a script names its interpreter.
const FIRST_LINE: usize = 256;

/// A file's bytes, read where they are asked for.
struct Opened(std::fs::File);

impl Source for Opened {
    fn fill(&self, at: u64, into: &mut [u8]) -> bool {
        self.0.read_exact_at(into, at).is_ok()
    }
}

fn read(path: &Path) -> std::io::Result<File> {
    let file = std::fs::File::open(path)?;
    let metadata = file.metadata()?;
    let mut start = [0; FIRST_LINE];
    let len = metadata.len().min(start.len() as u64) as usize;
    let start = &mut start[..len];
    file.read_exact_at(start, 0)?;
    let interpreter = interpreter_of_script(start);
    let is_elf = start.starts_with(b"\x7fELF");
    let mut obstacle = None;
    if interpreter.is_none() {
        let file = Opened(file);
        obstacle = why_not(&file, &ReadCache::new(&file.0)).or_else(|| distrusted(path));
    }
    Ok(File {
        mode: metadata.mode(),
        is_elf,
        interpreter,
        obstacle,
    })
}

/// Why the dynamic linker distrusts this program's environment.
fn distrusted(path: &Path) -> Option<Obstacle> {
    let path = CString::new(path.as_os_str().as_bytes()).ok()?;
    let kind = program_file::why_distrusted(&path)?;
    Some(Obstacle {
        kind: Some(kind),
        words: kind.in_words().to_owned(),
    })
}

/// The program that runs a script; the one that env(1) would look for if that is it.
fn interpreter_of_script(start: &[u8]) -> Option<OsString> {
    let line = start
        .strip_prefix(b"#!")?
        .split(|&byte| byte == b'\n')
        .next()?;
    let mut words = line
        .split(|byte| b" \t".contains(byte))
        .filter(|word| !word.is_empty());
    let first = words.next()?;
    let is_env = Path::new(OsStr::from_bytes(first)).file_name() == Some(OsStr::new("env"));
    // Options and variables of env's come before the name.
    let named = words.find(|word| !word.starts_with(b"-") && !word.contains(&b'='));
    let interpreter = named.filter(|_| is_env).unwrap_or(first);
    Some(OsString::from_vec(interpreter.to_vec()))
}

/// What keeps the library from serving the program that is run under this name: its own
/// kind, or that of what runs it, if it is a script. `None` as well for what can't be found
/// or read, and for what the kernel or a shell knows how to run.
pub fn obstacle(program: &OsStr) -> Option<Obstacle> {
    let mut path = locate(program).ok()?;
    for _ in 0..MOST_SCRIPTS {
        let file = read(&path).ok()?;
        match file.interpreter {
            Some(interpreter) => path = locate(&interpreter).ok()?,
            None => return file.obstacle.filter(|_| file.is_elf),
        }
    }
    None
}

/// Why no library can be loaded beside an executable, or why it would be of no use there. Both
/// are its file.
fn why_not<'a>(file: &impl Source, sections: impl ReadRef<'a>) -> Option<Obstacle> {
    if file.bytes(0) != Some(*b"\x7fELF") {
        return Some(Obstacle {
            kind: None,
            words: "is neither an ELF executable nor a script".to_owned(),
        });
    }
    let kind = if executable::holds_go(file) || has_section_of_go(sections) {
        Why::Go
    } else {
        executable::why_not(file)?
    };
    let words = if kind == Why::OtherLinker
        && let mut parts = executable::parts(file, 0)
        && let Some(part) = parts.find(|part| part.kind == libc::PT_INTERP)
        && let Some(path) = executable::interpreter(file, part, &mut [0; INTERPRETER_MAX])
    {
        let path = path.escape_ascii();
        format!("is loaded by {path}, not by glibc's dynamic linker")
    } else {
        kind.in_words().to_owned()
    };
    let kind = Some(kind);
    Some(Obstacle { kind, words })
}

/// Whether a file holds Go's runtime, also where the program headers do not say so.
fn has_section_of_go<'a>(file: impl ReadRef<'a>) -> bool {
    const SECTIONS: [&[u8]; 2] = [b".go.buildinfo", b".note.go.buildid"];
    FileHeader64::<LE>::parse(file)
        .and_then(|header| header.sections(LE, file))
        .is_ok_and(|sections| {
            let mut named = SECTIONS
                .iter()
                .filter_map(|name| sections.section_by_name(LE, name));
            named.any(|(_, section)| section.sh_size(LE) > 0)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_names_its_interpreter() {
        let of = |text: &str| interpreter_of_script(text.as_bytes());
        assert_eq!(of("#!/bin/sh\nexit"), Some("/bin/sh".into()));
        assert_eq!(of("#! /usr/bin/perl -w"), Some("/usr/bin/perl".into()));
        assert_eq!(of("#!/usr/bin/env python3\n"), Some("python3".into()));
        assert_eq!(of("#!/usr/bin/env -S A=b node --x\n"), Some("node".into()));
        assert_eq!(of("#!/usr/bin/env"), Some("/usr/bin/env".into()));
        assert_eq!(of("#!\n"), None);
        assert_eq!(of("\x7fELF"), None);
    }

    #[test]
    fn what_is_no_program_is_told() {
        let why_not = |bytes: &[u8]| why_not(&bytes, bytes);
        let why = |bytes: &[u8]| why_not(bytes).unwrap().words;
        assert!(why(b"").contains("neither"));
        let mut small = b"\x7fELF\x01\x01\x01".to_vec();
        assert!(why(&small).contains("damaged"));
        small.resize(64, 0);
        assert!(why(&small).contains("32-bit"));
        assert!(why(b"\x7fELF\x02\x01\x01").contains("damaged"));
        let mut own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(why_not(&own), None);
        own[18] = 0xb7;
        assert!(why(&own).contains("another processor"));
    }
}
