//! Every setting, its value in this environment, and its meaning.

use std::os::unix::ffi::OsStrExt;

use gevent_runtime::config::{self, SETTINGS};

use crate::{Ending, Failure, print};

/// Prints them.
///
/// # Errors
/// The lines of what is wrong in this environment, after everything was shown.
pub fn show() -> Ending {
    let mut text = String::new();
    for setting in &SETTINGS {
        let value = std::env::var_os(setting.name).filter(|value| !value.is_empty());
        let value = match &value {
            Some(value) => value.as_bytes().escape_ascii().to_string(),
            None => format!("unset: {}", setting.default),
        };
        text += &format!(
            "{}\n  value    {value}\n  takes    {}\n  meaning  {}\n",
            setting.name,
            setting.takes,
            setting.meaning.replace('`', "")
        );
    }
    print(&text)?;
    let (_, errors) = config::check(std::env::vars_os());
    if errors.is_empty() {
        return Ok(0);
    }
    let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
    Err(Failure::new(lines.join("\ngevent-shim: ")))
}
