//! Runs one program to its end, in a process group of its own, within a time limit.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It returned this exit status, 0 to 255.
    Exit(i32),
    /// This signal killed it.
    Signal(i32),
    /// It was still running when its time was up, and we killed it.
    TimeLimit,
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exit(status) => write!(f, "exit status {status}"),
            Self::Signal(signal) => write!(f, "killed by signal {signal}"),
            Self::TimeLimit => write!(f, "still running at its time limit"),
        }
    }
}

impl From<ExitStatus> for End {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Exit(code),
            (None, Some(signal)) => Self::Signal(signal),
            (None, None) => unreachable!("wait returned a status that is neither exit nor signal"),
        }
    }
}

/// What a process was while it held still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its kernel threads.
    pub kernel_threads: usize,
    /// Its descriptors that are io_uring instances.
    pub rings: usize,
}

/// What came out of one run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How the program ended.
    pub end: End,
    /// All it wrote to standard output.
    pub stdout: String,
    /// All it wrote to standard error.
    pub stderr: String,
    /// What the process was at the moment it said it was holding still, if it did.
    pub held: Option<Held>,
    /// What its kernel threads were doing at the time limit, for a report.
    pub at_time_limit: Option<String>,
}

/// A process group that is killed with SIGKILL when this goes out of scope.
#[derive(Debug)]
pub struct Group {
    child: Child,
}

impl Group {
    /// Starts `command` as the leader of a new process group.
    ///
    /// # Errors
    /// Those of [`Command::spawn`].
    pub fn start(command: &mut Command) -> io::Result<Self> {
        // So that nothing is left behind when the tests themselves are killed. The kernel means the
        // thread that spawned, and a test's thread lives until its groups are dropped.
        // SAFETY: between fork and exec the closure makes one system call and touches no memory.
        unsafe {
            command.pre_exec(
                || match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                    0 => Ok(()),
                    _ => Err(io::Error::last_os_error()),
                },
            );
        }
        Ok(Self {
            child: command.process_group(0).spawn()?,
        })
    }

    /// Process id of the leader, which is the group's id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Names of the processes of the group that are still alive, but for the leader.
    ///
    /// # Errors
    /// When `/proc` can't be read.
    pub fn others(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            // `pid (name) state parent group …`; one that has just ended has none.
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let Some((name, rest)) = stat.rsplit_once(") ") else {
                continue;
            };
            let mut fields = rest.split(' ');
            let alive = !matches!(fields.next(), Some("Z" | "X"));
            let group = fields.nth(1).and_then(|group| group.parse().ok());
            if alive && group == Some(self.id()) && pid != self.id() {
                names.extend(name.split_once('(').map(|(_, name)| name.to_owned()));
            }
        }
        names.sort();
        Ok(names)
    }

    /// Waits for the leader until `deadline`; `None` when it is still running then.
    ///
    /// # Errors
    /// Those of [`Child::try_wait`].
    pub fn wait_until(&mut self, deadline: Instant) -> io::Result<Option<ExitStatus>> {
        let mut pause = Duration::from_micros(200);
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        }
    }

    /// Sends `signal` to the leader alone.
    ///
    /// # Errors
    /// The kernel's, for instance ESRCH when the leader has ended.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        let pid = self.child.id().cast_signed();
        // SAFETY: kill reads no memory; the id is our child's, which we have not reaped while we hold it.
        match unsafe { libc::kill(pid, signal) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let group = self.child.id().cast_signed();
        // The leader may have ended and left others behind, so the group is killed in any case. An
        // error means nobody is left, which is what we want.
        // SAFETY: kill reads no memory. While any member lives, the kernel does not give the id away.
        unsafe { libc::kill(-group, libc::SIGKILL) };
        if let Err(error) = self.child.wait() {
            eprintln!("cannot reap process {group}: {error}");
        }
    }
}

/// Makes a socket the standard output of `command`, and starts it; reading our end of the socket
/// fails after `limit` of silence.
///
/// # Errors
/// Those of making the socket and of [`Group::start`].
pub fn start_with_output(
    command: &mut Command,
    limit: Duration,
) -> io::Result<(Group, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_read_timeout(Some(limit))?;
    command.stdout(OwnedFd::from(theirs));
    let started = Group::start(command);
    // The command keeps its copy, which would hide the program's end from us.
    command.stdout(Stdio::null());
    Ok((started?, ours))
}

