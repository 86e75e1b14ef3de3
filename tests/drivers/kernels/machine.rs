//! A virtual machine that runs guest programs: its first file system, and what its console told.

use crate::Kernel;
use crate::install;
use gevent_tests::compile;
use gevent_tests::guest::Guest;
use gevent_tests::run::{self, End, Outcome};
use std::collections::HashMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

/// For all that one machine runs, on emulated processors.
const LIMIT: Duration = Duration::from_secs(900);

/// What the programs and the library need, of the machine that compiles them.
const LIBRARIES: [&str; 4] = [
    "/lib64/ld-linux-x86-64.so.2",
    "/lib/x86_64-linux-gnu/libc.so.6",
    "/lib/x86_64-linux-gnu/libm.so.6",
    "/lib/x86_64-linux-gnu/libgcc_s.so.1",
];

/// Where the library is there.
pub const LIBRARY: &str = "/libgevent_shim.so";

/// One run of a program.
pub struct Run {
    /// The program's name.
    pub program: String,
    /// How it is told from the program's other runs: a word.
    pub mode: String,
    /// `NAME=value`, of its environment.
    pub environment: Vec<String>,
}

/// What the programs did, by name and mode.
pub type Told = HashMap<(String, String), Outcome>;

/// Starts a machine with that kernel, has it run everything, and waits for its end.
pub fn run(
    kernel: &Kernel,
    library: &Path,
    guests: &[Guest],
    runs: &[Run],
) -> Result<Told, String> {
    let image = install::image(kernel)?;
    let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
    let files = scratch.path().join("files");
    let archive = scratch.path().join("files.cpio");
    fill(&files, library, guests, runs)?;
    pack(&files, &archive)?;
    let mut machine = Command::new("qemu-system-x86_64");
    machine
        .args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2"])
        .args(["-m", "1024", "-nographic", "-no-reboot", "-nic", "none"])
        .args(["-append", "console=ttyS0 quiet loglevel=0 panic=-1"])
        .arg("-kernel")
        .arg(image)
        .arg("-initrd")
        .arg(archive);
    let outcome = run::run(&mut machine, LIMIT, false).map_err(|error| error.to_string())?;
    let told = parse(&outcome.stdout);
    if outcome.end != End::Exit(0) || !outcome.stdout.contains("@done") {
        let text = outcome.stdout;
        let tail = text.char_indices().rev().nth(2000).map_or(0, |(at, _)| at);
        let told = format!("the machine: {}\n{}", outcome.end, outcome.stderr);
        return Err(format!("{told}\n{}", &text[tail..]));
    }
    Ok(told)
}

/// Makes the file system.
fn fill(files: &Path, library: &Path, guests: &[Guest], runs: &[Run]) -> Result<(), String> {
    let told = |error: std::io::Error| format!("{}: {error}", files.display());
    let place = |from: &Path, at: &str| {
        let to = files.join(at.trim_start_matches('/'));
        fs::create_dir_all(to.parent().unwrap_or(files))?;
        fs::copy(from, to).map(drop)
    };
    for library in LIBRARIES {
        place(Path::new(library), library).map_err(told)?;
    }
    place(library, LIBRARY).map_err(told)?;
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kernels/built");
    let init = built.join("init");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("drivers/kernels/init.c");
    compile::build(&source, &["-static".to_owned()], &init).map_err(told)?;
    place(&init, "init").map_err(told)?;
    for guest in guests {
        let command = guest.build(&built).map_err(told)?.command();
        let executable = PathBuf::from(command.get_program());
        place(&executable, &format!("guests/{}", guest.name)).map_err(told)?;
    }
    let mut plan = String::new();
    for run in runs {
        let environment = run.environment.join(" ");
        plan += &format!("{} {} {environment}\n", run.program, run.mode);
    }
    fs::write(files.join("plan"), plan).map_err(told)
}

/// Makes an archive of it that the kernel unpacks.
fn pack(files: &Path, archive: &Path) -> Result<(), String> {
    let told = |error: std::io::Error| format!("{}: {error}", archive.display());
    let mut cpio = Command::new("sh");
    cpio.args(["-c", "find . | cpio --quiet -o -H newc -R 0:0"])
        .current_dir(files)
        .stdin(Stdio::null())
        .stdout(fs::File::create(archive).map_err(told)?);
    match cpio.status().map_err(told)? {
        status if status.success() => Ok(()),
        status => Err(format!("cpio: {status}")),
    }
}

/// What `init.c` printed.
fn parse(console: &str) -> Told {
    let mut told = Told::new();
    let mut text = String::new();
    for line in console.lines().map(|line| line.trim_end_matches('\r')) {
        if let Some(said) = line.strip_prefix('|') {
            text += said;
            text.push('\n');
        } else if line.starts_with("@begin ") {
            text.clear();
        } else if let Some(end) = line.strip_prefix("@end ")
            && let [name, mode, status] = end.split(' ').collect::<Vec<_>>()[..]
            && let Ok(status) = status.parse()
        {
            let outcome = Outcome {
                end: end_of(ExitStatus::from_raw(status)),
                stdout: std::mem::take(&mut text),
                stderr: String::new(),
                held: None,
                at_time_limit: None,
            };
            told.insert((name.to_owned(), mode.to_owned()), outcome);
        }
    }
    told
}

fn end_of(status: ExitStatus) -> End {
    match (status.code(), status.signal()) {
        (Some(code), _) => End::Exit(code),
        (None, Some(signal)) => End::Signal(signal),
        (None, None) => End::TimeLimit,
    }
}
