//! Finds the guest programs and reads what they ask of the harness.

use crate::compile;
use crate::root::Root;
use crate::run::End;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;
use std::time::Duration;

/// Time a guest program has when it asks for no other.
pub const DEFAULT_LIMIT: Duration = Duration::from_secs(30);

/// A line of the program's opening comment that speaks to the harness starts with this.
const DIRECTIVE: &str = "guest:";

/// What a program asks of the harness, in its opening lines: `guest: hold limit=120 compile=-lrt`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directives {
    /// It holds still once to have its kernel threads counted.
    pub hold: bool,
    /// It can't run bare, so that success alone is demanded of it.
    pub preloaded_only: bool,
    /// How it ends: exit status 0 unless it says otherwise with `exits=` or `dies=`.
    pub end: End,
    /// How long it may take.
    pub limit: Duration,
    /// A shared object of `objects/` that is compiled too and passed as its first argument.
    pub object: Option<String>,
    /// Variables of its environment when it runs preloaded, as `NAME=value`.
    pub settings: Vec<String>,
    /// Further arguments of its compiler.
    pub compiler_arguments: Vec<String>,
}

impl Default for Directives {
    fn default() -> Self {
        Self {
            hold: false,
            preloaded_only: false,
            end: End::Exit(0),
            limit: DEFAULT_LIMIT,
            object: None,
            settings: Vec::new(),
            compiler_arguments: Vec::new(),
        }
    }
}

impl Directives {
    /// Reads the directives in the first ten lines of a program's text.
    ///
    /// # Errors
    /// Names the word that is no directive.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut found = Self::default();
        for line in text.lines().take(10) {
            let Some((_, words)) = line.split_once(DIRECTIVE) else {
                continue;
            };
            for word in words.trim_end_matches("*/").split_whitespace() {
                match word.split_once('=') {
                    None if word == "hold" => found.hold = true,
                    None if word == "preloaded-only" => found.preloaded_only = true,
                    Some(("limit", seconds)) => {
                        found.limit = Duration::from_secs(number(word, seconds)?);
                    }
                    Some(("exits", status)) => found.end = End::Exit(number(word, status)?),
                    Some(("dies", signal)) => found.end = End::Signal(number(word, signal)?),
                    Some(("object", name)) => found.object = Some(name.to_owned()),
                    Some(("set", setting)) => found.settings.push(setting.to_owned()),
                    Some(("compile", argument)) => {
                        found.compiler_arguments.push(argument.to_owned());
                    }
                    _ => return Err(format!("unknown directive {word:?}")),
                }
            }
        }
        Ok(found)
    }
}

fn read_directives(source: &Path) -> io::Result<Directives> {
    Directives::parse(&std::fs::read_to_string(source)?)
        .map_err(|what| io::Error::other(format!("{}: {what}", source.display())))
}

fn number<T: FromStr>(word: &str, text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| format!("directive {word:?} wants a number"))
}

/// One guest program.
#[derive(Clone, Debug)]
pub struct Guest {
    /// The file's name without its ending; the test's name starts with it.
    pub name: String,
    /// The source file.
    pub source: PathBuf,
    /// What it asks of the harness.
    pub directives: Directives,
    /// Its executable, if Cargo built it.
    pub executable: Option<PathBuf>,
}

impl Guest {
    /// Every program in `directory`, sorted by name. Headers and other files are left alone.
    ///
    /// # Errors
    /// When a file can't be read, or holds a directive we do not know.
    pub fn discover(directory: &Path) -> io::Result<Vec<Self>> {
        let mut guests = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            let source = entry?.path();
            let Some(("c" | "cpp" | "rs", stem)) = source
                .extension()
                .and_then(|ending| ending.to_str())
                .zip(source.file_stem().and_then(|stem| stem.to_str()))
            else {
                continue;
            };
            guests.push(Self {
                name: stem.to_owned(),
                directives: read_directives(&source)?,
                source,
                executable: None,
            });
        }
        guests.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(guests)
    }

    /// A program of the directory `crates` in `directory`, which Cargo built because it uses a
    /// crate.
    ///
    /// # Errors
    /// As [`discover`](Self::discover).
    pub fn built_by_cargo(directory: &Path, name: &str, executable: &str) -> io::Result<Self> {
        let source = directory.join("crates").join(name).with_extension("rs");
        Ok(Self {
            name: name.to_owned(),
            directives: read_directives(&source)?,
            source,
            executable: Some(executable.into()),
        })
    }

    /// Compiles the program, and its object if it has one, into `directory`; see [`compile::build`].
    ///
    /// # Errors
    /// What the compiler said, or why it could not be run.
    pub fn build(&self, directory: &Path) -> io::Result<Built> {
        self.build_in(&Root::machine(), directory)
    }

    /// As [`build`](Self::build), with the compiler of another system, where sources and `directory`
    /// are at the same paths.
    ///
    /// # Errors
    /// As there.
    pub fn build_in(&self, root: &Root, directory: &Path) -> io::Result<Built> {
        if let Some(executable) = self.executable.clone() {
            return Ok(Built {
                executable,
                object: None,
            });
        }
        let executable = directory.join(&self.name);
        // rustc is the machine's own; what it links runs with a newer libc.
        let compiled_in = match self.source.extension() {
            Some(ending) if ending == "rs" => &Root::machine(),
            _ => root,
        };
        compile::build_in(
            compiled_in,
            &self.source,
            &self.directives.compiler_arguments,
            &executable,
        )?;
        let object = match &self.directives.object {
            None => None,
            Some(name) => {
                let source = self
                    .source
                    .with_file_name("objects")
                    .join(name)
                    .with_extension("c");
                let object = directory.join(name).with_extension("so");
                compile::build_in(root, &source, &["-shared".into(), "-fPIC".into()], &object)?;
                Some(object)
            }
        };
        Ok(Built { executable, object })
    }
}

/// A guest program that is ready to run.
#[derive(Clone, Debug)]
pub struct Built {
    executable: PathBuf,
    object: Option<PathBuf>,
}

impl Built {
    /// The command that runs it.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.executable);
        command.args(&self.object);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_without_directives_has_the_defaults() {
        assert_eq!(
            Directives::parse("// subject\nint main;"),
            Ok(Directives::default())
        );
    }

    #[test]
    fn directives_are_read_from_the_opening_comment() {
        let found = Directives::parse("/* subject\n * guest: hold limit=7 compile=-ldl set=A=b */")
            .unwrap();
        assert!(found.hold && !found.preloaded_only);
        assert_eq!(found.end, End::Exit(0));
        assert_eq!(found.limit, Duration::from_secs(7));
        assert_eq!(found.compiler_arguments, ["-ldl"]);
        assert_eq!(found.settings, ["A=b"]);
    }

    #[test]
    fn an_end_other_than_success_is_asked_for() {
        let end = |text| Directives::parse(text).unwrap().end;
        assert_eq!(end("// guest: exits=3"), End::Exit(3));
        assert_eq!(end("// guest: dies=15"), End::Signal(15));
    }

    #[test]
    fn an_unknown_directive_is_refused() {
        assert!(Directives::parse("// guest: hodl").is_err());
        assert!(Directives::parse("// guest: limit=soon").is_err());
    }
}
