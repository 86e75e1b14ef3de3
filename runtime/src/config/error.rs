//! The one line that says what is wrong with the environment.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;

use super::Setting;

/// Bytes of a name or value that a message repeats.
const SHOWN: usize = 64;

/// A variable that can't be meant. Displays as one line of printable ASCII
/// without a line end, that names the variable, its value and what it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    line: String,
    variable: String,
}

impl ConfigError {
    /// `nearest` is what may have been meant, if that can be told.
    pub(super) fn value(
        setting: &Setting,
        value: &OsStr,
        nearest: Option<&'static str>,
    ) -> ConfigError {
        let nearest = nearest.map(|name| format!(" (the nearest is {name})"));
        ConfigError {
            line: format!(
                "{}={}{}: expected {}",
                setting.name,
                quoted(value),
                nearest.unwrap_or_default(),
                setting.takes
            ),
            variable: setting.name.to_owned(),
        }
    }

    pub(super) fn useless(name: &str, value: &OsStr, needed: &[&str]) -> ConfigError {
        let needed = needed.join(" or ");
        ConfigError {
            line: format!(
                "{name}={}: has no effect unless {needed} is set",
                quoted(value)
            ),
            variable: name.to_owned(),
        }
    }

    pub(super) fn unknown(name: &OsStr, nearest: &'static str) -> ConfigError {
        let variable = escaped(name);
        ConfigError {
            line: format!("{variable}: not a known variable; the nearest is {nearest}"),
            variable,
        }
    }

    /// The name of the variable, with unprintable bytes escaped.
    pub fn variable(&self) -> &str {
        &self.variable
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

impl std::error::Error for ConfigError {}

/// Hostile bytes must not reach a terminal, nor break the line.
fn escaped(text: &OsStr) -> String {
    let bytes = text.as_bytes();
    let mut shown = bytes[..bytes.len().min(SHOWN)].escape_ascii().to_string();
    if bytes.len() > SHOWN {
        shown.push_str("...");
    }
    shown
}

fn quoted(text: &OsStr) -> String {
    format!("\"{}\"", escaped(text))
}
