//! What may be said on the command line.
//!
//! One declaration makes the parser, the help, the completions and the manual page.
//! The options of `run` that set a variable are made of the settings' own
//! declarations.

use std::ffi::OsString;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint, value_parser};
use gevent_runtime::config::{self, SETTINGS, Setting};
use gevent_runtime::group::Group;

use crate::{Ending, doctor, inspect, pages, report, run};

const ABOUT: &str = "Runs threaded programs as coroutines on one kernel thread";

const LONG_ABOUT: &str = "\
Runs threaded programs as coroutines on one kernel thread.

The program is not changed: the library is loaded beside it (LD_PRELOAD), its threads \
become guests of a hub, and a call that would block parks its guest and lets the others \
run. `gevent-shim run -- ./app` is the whole of it; the other commands tell what would \
happen, what happens, and what has happened.";

const EXAMPLES: &str = "\
Examples:
  gevent-shim run -- ./server --port 8080   run a program
  gevent-shim doctor ./server               see whether and how it can be
  gevent-shim ps                            see what runs
  gevent-shim dump 1234                     see what each of its threads waits for
  gevent-shim config                        every setting, its value here, its meaning";

const RUN_EXAMPLES: &str = "\
Examples:
  gevent-shim run -- ./app --its-own-option
  gevent-shim run --no-dns -- ./app                resolver calls stay as they are
  gevent-shim run --only socket,time -- ./app      nothing else is made cooperative
  gevent-shim run --trace t.json -- ./app && gevent-shim report t.json -o t.html
  gevent-shim run --events gevent::patch=info -- ./app

Exit status: the program's; 2 for a wrong command line, 125 if gevent-shim itself fails, 126 if the program is found \
but can't be executed, 127 if it isn't found.";

/// Whether this setting is off, and its only other value is on.
fn is_switch(setting: &Setting) -> bool {
    setting.takes == config::settings::SWITCH && setting.default == "0"
}

/// The settings that are options of `run`.
fn options() -> impl Iterator<Item = &'static Setting> {
    let others = [config::settings::DISABLE, config::settings::PATCH];
    SETTINGS
        .iter()
        .filter(move |setting| !others.contains(&setting.name))
}

/// `stack-size` for `GEVENT_SHIM_STACK_SIZE`. (`--only` is about groups.)
fn option_name(setting: &Setting) -> String {
    match setting.name {
        config::settings::ONLY => return "only-programs".to_owned(),
        config::settings::SKIP => return "skip-programs".to_owned(),
        _ => {}
    }
    let name = setting.name.trim_start_matches(config::PREFIX);
    name.to_ascii_lowercase().replace('_', "-")
}

/// The part of a setting's `takes` that fits in a line of help.
fn option(setting: &Setting) -> Arg {
    let name = option_name(setting);
    let meaning = setting.meaning.replace('`', "");
    let arg = Arg::new(setting.name).long(name);
    if is_switch(setting) {
        let help = format!("{meaning} ({}=1)", setting.name);
        return arg.action(ArgAction::SetTrue).help(help);
    }
    let brief = format!("{meaning} ({})", setting.name);
    let long = format!(
        "{meaning} Takes {}; if unset: {}. Sets {}.",
        setting.takes, setting.default, setting.name
    );
    arg.value_name("VALUE")
        .value_parser(value_parser!(OsString))
        .help(brief)
        .long_help(long)
}

/// `--no-dns` and its like, in the order of the groups.
fn without_groups() -> impl Iterator<Item = Arg> {
    Group::ALL.iter().map(|group| {
        let name = format!("no-{}", group.name());
        Arg::new(name.clone())
            .long(name)
            .action(ArgAction::SetTrue)
            .help_heading("Leaving out")
            .help(format!("Leave the group {} as it is", group.name()))
    })
}

