//! What a file is, and whether the dynamic linker will load a library beside it.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use object::elf::{EM_X86_64, FileHeader64, PT_INTERP};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{LittleEndian as LE, Object, ObjectSection};

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
    let mut bytes = Vec::new();
    let mut file = std::fs::File::open(path)?;
    let metadata = file.metadata()?;
    let mut troubles = Vec::new();
    if metadata.mode() & 0o111 == 0 {
        troubles.push("has no permission to be executed".to_owned());
    }
    file.by_ref().take(256).read_to_end(&mut bytes)?;
    if let Some(interpreter) = interpreter_of_script(&bytes) {
        let found = Found::Script(interpreter);
        return Ok(Looked { found, troubles });
    }
    if let Some(why) = privileged(path, &metadata) {
        troubles.push(why);
    }
    file.read_to_end(&mut bytes)?;
    let why = why_not(&bytes);
    let found = match why {
        None => Found::Dynamic,
        Some(_) => Found::Impossible,
    };
    troubles.extend(why);
    Ok(Looked { found, troubles })
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

/// Why the dynamic linker distrusts this program's environment (secure execution).
pub fn privileged(path: &Path, metadata: &std::fs::Metadata) -> Option<String> {
    // SAFETY: neither has preconditions.
    let (uid, gid) = unsafe { (libc::getuid(), libc::getgid()) };
    let mode = metadata.mode();
    if mode & libc::S_ISUID != 0 && metadata.uid() != uid {
        return Some("is set-user-ID: the dynamic linker ignores LD_PRELOAD".to_owned());
    }
    if mode & libc::S_ISGID != 0 && metadata.gid() != gid {
        return Some("is set-group-ID: the dynamic linker ignores LD_PRELOAD".to_owned());
    }
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).ok()?;
    // SAFETY: two C strings, and no buffer: the size alone is asked for.
    let size = unsafe {
        libc::getxattr(
            path.as_ptr(),
            c"security.capability".as_ptr(),
            std::ptr::null_mut(),
            0,
        )
    };
    // Root has every capability already.
    (size > 0 && uid != 0)
        .then(|| "has file capabilities: the dynamic linker ignores LD_PRELOAD".to_owned())
}

/// Why no library can be loaded beside this executable.
fn why_not(bytes: &[u8]) -> Option<String> {
    const ELF64_LITTLE: &[u8] = b"\x7fELF\x02\x01";
    if !bytes.starts_with(b"\x7fELF") {
        return Some("is neither an ELF executable nor a script".to_owned());
    }
    let Ok(header) = FileHeader64::<LE>::parse(bytes) else {
        let class = if bytes.starts_with(ELF64_LITTLE) {
            "damaged"
        } else {
            "32-bit or big-endian"
        };
        return Some(format!("is {class}: the library is for 64-bit x86"));
    };
    if header.e_machine(LE) != EM_X86_64 {
        return Some("is for another processor: the library is for 64-bit x86".to_owned());
    }
    let Ok(file) = object::read::elf::ElfFile64::<LE>::parse(bytes) else {
        return Some("is a damaged ELF file".to_owned());
    };
    let is_go = [".go.buildinfo", ".note.go.buildid"]
        .iter()
        .any(|name| file.section_by_name(name).is_some_and(|s| s.size() > 0));
    if is_go {
        return Some(
            "is a Go program: its runtime makes its system calls itself, without libc".to_owned(),
        );
    }
    let interpreter = header.program_headers(LE, bytes).ok().and_then(|headers| {
        let interp = headers
            .iter()
            .find(|header| header.p_type(LE) == PT_INTERP)?;
        interp.data(LE, bytes).ok()
    });
    let Some(interpreter) = interpreter else {
        return Some(
            "is statically linked: no dynamic linker loads a library beside it".to_owned(),
        );
    };
    let interpreter = interpreter.strip_suffix(b"\0").unwrap_or(interpreter);
    let name = interpreter.rsplit(|&byte| byte == b'/').next();
    (name != Some(b"ld-linux-x86-64.so.2")).then(|| {
        format!(
            "is loaded by {}, not by glibc's dynamic linker",
            interpreter.escape_ascii()
        )
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
        let why = |bytes: &[u8]| why_not(bytes).unwrap();
        assert!(why(b"").contains("neither"));
        assert!(why(b"\x7fELF\x01\x01\x01").contains("32-bit"));
        assert!(why(b"\x7fELF\x02\x01\x01").contains("damaged"));
        let mut own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(why_not(&own), None);
        own[18] = 0xb7;
        assert!(why(&own).contains("another processor"));
    }
}
