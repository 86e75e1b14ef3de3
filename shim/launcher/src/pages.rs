//! Completions and the manual page, made of the command line's declaration.

use clap_complete::Shell;

use crate::{Ending, Failure, cli, print};

/// Prints the completions for a shell.
///
/// # Errors
/// When standard output can't be written.
pub fn completions(shell: Shell) -> Ending {
    let mut bytes = Vec::new();
    clap_complete::generate(shell, &mut cli::command(), "gevent-shim", &mut bytes);
    print(&String::from_utf8_lossy(&bytes))?;
    Ok(0)
}

/// Prints the manual page: the command, then each of its subcommands.
///
/// # Errors
/// When standard output can't be written.
pub fn man() -> Ending {
    let mut bytes = Vec::new();
    let mut command = cli::command().disable_help_subcommand(true);
    command.build();
    let page = clap_mangen::Man::new(command.clone());
    let mut rendered = page.render(&mut bytes);
    for subcommand in command.get_subcommands() {
        let name = subcommand
            .get_display_name()
            .unwrap_or(subcommand.get_name());
        let title = name.replacen('-', " ", 2).replacen(' ', "-", 1);
        bytes.extend(format!(".SH \"{}\"\n", title.to_uppercase()).into_bytes());
        let page = clap_mangen::Man::new(subcommand.clone());
        rendered = rendered
            .and_then(|()| page.render_description_section(&mut bytes))
            .and_then(|()| page.render_synopsis_section(&mut bytes))
            .and_then(|()| page.render_options_section(&mut bytes));
    }
    rendered.map_err(Failure::new)?;
    print(&String::from_utf8_lossy(&bytes))?;
    Ok(0)
}