fn run_command() -> Command {
    Command::new("run")
        .about("Run a program with its threads as coroutines")
        .long_about(
            "Run a program with its threads as coroutines.\n\n\
             Sets LD_PRELOAD (libraries that are in it already stay) and the variables of the \
             options, then becomes the program: same process, same descriptors, and the exit \
             status is the program's. Variables that no option names are passed on as they are.",
        )
        .after_help(RUN_EXAMPLES)
        .arg(
            Arg::new("only")
                .long("only")
                .value_name("GROUPS")
                .value_delimiter(',')
                .value_parser(PossibleValuesParser::new(
                    Group::ALL.iter().map(|g| g.name()),
                ))
                .help(
                    "Make only these groups cooperative, and thread, without which nothing can be",
                ),
        )
        .arg(
            Arg::new("library")
                .long("library")
                .value_name("FILE")
                .value_parser(value_parser!(OsString))
                .value_hint(ValueHint::FilePath)
                .help(
                    "The library to load; else the one beside this program, or installed near it",
                ),
        )
        .arg(
            Arg::new("trace")
                .long("trace")
                .value_name("FILE")
                .value_parser(value_parser!(OsString))
                .value_hint(ValueHint::FilePath)
                .conflicts_with_all([
                    config::settings::EVENTS_FILE,
                    config::settings::EVENTS_FORMAT,
                ])
                .help("Write a timeline of every call that waits, for `gevent-shim report` or Perfetto")
                .long_help(
                    "Write a timeline of every call that waits, for `gevent-shim report`, Perfetto \
                     or chrome://tracing. The same as --events gevent=trace,gevent::patch=info --events-format chrome \
                     --events-file FILE; in FILE %p is the process id.",
                ),
        )
        .args(options().map(option))
        .args(without_groups())
        .arg(
            Arg::new("program")
                .value_name("PROGRAM")
                .required(true)
                .num_args(1..)
                .trailing_var_arg(true)
                .value_parser(value_parser!(OsString))
                .value_hint(ValueHint::CommandWithArguments)
                .help("The program, and its arguments"),
        )
}

fn doctor_command() -> Command {
    Command::new("doctor")
        .about("Tell what would be patched here, or why a program can't be")
        .long_about(
            "Tell what would be patched here, or why a program can't be.\n\n\
             Looks at this machine (processor, kernel, libc) and, if one is named, at a program \
             and the libraries it is linked with. Nothing is run. Exit status 0 if a program can \
             be made cooperative here, 1 if not.",
        )
        .arg(
            Arg::new("library")
                .long("library")
                .value_name("FILE")
                .value_parser(value_parser!(OsString))
                .value_hint(ValueHint::FilePath)
                .help("The library to look at"),
        )
        .arg(
            Arg::new("program")
                .value_name("PROGRAM")
                .value_parser(value_parser!(OsString))
                .value_hint(ValueHint::ExecutablePath)
                .help("The program, as a path or a name in PATH"),
        )
}

fn events_command() -> Command {
    Command::new("events")
        .about("Change which events a running process tells")
        .long_about(
            "Change which events a running process tells.\n\n\
             They go where they went before: the process must have been started with \
             GEVENT_SHIM_EVENTS (gevent=error is enough), and answers under the conditions of \
             `gevent-shim ps`.",
        )
        .arg(pid().required(true))
        .arg(
            Arg::new("filter")
                .value_name("FILTER")
                .required(true)
                .help("As GEVENT_SHIM_EVENTS takes it: gevent::call, info, off, all"),
        )
}

fn report_command() -> Command {
    Command::new("report")
        .about("Make a page of a trace: timeline, flame graph of waits, tables")
        .long_about(
            "Make a page of a trace: timeline, flame graph of waits, tables.\n\n\
             The trace is what `gevent-shim run --trace` or \
             GEVENT_SHIM_EVENTS_FORMAT=chrome wrote, also if the program was killed \
             meanwhile. The page needs nothing else: no network, no other file.",
        )
        .arg(
            Arg::new("trace")
                .value_name("TRACE")
                .required(true)
                .value_parser(value_parser!(std::path::PathBuf))
                .value_hint(ValueHint::FilePath)
                .help("The trace"),
        )
        .arg(
            Arg::new("output")
                .short('o')
                .long("output")
                .value_name("PAGE")
                .default_value("report.html")
                .value_parser(value_parser!(std::path::PathBuf))
                .value_hint(ValueHint::FilePath)
                .help("The page"),
        )
}

fn pid() -> Arg {
    Arg::new("pid")
        .value_name("PID")
        .value_parser(value_parser!(i32).range(1..))
        .help("The process")
}

fn ps_command() -> Command {
    Command::new("ps")
        .about("List the processes under the library, or the threads of one")
        .long_about(
            "List the processes under the library, or the threads of one.\n\n\
             A process answers if it was started with GEVENT_SHIM_CONTROL, or \
             `gevent-shim run --control`, by the same user, and has made a thread.",
        )
        .arg(pid().help("The process whose threads are listed"))
}