/// Runs `command` to its end, or kills its group after `limit`.
///
/// With `hold`, standard input is a socket on which the program says, with one byte, that it holds
/// still; its kernel threads are then counted and it is released with one byte. Without, standard
/// input is `/dev/null`. Output goes to unnamed files, so that a process left behind can't keep us
/// reading.
///
/// # Errors
/// When the program can't be started, or its output can't be read.
pub fn run(command: &mut Command, limit: Duration, hold: bool) -> io::Result<Outcome> {
    let deadline = Instant::now() + limit;
    let mut stdout = tempfile::tempfile()?;
    let mut stderr = tempfile::tempfile()?;
    let held = if hold {
        let (ours, theirs) = UnixStream::pair()?;
        command.stdin(Stdio::from(OwnedFd::from(theirs)));
        Some(ours)
    } else {
        command.stdin(Stdio::null());
        None
    };
    command.stdout(stdout.try_clone()?);
    command.stderr(stderr.try_clone()?);
    let mut group = Group::start(command)?;
    // The command keeps our copies of the descriptors it gave away: the held socket would never
    // report the program's end.
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());

    let held = match held {
        Some(socket) => look_while_held(socket, group.id(), limit)?,
        None => None,
    };
    let status = group.wait_until(deadline)?;
    let at_time_limit = status.is_none().then(|| describe_threads(group.id()));
    drop(group);
    Ok(Outcome {
        end: status.map_or(End::TimeLimit, End::from),
        stdout: whole(&mut stdout)?,
        stderr: whole(&mut stderr)?,
        held,
        at_time_limit,
    })
}

fn look_while_held(mut socket: UnixStream, pid: u32, limit: Duration) -> io::Result<Option<Held>> {
    socket.set_read_timeout(Some(limit))?;
    let mut byte = [0];
    match socket.read(&mut byte) {
        Ok(1) => {}
        // It ended, or hung, before it held still: its outcome says which.
        _ => return Ok(None),
    }
    let kernel_threads = std::fs::read_dir(format!("/proc/{pid}/task"))?.count();
    let mut rings = 0;
    for descriptor in std::fs::read_dir(format!("/proc/{pid}/fd"))? {
        let target = std::fs::read_link(descriptor?.path())?;
        rings += usize::from(target.as_os_str() == "anon_inode:[io_uring]");
    }
    socket.write_all(&byte)?;
    Ok(Some(Held {
        kernel_threads,
        rings,
    }))
}

fn whole(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// One line a kernel thread: its name, state, and the system call it is in.
fn describe_threads(pid: u32) -> String {
    let read = |path: String| {
        std::fs::read_to_string(path)
            .map_or_else(|error| format!("({error})"), |text| text.trim().to_owned())
    };
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return "no threads left".to_owned();
    };
    tasks
        .flatten()
        .take(20)
        .map(|task| {
            let base = task.path().display().to_string();
            let name = read(format!("{base}/comm"));
            let state = read(format!("{base}/status"));
            let state = state
                .lines()
                .find_map(|line| line.strip_prefix("State:"))
                .unwrap_or("?")
                .trim()
                .to_owned();
            let call = read(format!("{base}/syscall"));
            format!("{name}: {state}, syscall {call}\n")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn status_and_both_outputs_come_back() {
        let outcome = run(
            &mut shell("echo out; echo err >&2; exit 3"),
            Duration::from_secs(20),
            false,
        )
        .unwrap();
        assert_eq!(outcome.end, End::Exit(3));
        assert_eq!((&*outcome.stdout, &*outcome.stderr), ("out\n", "err\n"));
    }

    #[test]
    fn death_by_signal_is_told_from_exit() {
        let outcome = run(&mut shell("kill -TERM $$"), Duration::from_secs(20), false).unwrap();
        assert_eq!(outcome.end, End::Signal(libc::SIGTERM));
    }

    #[test]
    fn the_whole_group_dies_at_the_limit() {
        let mut command = shell("sleep 1000 & echo $!; wait");
        let outcome = run(&mut command, Duration::from_millis(500), false).unwrap();
        assert_eq!(outcome.end, End::TimeLimit);
        let left_behind = outcome.stdout.trim();
        // The signal is sent by then, but only the leader's end was waited for. Afterwards it is
        // either reaped by whoever inherits orphans or still waiting for that.
        let limit = Instant::now() + Duration::from_secs(20);
        while std::fs::read_to_string(format!("/proc/{left_behind}/stat"))
            .is_ok_and(|stat| !stat.contains(") Z ") && !stat.contains(") X "))
        {
            assert!(Instant::now() < limit, "{left_behind} outlived its group");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn the_others_of_a_group_are_found() {
        let (group, mut output) = start_with_output(
            &mut shell("sleep 1000 & echo x; wait"),
            Duration::from_secs(20),
        )
        .unwrap();
        output.read_exact(&mut [0]).unwrap();
        // Forked, it is the shell's own name until it executes.
        let others = group.others().unwrap();
        assert_eq!(others.len(), 1, "{others:?}");
    }

    #[test]
    fn threads_are_counted_while_the_program_holds() {
        let mut command = shell("printf H >&0; head -c 1 >/dev/null; echo released");
        let outcome = run(&mut command, Duration::from_secs(20), true).unwrap();
        assert_eq!(
            outcome.held,
            Some(Held {
                kernel_threads: 1,
                rings: 0
            })
        );
        assert_eq!(outcome.stdout, "released\n");
    }
}
