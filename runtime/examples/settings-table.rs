//! Prints the settings of the README: Markdown made of their declarations.

use std::io::{self, Write};

use gevent_runtime::config::SETTINGS;

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "| variable | takes | if unset | meaning |\n|---|---|---|---|"
    )?;
    for setting in &SETTINGS {
        writeln!(
            out,
            "| `{}` | {} | {} | {} |",
            setting.name, setting.takes, setting.default, setting.meaning
        )?;
    }
    Ok(())
}