fn dump_command() -> Command {
    Command::new("dump")
        .about("Show what every thread of a process waits for, since when, and its stack")
        .long_about(
            "Show what every thread of a process waits for, since when, and its stack.\n\n\
             The process copies its threads' registers and the innermost part of their stacks, \
             and goes on; everything else is done here. It answers under the conditions of \
             `gevent-shim ps`.",
        )
        .arg(pid().required(true))
        .arg(
            Arg::new("stack")
                .long("stack")
                .value_name("BYTES")
                .value_parser(value_parser!(usize))
                .help("How much of each stack is looked at, up to 262144; if unset: 16384"),
        )
}

/// The whole command line.
pub fn command() -> Command {
    Command::new("gevent-shim")
        .version(clap::crate_version!())
        .about(ABOUT)
        .long_about(LONG_ABOUT)
        .after_help(EXAMPLES)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(run_command())
        .subcommand(doctor_command())
        .subcommand(ps_command())
        .subcommand(dump_command())
        .subcommand(events_command())
        .subcommand(report_command())
        .subcommand(
            Command::new("config")
                .about("Show every setting, its value in this environment, and its meaning"),
        )
        .subcommand(
            Command::new("completions")
                .about("Print the completions for a shell")
                .arg(
                    Arg::new("shell")
                        .required(true)
                        .value_parser(value_parser!(clap_complete::Shell)),
                ),
        )
        .subcommand(Command::new("man").about("Print the manual page, in roff"))
}

/// Reads the command line and does what it says.
pub fn act() -> Ending {
    let matches = match command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => {
            // Help and versions are "errors" with status 0. Nobody is left to tell
            // if they can't be printed.
            let _ = error.print();
            return Ok(error.exit_code());
        }
    };
    let (name, matches) = matches.subcommand().unwrap_or(("", &matches));
    match name {
        "run" => run::run(&wish(matches)),
        "doctor" => doctor::doctor(path(matches, "library"), path(matches, "program")),
        "ps" => match matches.get_one("pid") {
            Some(&pid) => inspect::guests(pid),
            None => inspect::processes(),
        },
        "dump" => {
            let stack = matches.get_one("stack").copied();
            let pid = matches.get_one("pid").copied();
            inspect::dump(pid.unwrap_or_default(), stack.unwrap_or(inspect::STACK))
        }
        "events" => {
            let pid = matches.get_one("pid").copied();
            let filter = matches.get_one::<String>("filter");
            inspect::events(pid.unwrap_or_default(), filter.map_or("", String::as_str))
        }
        "report" => {
            let file = |name| matches.get_one::<std::path::PathBuf>(name);
            match (file("trace"), file("output")) {
                (Some(trace), Some(output)) => report::report(trace, output),
                // Both have a value.
                _ => Ok(2),
            }
        }
        "config" => crate::config::show(),
        "completions" => match matches.get_one::<clap_complete::Shell>("shell") {
            Some(&shell) => pages::completions(shell),
            None => Ok(2),
        },
        "man" => pages::man(),
        // `subcommand_required`.
        _ => Ok(2),
    }
}

fn path<'a>(matches: &'a ArgMatches, name: &str) -> Option<&'a OsString> {
    matches.get_one(name)
}

/// What the options of `run` ask for.
fn wish(matches: &ArgMatches) -> run::Wish {
    let mut settings = Vec::new();
    for setting in options() {
        if is_switch(setting) {
            if matches.get_flag(setting.name) {
                settings.push((setting.name, OsString::from("1")));
            }
        } else if let Some(value) = matches.get_one::<OsString>(setting.name) {
            settings.push((setting.name, value.clone()));
        }
    }
    if let Some(file) = path(matches, "trace") {
        let set = |name| settings.iter().any(|(other, _)| *other == name);
        if !set(config::settings::EVENTS) {
            settings.push((
                config::settings::EVENTS,
                "gevent=trace,gevent::patch=info".into(),
            ));
        }
        settings.push((config::settings::EVENTS_FORMAT, "chrome".into()));
        settings.push((config::settings::EVENTS_FILE, file.clone()));
    }
    let left_out = |group: &&Group| matches.get_flag(&format!("no-{}", group.name()));
    run::Wish {
        library: path(matches, "library").cloned(),
        only: matches
            .get_many::<String>("only")
            .map(|groups| groups.cloned().collect()),
        without: Group::ALL.iter().filter(left_out).copied().collect(),
        settings,
        command: matches
            .get_many::<OsString>("program")
            .map(|words| words.cloned().collect())
            .unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_consistent() {
        super::command().debug_assert();
    }
}
