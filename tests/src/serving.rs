//! Servers of the scenarios: started in a directory of their own, stopped by a signal, and what they
//! leave behind.
#![allow(unsafe_code)]

use crate::mode::Mode;
use crate::root::Root;
use crate::run::{self, End, Outcome};
use crate::server::{self, Server};
use std::fmt::Write;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// For whatever a scenario waits for.
pub const LIMIT: Duration = Duration::from_secs(120);

/// Whether the tests run as root: some servers then want to be told whom to run as.
#[must_use]
pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|about| about.uid() == 0)
}

/// A directory for a server, whoever it runs as, and a port for it.
pub struct Place {
    directory: TempDir,
    /// Where it is to listen.
    pub address: SocketAddr,
}

impl Place {
    /// A fresh directory with an empty directory `run` in it, and a free port.
    ///
    /// # Errors
    /// What the system said.
    pub fn new() -> Result<Self, String> {
        let make = || -> std::io::Result<Self> {
            let directory = tempfile::tempdir()?;
            let open = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(directory.path(), open)?;
            let place = Self {
                directory,
                address: server::free_port()?,
            };
            std::fs::create_dir(place.path("run"))?;
            Ok(place)
        };
        make().map_err(|error| error.to_string())
    }

    /// Keeps it as it is for all later runs, and removes its directory when the process exits.
    #[must_use]
    pub fn kept(self) -> &'static Self {
        static KEPT: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
        extern "C" fn remove() {
            let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
            for directory in kept.drain(..) {
                if let Err(error) = std::fs::remove_dir_all(&directory) {
                    eprintln!("{} is left: {error}", directory.display());
                }
            }
        }
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.is_empty() {
            // SAFETY: the function is there as long as the program. It may be called when `main`
            // has returned: it uses no thread-local storage.
            let registered = unsafe { libc::atexit(remove) };
            assert_eq!(registered, 0, "no memory");
        }
        kept.push(self.directory.path().to_path_buf());
        Box::leak(Box::new(self))
    }

    /// A file of the directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file of the directory.
    ///
    /// # Errors
    /// What the system said.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf, String> {
        let path = self.path(name);
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path)
    }

    /// Starts `command` in `mode` and waits until it accepts connections.
    ///
    /// # Errors
    /// Why it doesn't, with what it said.
    pub fn start(self, mode: &Mode, command: &mut Command) -> Result<Serving, String> {
        self.start_in(&Root::machine(), mode, command)
    }

    /// As [`start`](Self::start), in another system's root.
    ///
    /// # Errors
    /// As there.
    pub fn start_in(
        self,
        root: &Root,
        mode: &Mode,
        command: &mut Command,
    ) -> Result<Serving, String> {
        mode.apply(command);
        root.enter(command);
        let said = self.path("said");
        let mut start = || -> std::io::Result<Server> {
            let file = std::fs::File::create(&said)?;
            command.stdout(file.try_clone()?).stderr(file);
            Server::listening(command, self.address, LIMIT)
        };
        let server = start().map_err(|error| {
            let said = std::fs::read_to_string(&said).unwrap_or_default();
            format!("{:?}: {error}\n{said}", command.get_program())
        })?;
        Ok(Serving {
            place: self,
            server,
            text: String::new(),
        })
    }
}

/// A server that runs, and what there is to tell about it.
pub struct Serving {
    /// Where it runs.
    pub place: Place,
    server: Server,
    text: String,
}

impl Serving {
    /// Adds a line to what the scenario tells.
    pub fn say(&mut self, line: &str) {
        writeln!(self.text, "{line}").expect("writing to a String cannot fail");
    }

    /// Its port, as text.
    #[must_use]
    pub fn port(&self) -> String {
        self.place.address.port().to_string()
    }

