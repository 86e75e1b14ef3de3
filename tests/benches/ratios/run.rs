//! Builds the measured programs and runs them bare or preloaded, with a limit.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use wait_timeout::ChildExt;

/// How a program is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Without the library.
    Bare,
    /// With the library and its own choice of the event loop.
    Preloaded,
    /// With the library and `GEVENT_SHIM_LOOP` set.
    PreloadedLoop(&'static str),
    /// With the library as it is without the feature `events`.
    WithoutEvents,
    /// With the library, and each call told to the file of [`Runner::events`].
    Calls,
}

/// The measured programs' directory and the library, if there is one.
pub struct Runner {
    guests: PathBuf,
    library: Option<PathBuf>,
    without_events: Option<PathBuf>,
}

impl Runner {
    /// Compiles the C programs that have changed. `library`: none, if only
    /// bare sides are to run. `without_events`: a build of it without events, if there is one.
    pub fn new(library: Option<PathBuf>, without_events: Option<PathBuf>) -> Result<Self, String> {
        let guests = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-guests");
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench-guests");
        std::fs::create_dir_all(&guests).map_err(|e| format!("{}: {e}", guests.display()))?;
        let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
        for name in [
            "echo_threads",
            "echo_epoll",
            "pingpong",
            "create_join",
            "parked",
            "passthrough",
            "parked_calls",
        ] {
            let status = Command::new(&compiler)
                .args(["-std=gnu11", "-O2", "-Wall", "-Wextra", "-pthread", "-o"])
                .arg(guests.join(name))
                .arg(sources.join(name).with_extension("c"))
                .status()
                .map_err(|e| format!("{}: {e}", compiler.display()))?;
            if !status.success() {
                return Err(format!("{name}.c does not compile: {status}"));
            }
        }
        Ok(Self {
            guests,
            library,
            without_events,
        })
    }

    /// Whether preloaded sides can run.
    pub fn preloads(&self) -> bool {
        self.library.is_some()
    }

    /// The file to which [`Side::Calls`] tells.
    pub fn events(&self) -> PathBuf {
        self.guests.join("events")
    }

    /// Makes sure that there are two builds, and that one of them has no events.
    pub fn has_no_events(&self) -> Result<(), String> {
        let path = self
            .without_events
            .as_ref()
            .ok_or("there is no build without events: scripts/bench makes one")?;
        if !self.preloads() {
            return Err("it needs the library".into());
        }
        let mut command = self.command("/bin/true", Side::WithoutEvents);
        command.env("GEVENT_SHIM_EVENTS", "all");
        let output = command.output().map_err(|e| e.to_string())?;
        let said = String::from_utf8_lossy(&output.stderr);
        if said != "gevent-shim: this library was built without events\n" {
            return Err(format!("{} has events: {said}", path.display()));
        }
        Ok(())
    }

    /// A command for a program, with nothing of the library inherited from
    /// our own environment. `program`: one of ours by name, or an absolute path.
    fn command(&self, program: &str, side: Side) -> Command {
        let mut command = Command::new(self.guests.join(program));
        for (name, _) in std::env::vars_os() {
            if name == "LD_PRELOAD" || name.to_string_lossy().starts_with("GEVENT_SHIM_") {
                command.env_remove(name);
            }
        }
        let library = match side {
            Side::Bare => None,
            Side::WithoutEvents => self.without_events.as_ref(),
            _ => self.library.as_ref(),
        };
        if side != Side::Bare {
            command.env("LD_PRELOAD", library.expect("callers ask first"));
        }
        if side == Side::Calls {
            command.env("GEVENT_SHIM_EVENTS", "gevent::call,gevent::hub=warn");
            command.env("GEVENT_SHIM_EVENTS_FILE", self.events());
        }
        if let Side::PreloadedLoop(name) = side {
            command.env("GEVENT_SHIM_LOOP", name);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command
    }

    /// Runs a program to its end and reads the `name=value` pairs it printed.
    pub fn run(
        &self,
        program: &str,
        arguments: &[&str],
        side: Side,
        limit: Duration,
    ) -> Result<Values, String> {
        let mut command = self.command(program, side);
        command.args(arguments);
        finish(command, limit).map_err(|e| format!("{program} {arguments:?} ({side:?}): {e}"))
    }

    /// Starts a server and waits for the port it prints.
    pub fn serve(&self, program: &str, side: Side, limit: Duration) -> Result<Server, String> {
        let context = |e: String| format!("{program} ({side:?}): {e}");
        let mut child = self
            .command(program, side)
            .spawn()
            .map_err(|e| context(e.to_string()))?;
        let output = child.stdout.take().expect("stdout is piped");
        let mut server = Server { child, port: 0 };
        // The read has no time limit of its own. The thread ends with the
        // line, or with the server, which the guard above kills on our way out.
        let (send, receive) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = BufReader::new(output).read_line(&mut line);
            // The receiver is gone when the limit has passed.
            let _ = send.send(read.map(|_| line));
        });
        let line = receive
            .recv_timeout(limit)
            .map_err(|_| context(format!("no port within {limit:?}")))?
            .map_err(|e| context(e.to_string()))?;
        if line.is_empty() {
            // Its output has ended, so it has too, or is about to.
            let ended = server.child.wait_timeout(limit);
            return Err(context(
                match ended.map_err(|e| context(e.to_string()))? {
                    Some(status) => format!("ended before it listened: {status}"),
                    None => "closed its output before it listened".to_owned(),
                },
            ));
        }
        server.port = line
            .strip_prefix("port ")
            .and_then(|rest| rest.trim().parse().ok())
            .ok_or_else(|| context(format!("printed {line:?} for its port")))?;
        Ok(server)
    }
}

/// A running server, killed when dropped.
pub struct Server {
    child: Child,
    /// The TCP port it listens on.
    pub port: u16,
}

impl Server {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fails if the server has ended by itself.
    pub fn still_runs(&mut self) -> Result<(), String> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(format!("the server ended: {status}")),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both only fail for a child that is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The `name=value` pairs a program printed.
pub struct Values(HashMap<String, f64>);

impl Values {
    /// The value of a name.
    pub fn get(&self, name: &str) -> Result<f64, String> {
        let value = self.0.get(name).copied();
        value.ok_or_else(|| format!("printed no {name}"))
    }
}

/// Runs a command to its end, SIGKILL at the limit, and reads what it printed.
pub fn finish(mut command: Command, limit: Duration) -> Result<Values, String> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| e.to_string())?;
    let status = match child.wait_timeout(limit).map_err(|e| e.to_string())? {
        Some(status) => status,
        None => {
            child.kill().map_err(|e| e.to_string())?;
            child.wait().map_err(|e| e.to_string())?;
            return Err(format!("not finished after {limit:?}"));
        }
    };
    let mut text = String::new();
    // One short line: it fitted the pipe while nobody read.
    let mut output = child.stdout.take().expect("stdout is piped");
    output
        .read_to_string(&mut text)
        .map_err(|e| e.to_string())?;
    if !status.success() {
        return Err(format!("{status}"));
    }
    let pairs = text.split_whitespace().filter_map(|word| {
        let (name, value) = word.split_once('=')?;
        Some((name.to_owned(), value.parse().ok()?))
    });
    Ok(Values(pairs.collect()))
}
