//! Where events go: standard error, or the file of `GEVENT_SHIM_EVENTS_FILE`.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// The environment variable that holds a [`PathTemplate`].
pub const FILE_VARIABLE: &str = "GEVENT_SHIM_EVENTS_FILE";

/// Where events go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Target {
    /// File descriptor 2, as long as it is what it was when the library was loaded.
    #[default]
    Stderr,
    /// A file, appended to.
    File(PathTemplate),
}

/// A path in which `%p` stands for the process id and `%%` for a percent sign.
/// A relative path starts at the working directory at start-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathTemplate(OsString);

/// A path that is empty, has a NUL byte, or a `%` before something else than
/// `p` or `%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidPath;

impl InvalidPath {
    /// What a path may be, for a message.
    pub const EXPECTED: &str = "a path, with %p for the process id and %% for a percent sign";
}

impl fmt::Display for InvalidPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{FILE_VARIABLE} takes {}", Self::EXPECTED)
    }
}

impl std::error::Error for InvalidPath {}

impl PathTemplate {
    /// Checks a path.
    ///
    /// # Errors
    /// See [`InvalidPath`].
    pub fn new(path: &OsStr) -> Result<PathTemplate, InvalidPath> {
        if path.is_empty() || path.as_bytes().contains(&0) {
            return Err(InvalidPath);
        }
        expand(path.as_bytes(), 0)?;
        Ok(PathTemplate(path.to_owned()))
    }

    /// The path for process `pid`.
    pub fn expand(&self, pid: u32) -> PathBuf {
        // `new` has expanded the same bytes; the path as it stands is what an
        // unexpandable one would mean.
        let path = expand(self.0.as_bytes(), pid).unwrap_or_else(|_| self.0.clone());
        PathBuf::from(path)
    }

    /// The path as it was given.
    pub fn as_os_str(&self) -> &OsStr {
        &self.0
    }
}

fn expand(template: &[u8], pid: u32) -> Result<OsString, InvalidPath> {
    let mut path = Vec::with_capacity(template.len());
    let mut bytes = template.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            path.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'p') => path.extend_from_slice(pid.to_string().as_bytes()),
            Some(b'%') => path.push(b'%'),
            _ => return Err(InvalidPath),
        }
    }
    Ok(OsString::from_vec(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn percent_p_is_the_process_id() {
        let cases = [
            ("events", "events"),
            ("/tmp/events.%p.log", "/tmp/events.42.log"),
            ("%p%p", "4242"),
            ("100%%", "100%"),
            ("%%p", "%p"),
            ("%%%p", "%42"),
        ];
        for (template, path) in cases {
            let template = PathTemplate::new(OsStr::new(template)).unwrap();
            assert_eq!(template.expand(42), Path::new(path));
        }
        let bytes = OsStr::from_bytes(b"\xff-%p");
        let template = PathTemplate::new(bytes).unwrap();
        assert_eq!(template.expand(42).as_os_str().as_bytes(), b"\xff-42");
    }

    #[test]
    fn other_percents_and_impossible_paths_are_refused() {
        for path in ["", "%", "a%", "%d", "%P", "%%%", "a\0b"] {
            assert_eq!(PathTemplate::new(OsStr::new(path)), Err(InvalidPath));
        }
    }
}