    /// Sends `signal`, waits for the server's end, and tells how it ended, whether processes or files
    /// in `run` are left, and those of the lines it said that `keep` leaves.
    ///
    /// # Errors
    /// What the system said.
    pub fn stop(
        &mut self,
        signal: i32,
        keep: impl Fn(&str) -> Option<String>,
    ) -> Result<Outcome, String> {
        let attempt = || -> std::io::Result<Outcome> {
            let group = self.server.group();
            group.signal(signal)?;
            let status = group.wait_until(Instant::now() + LIMIT)?;
            let soon = Instant::now() + Duration::from_secs(10);
            let mut others = group.others()?;
            while !others.is_empty() && Instant::now() < soon {
                std::thread::sleep(Duration::from_millis(10));
                others = group.others()?;
            }
            self.say(&format!(
                "end: {}",
                status.map_or(End::TimeLimit, End::from)
            ));
            self.say(&format!("processes left: {others:?}"));
            let mut files = std::fs::read_dir(self.place.path("run"))?
                .map(|entry| entry.map(|entry| entry.file_name()))
                .collect::<std::io::Result<Vec<_>>>()?;
            files.sort();
            self.say(&format!("files left: {files:?}"));
            let said = std::fs::read_to_string(self.place.path("said"))?;
            let mut outcome = told(std::mem::take(&mut self.text));
            for line in said.lines().filter_map(keep) {
                writeln!(outcome.stderr, "{line}").expect("writing to a String cannot fail");
            }
            Ok(outcome)
        };
        attempt().map_err(|error| error.to_string())
    }
}

/// An outcome told by a scenario itself.
#[must_use]
pub fn told(text: String) -> Outcome {
    Outcome {
        end: End::Exit(0),
        stdout: text,
        stderr: String::new(),
        held: None,
        at_time_limit: None,
    }
}

/// Runs `command` to its end, which must be exit status 0; its outcome.
///
/// # Errors
/// How else it ended, with what it said.
pub fn succeed(mode: &Mode, command: &mut Command) -> Result<Outcome, String> {
    succeed_in(&Root::machine(), mode, command)
}

/// As [`succeed`], in another system's root.
///
/// # Errors
/// As there.
pub fn succeed_in(root: &Root, mode: &Mode, command: &mut Command) -> Result<Outcome, String> {
    mode.apply(command);
    root.enter(command);
    let name = format!("{:?}", command.get_program());
    let outcome = run::run(command, LIMIT, false).map_err(|error| format!("{name}: {error}"))?;
    match outcome.end {
        End::Exit(0) => Ok(outcome),
        end => Err(format!(
            "{name}: {end}\n{}\n{}\n{}",
            outcome.stdout,
            outcome.stderr,
            outcome.at_time_limit.unwrap_or_default()
        )),
    }
}

/// What siege, whose users are threads, says about `users` that each fetch all of `urls` in turn until
/// each has made `requests`.
///
/// # Errors
/// How it failed.
pub fn siege(
    mode: &Mode,
    directory: &Path,
    urls: &[String],
    users: u32,
    requests: u32,
) -> Result<String, String> {
    let write = |path: PathBuf, text: String| {
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
    };
    let settings = directory.join("siege.conf");
    write(
        settings.clone(),
        "verbose = false\ncolor = off\nlogging = false\njson_output = true\nparser = false\n"
            .into(),
    )?;
    let list = directory.join("urls");
    write(list.clone(), urls.join("\n") + "\n")?;
    let mut siege = Command::new("siege");
    // It makes a directory at home.
    siege
        .env("HOME", directory)
        .arg("-b")
        .arg("-R")
        .arg(settings);
    siege.args(["-c", &users.to_string(), "-r", &requests.to_string()]);
    let outcome = succeed(mode, siege.arg("-f").arg(list))?;
    let counts: Vec<String> = outcome
        .stdout
        .lines()
        .filter(|line| line.contains("successful_trans") || line.contains("failed_trans"))
        .map(|line| line.split_whitespace().collect())
        .collect();
    // Where a user has no configuration yet, it says that it makes one.
    let errors: Vec<&str> = outcome
        .stderr
        .lines()
        .filter(|line| line.contains("error"))
        .collect();
    Ok(format!("siege: {} {}", counts.join(" "), errors.join(" ")))
}
