//! Compiles one source file, and only when something it is made from changed.

use crate::root::Root;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

const C: &[&str] = &[
    "cc",
    "-std=c11",
    "-D_GNU_SOURCE",
    "-O2",
    "-g",
    "-Wall",
    "-Wextra",
    "-pthread",
];
const CPP: &[&str] = &[
    "c++",
    "-std=c++20",
    "-D_GNU_SOURCE",
    "-O2",
    "-g",
    "-Wall",
    "-Wextra",
    "-pthread",
];
/// Parts of libc before glibc 2.34; the last arguments.
const LIBRARIES: &[&str] = &["-ldl", "-lrt"];
const RUST: &[&str] = &["rustc", "--edition=2024", "-O"];

/// Compiles `source` into `output`, with `arguments` after the source, unless it is there already
/// from the same text, headers and command.
///
/// Two builds at once are safe: each writes a file of its own and renames it into place. Warnings of
/// the compiler go to standard error.
///
/// # Errors
/// What the compiler said, or why it could not be run.
pub fn build(source: &Path, arguments: &[String], output: &Path) -> io::Result<()> {
    build_in(&Root::machine(), source, arguments, output)
}

/// As [`build`], with the compiler of another system, where both files are at the same paths.
///
/// # Errors
/// As there.
pub fn build_in(root: &Root, source: &Path, arguments: &[String], output: &Path) -> io::Result<()> {
    let directory = output
        .parent()
        .ok_or_else(|| io::Error::other("the output has no directory"))?;
    std::fs::create_dir_all(directory)?;
    let words = command_line(source, arguments);
    let stamp_file = output.with_extension("stamp");
    let wanted = stamp(source, &words)?;
    if output.exists() && std::fs::read(&stamp_file).is_ok_and(|built| built == wanted) {
        return Ok(());
    }
    let scratch = tempfile::tempdir_in(directory)?;
    let fresh = scratch.path().join("output");
    let mut compiler = Command::new(&words[0]);
    compiler.args(&words[1..]).arg("-o").arg(&fresh);
    root.enter(&mut compiler);
    let compiler = compiler
        .output()
        .map_err(|error| io::Error::other(format!("cannot run {:?}: {error}", words[0])))?;
    let said = String::from_utf8_lossy(&compiler.stderr);
    if !compiler.status.success() {
        return Err(io::Error::other(format!(
            "{} does not compile:\n{said}",
            source.display()
        )));
    }
    if !said.is_empty() {
        eprintln!("{said}");
    }
    std::fs::rename(&fresh, output)?;
    let fresh_stamp = scratch.path().join("stamp");
    std::fs::write(&fresh_stamp, wanted)?;
    std::fs::rename(&fresh_stamp, &stamp_file)
}

/// The compiler and its arguments, all but the output's name.
fn command_line(source: &Path, arguments: &[String]) -> Vec<OsString> {
    let ending = source.extension().and_then(|ending| ending.to_str());
    let (words, libraries) = match ending {
        Some("cpp") => (CPP, LIBRARIES),
        Some("rs") => (RUST, &[][..]),
        _ => (C, LIBRARIES),
    };
    words
        .iter()
        .map(OsString::from)
        .chain([source.as_os_str().to_owned()])
        .chain(arguments.iter().map(OsString::from))
        .chain(libraries.iter().map(OsString::from))
        .collect()
}

/// All that decides what the output is: command, source and headers beside it and above.
fn stamp(source: &Path, words: &[OsString]) -> io::Result<Vec<u8>> {
    let mut stamp = format!("{words:?}\n").into_bytes();
    stamp.extend(std::fs::read(source)?);
    for directory in source.ancestors().skip(1).take(2) {
        let mut headers: Vec<PathBuf> = std::fs::read_dir(directory)?
            .collect::<io::Result<Vec<_>>>()?
            .into_iter()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|ending| ending == "h"))
            .collect();
        headers.sort();
        for header in headers {
            stamp.extend(std::fs::read(header)?);
        }
    }
    Ok(stamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_built_again_only_when_its_text_changed() {
        let directory = tempfile::tempdir().unwrap();
        let source = directory.path().join("answer.c");
        let output = directory.path().join("out/answer");
        let build_from = |text: &str| {
            std::fs::write(&source, text).unwrap();
            build(&source, &[], &output).unwrap();
            std::fs::metadata(&output).unwrap().modified().unwrap()
        };
        let first = build_from("int main(void) { return 1; }");
        assert_eq!(first, build_from("int main(void) { return 1; }"));
        build_from("int main(void) { return 2; }");
        assert_eq!(Command::new(&output).status().unwrap().code(), Some(2));
    }

    #[test]
    fn a_changed_header_builds_again() {
        let directory = tempfile::tempdir().unwrap();
        let source = directory.path().join("answer.c");
        let output = directory.path().join("answer");
        std::fs::write(
            &source,
            "#include \"a.h\"\nint main(void) { return ANSWER; }",
        )
        .unwrap();
        for answer in [3, 4] {
            std::fs::write(
                directory.path().join("a.h"),
                format!("#define ANSWER {answer}\n"),
            )
            .unwrap();
            build(&source, &[], &output).unwrap();
            let status = Command::new(&output).status().unwrap();
            assert_eq!(status.code(), Some(answer));
        }
    }

    #[test]
    fn what_the_compiler_says_is_the_error() {
        let directory = tempfile::tempdir().unwrap();
        let source = directory.path().join("wrong.c");
        std::fs::write(&source, "int main(void) { return undeclared; }").unwrap();
        let error = build(&source, &[], &directory.path().join("wrong")).unwrap_err();
        assert!(error.to_string().contains("undeclared"), "{error}");
    }
}
