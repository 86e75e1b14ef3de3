//! Installs a system with debootstrap, and keeps it between runs.
//!
//! A system is whole when the stamp beside it says what it was made from. Whoever uses one holds
//! a lock on it, shared; whoever makes it holds the lock alone.
#![allow(unsafe_code)]

use crate::{Origin, System};
use gevent_tests::run::{End, run};
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The variable that names the directory systems are kept in.
const CACHE: &str = "GEVENT_TESTS_SYSTEMS_CACHE";

/// The variable that names another mirror of Debian.
const MIRROR: &str = "GEVENT_TESTS_MIRROR";

/// For one installation: it downloads 250 MB.
const LIMIT: Duration = Duration::from_secs(1200);

/// Packages that every system has: compilers and what is run.
const PACKAGES: &str = "gcc,g++,libc6-dev,python3";

/// What debootstrap leaves out and look-ups of names need.
const HOSTS: &str = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n";

/// A system that is installed, and stays so until this is dropped.
pub struct Installed {
    /// Its root directory.
    pub directory: PathBuf,
    _lock: File,
}

fn cache() -> PathBuf {
    std::env::var_os(CACHE).map_or_else(
        || Path::new(env!("CARGO_TARGET_TMPDIR")).join("systems/roots"),
        PathBuf::from,
    )
}

/// The system's root directory; made if it is not there, or is not whole.
pub fn install(system: &System) -> Result<Installed, String> {
    let cache = cache();
    let told = |error: std::io::Error| format!("{}: {error}", cache.display());
    fs::create_dir_all(&cache).map_err(told)?;
    let cache = cache.canonicalize().map_err(told)?;
    let file = |ending: &str| cache.join(format!("{}{ending}", system.suite));
    let (directory, stamp) = (file(""), file(".stamp"));
    let mirror = match system.origin {
        Origin::Debian => {
            std::env::var(MIRROR).unwrap_or_else(|_| "http://deb.debian.org/debian".to_owned())
        }
        Origin::Ubuntu => "http://archive.ubuntu.com/ubuntu".to_owned(),
    };
    let include = format!("{PACKAGES},{}", system.packages.join(","));
    let wanted = format!("{}\n{include}\n{HOSTS}", system.suite);
    let is_whole = || fs::read_to_string(&stamp).is_ok_and(|made_from| made_from == wanted);

    let lock = File::create(file(".lock")).map_err(told)?;
    hold(&lock, libc::LOCK_SH).map_err(told)?;
    if !is_whole() {
        // Not as one step: who holds it shared and waits for the others would wait for ever.
        hold(&lock, libc::LOCK_UN).map_err(told)?;
        hold(&lock, libc::LOCK_EX).map_err(told)?;
        if !is_whole() {
            let begin = Instant::now();
            eprintln!(
                "systems: installing {} in {}",
                system.suite,
                directory.display()
            );
            remove(&stamp)?;
            let partial = file(".partial");
            remove(&directory)?;
            // What a mirror answers once, it may not answer the next time.
            let attempt = || {
                remove(&partial)?;
                debootstrap(system, &include, &partial, &mirror)
            };
            attempt().or_else(|error| {
                eprintln!("systems: {}: once more, as {error}", system.suite);
                attempt()
            })?;
            fs::write(partial.join("etc/hosts"), HOSTS).map_err(told)?;
            fs::rename(&partial, &directory).map_err(told)?;
            fs::write(&stamp, &wanted).map_err(told)?;
            let took = begin.elapsed().as_secs();
            eprintln!("systems: {} installed in {took} s", system.suite);
        }
        hold(&lock, libc::LOCK_SH).map_err(told)?;
        if !is_whole() {
            return Err(format!("{}: another run removed it", directory.display()));
        }
    }
    Ok(Installed {
        directory,
        _lock: lock,
    })
}

fn hold(lock: &File, how: libc::c_int) -> std::io::Result<()> {
    // SAFETY: a descriptor that is open; no pointers.
    match unsafe { libc::flock(lock.as_raw_fd(), how) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

fn remove(path: &Path) -> Result<(), String> {
    let removed = match fs::symlink_metadata(path) {
        Ok(about) if about.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    };
    removed.map_err(|error| format!("{}: {error}", path.display()))
}

fn debootstrap(system: &System, include: &str, into: &Path, mirror: &str) -> Result<(), String> {
    let mut command = Command::new("debootstrap");
    command
        .arg("--variant=minbase")
        .arg(format!("--include={include}"))
        .args((system.origin == Origin::Ubuntu).then_some("--components=main,universe"))
        .arg(system.suite)
        .arg(into)
        .arg(mirror)
        .env("LC_ALL", "C")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env_remove("LD_PRELOAD");
    if system.origin == Origin::Ubuntu {
        // debootstrap may be older than the release, whose steps are those of an old one.
        command.arg("/usr/share/debootstrap/scripts/gutsy");
    }
    let outcome =
        run(&mut command, LIMIT, false).map_err(|error| format!("debootstrap: {error}"))?;
    match outcome.end {
        End::Exit(0) => Ok(()),
        end => {
            let lines: Vec<&str> = outcome.stdout.lines().collect();
            let last = lines[lines.len().saturating_sub(10)..].join("\n");
            let log = fs::read_to_string(into.join("debootstrap/debootstrap.log"));
            let log = log.unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let log = lines[lines.len().saturating_sub(20)..].join("\n");
            Err(format!(
                "debootstrap: {end}\n{last}\n{}\n{log}",
                outcome.stderr
            ))
        }
    }
}
