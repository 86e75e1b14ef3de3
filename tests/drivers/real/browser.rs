//! Chromium without a window: a page whose workers compute and wait, its text and its picture.

use crate::python::python;
use crate::{Scenario, fixture};
use gevent_tests::mode::Mode;
use gevent_tests::run::{self, End, Outcome};
use gevent_tests::server::Server;
use gevent_tests::serving::is_root;
use std::fs::Permissions;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(100);

/// The user that owns nothing.
const NOBODY: u32 = 65534;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "real_chromium",
        end: End::Exit(0),
        run: |mode| browse(mode, false),
    },
    Scenario {
        name: "real_chromium_two_hubs",
        end: End::Exit(0),
        run: |mode| browse(&mode.clone().with_hubs(2), false),
    },
    Scenario {
        // Its processes are in namespaces of their own and under filters of system calls.
        name: "real_chromium_sandbox",
        end: End::Exit(0),
        run: |mode| browse(mode, true),
    },
];

/// Has the command be an ordinary user's, whose home is `home`.
fn as_ordinary_user(command: &mut Command, home: &Path) -> std::io::Result<()> {
    if is_root() {
        chown(home, Some(NOBODY), Some(NOBODY))?;
        command.uid(NOBODY).gid(NOBODY);
    }
    Ok(())
}

/// Whether this machine lets an ordinary user have the namespaces that the sandbox is made of.
fn sandbox_possible(home: &Path) -> std::io::Result<bool> {
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "--pid", "--net", "--fork", "true"]);
    unshare.current_dir(home);
    as_ordinary_user(&mut unshare, home)?;
    Mode::Bare.apply(&mut unshare);
    Ok(run::run(&mut unshare, LIMIT, false)?.end == End::Exit(0))
}

/// The same mode with a copy of the library in `directory`, where every user can read it.
fn readable(mode: &Mode, directory: &Path) -> std::io::Result<Mode> {
    let mut mode = mode.clone();
    if let Mode::Preloaded { library, .. } = &mut mode {
        let copy = directory.join("libgevent_shim.so");
        std::fs::copy(&*library, &copy)?;
        std::fs::set_permissions(&copy, Permissions::from_mode(0o755))?;
        *library = copy;
    }
    Ok(mode)
}

/// Width and height of a PNG, and a digest of the whole.
fn about_picture(file: &Path) -> String {
    let bytes = match std::fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) => return format!("none, {error}"),
    };
    let number = |at: usize| {
        let field = bytes.get(at..at + 4)?;
        Some(u32::from_be_bytes(field.try_into().ok()?))
    };
    if !bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        return "no PNG".to_owned();
    }
    let mut digest = DefaultHasher::new();
    bytes.hash(&mut digest);
    format!(
        "{:?} x {:?}, digest {:016x}",
        number(16),
        number(20),
        digest.finish()
    )
}

/// Has the page's text printed and its picture taken, by an ordinary user in the browser's own
/// sandbox or by this one without.
fn browse(mode: &Mode, ordinary: bool) -> Result<Outcome, String> {
    let attempt = || -> std::io::Result<Outcome> {
        let mut serving = python();
        serving.arg(fixture("page_server.py"));
        Mode::Bare.apply(&mut serving);
        let server = Server::announcing(&mut serving, LIMIT)?;

        let directory = tempfile::tempdir()?;
        let home = directory.path().join("home");
        std::fs::set_permissions(directory.path(), Permissions::from_mode(0o755))?;
        std::fs::create_dir(&home)?;
        let picture = home.join("picture.png");
        let mut chromium = Command::new("chromium");
        chromium.env("HOME", &home).current_dir(&home).args([
            "--headless",
            "--disable-gpu",
            "--no-first-run",
            "--no-proxy-server",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=400,500",
            "--dump-dom",
        ]);
        for (option, path) in [
            ("user-data-dir", &home.join("profile")),
            ("screenshot", &picture),
        ] {
            chromium.arg(format!("--{option}={}", path.display()));
        }
        if ordinary {
            as_ordinary_user(&mut chromium, &home)?;
        }
        if !ordinary || !sandbox_possible(&home)? {
            chromium.arg("--no-sandbox");
        }
        chromium.arg(format!("http://{}/", server.address));
        readable(mode, directory.path())?.apply(&mut chromium);
        let mut outcome = run::run(&mut chromium, LIMIT, false)?;
        outcome.stdout += &format!("\npicture: {}\n", about_picture(&picture));
        // The rest names times, processes and buses that are not there.
        outcome.stderr = outcome
            .stderr
            .lines()
            .filter(|line| line.contains("LD_PRELOAD") || line.contains("gevent"))
            .collect::<Vec<_>>()
            .join("\n");
        if outcome.end == End::Exit(0) && !outcome.stdout.contains("<li>box 200</li></ul>") {
            let text = outcome.stdout;
            return Err(std::io::Error::other(format!(
                "the page has not ended: {text}"
            )));
        }
        Ok(outcome)
    };
    attempt().map_err(|error| format!("chromium: {error}"))
}
