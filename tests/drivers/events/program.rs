//! Programs of these tests, and what they told.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use gevent_tests::{compile, library, mode};
use serde_json::Value;

/// A C program: the body of a file whose first lines include what all of them need.
pub fn build(name: &str, body: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("events");
    std::fs::create_dir_all(&directory).unwrap();
    let source = directory.join(name).with_extension("c");
    let whole = format!("{}\n{body}", include_str!("common.h"));
    if std::fs::read_to_string(&source).ok().as_deref() != Some(&whole) {
        std::fs::write(&source, whole).unwrap();
    }
    let output = directory.join(name);
    compile::build(&source, &[], &output).unwrap();
    output
}

/// Runs a program preloaded, with these settings besides.
pub fn run(program: &Path, settings: &[(&str, &str)]) -> Output {
    run_with(program, &[], settings)
}

/// The same with arguments.
pub fn run_with(program: &Path, arguments: &[&str], settings: &[(&str, &str)]) -> Output {
    command(program, arguments, settings).output().unwrap()
}

/// What runs a program so.
pub fn command(program: &Path, arguments: &[&str], settings: &[(&str, &str)]) -> Command {
    // Only the program is preloaded, not what bounds it.
    let mut command = Command::new("timeout");
    command.args(["-k", "2", "60", "env", "-u", "GEVENT_SHIM_LIB"]);
    command.arg(format!("LD_PRELOAD={}", library::find().unwrap().display()));
    if let Some(hubs) = mode::hubs() {
        // What the settings say of it comes later, and is what counts.
        command.arg(format!("GEVENT_SHIM_HUBS={hubs}"));
    }
    let settings = settings.iter();
    command.args(settings.map(|(name, value)| format!("{name}={value}")));
    command.arg(program).args(arguments);
    command
}

/// What a successful run told with this filter, one JSON object an event.
pub fn told(program: &Path, filter: &str, settings: &[(&str, &str)]) -> Vec<Value> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("events");
    let mut all = vec![
        ("GEVENT_SHIM_EVENTS", filter),
        ("GEVENT_SHIM_EVENTS_FORMAT", "json"),
        ("GEVENT_SHIM_EVENTS_FILE", file.to_str().unwrap()),
    ];
    all.extend(settings);
    let output = run(program, &all);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stderr, b"", "{output:?}");
    read(&file)
}

/// The events in a file of JSON lines.
pub fn read(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// The events of this name.
pub fn named<'a>(events: &'a [Value], name: &str) -> Vec<&'a Value> {
    events
        .iter()
        .filter(|event| event["event"] == name)
        .collect()
}
