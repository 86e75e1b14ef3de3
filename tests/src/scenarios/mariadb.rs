//! MariaDB, with a thread per connection, under sysbench.

use crate::mode::Mode;
use crate::root::Root;
use crate::run::Outcome;
use crate::serving::{Place, Serving, is_root, succeed, succeed_in};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

/// Copies the directory `data` of a place.
///
/// # Errors
/// What cp said.
pub fn copy(from: &Place, to: &Path) -> Result<(), String> {
    let mut cp = Command::new("cp");
    cp.arg("-a").arg(from.path("data")).arg(to);
    succeed(&Mode::Bare, &mut cp).map(|_| ())
}

/// The lines of `text` that start with one of `names`, without the spaces between words.
#[must_use]
pub fn lines_of(text: &str, names: &[&str]) -> String {
    text.lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|line| names.iter().any(|name| line.starts_with(name)))
        .collect::<Vec<_>>()
        .join("\n")
}

/// A directory of data that is made once for all runs, and copied.
fn template(root: &Root) -> Result<&'static Place, String> {
    let place = Place::new()?;
    let mut install = Command::new("mariadb-install-db");
    install
        .args(["--no-defaults", "--skip-test-db"])
        .args(is_root().then_some("--user=root"))
        .args([
            "--auth-root-authentication-method=normal",
            "--innodb-log-file-size=8M",
        ])
        .arg(format!("--datadir={}", place.path("data").display()));
    succeed_in(root, &Mode::Bare, &mut install)?;
    Ok(place.kept())
}

/// That of each system, made when it is needed first.
fn template_of(root: &Root) -> Result<&'static Place, String> {
    static ALL: Mutex<BTreeMap<Root, Result<&'static Place, String>>> = Mutex::new(BTreeMap::new());
    let mut all = ALL.lock().map_err(|_| "an installation panicked")?;
    all.entry(root.clone())
        .or_insert_with(|| template(root))
        .clone()
}

const TABLES: &str = "sbtest1, sbtest2, sbtest3, sbtest4";

/// 200 connections read and write: none of them may see an error, and no row may be lost. The
/// server is that of `root`; its clients are the machine's own.
///
/// # Errors
/// What failed besides.
pub fn mariadb(root: &Root, server_mode: &Mode, client_mode: &Mode) -> Result<Outcome, String> {
    let place = Place::new()?;
    copy(template_of(root)?, &place.path("data"))?;
    let mut server = Command::new("/usr/sbin/mariadbd");
    server
        .args(["--no-defaults", "--bind-address=127.0.0.1"])
        .args(is_root().then_some("--user=root"))
        .args([
            "--max-connections=400",
            "--open-files-limit=1000",
            "--table-open-cache=400",
        ])
        .args([
            "--innodb-log-file-size=8M",
            "--innodb-flush-log-at-trx-commit=2",
        ])
        .arg(format!("--port={}", place.address.port()))
        .arg(format!("--datadir={}", place.path("data").display()))
        .arg(format!("--socket={}", place.path("run/socket").display()))
        .arg(format!("--pid-file={}", place.path("run/pid").display()))
        .arg(format!("--log-error={}", place.path("log.err").display()));
    let mut serving = place.start_in(root, server_mode, &mut server)?;
    let query = |serving: &Serving, text: &str| {
        let mut client = Command::new("mariadb");
        client
            .args([
                "--no-defaults",
                "--user=root",
                "--batch",
                "--skip-column-names",
            ])
            .args([
                "--host=127.0.0.1",
                &format!("--port={}", serving.port()),
                "--execute",
                text,
            ]);
        succeed(&Mode::Bare, &mut client).map(|outcome| outcome.stdout)
    };
    query(&serving, "CREATE DATABASE sbtest")?;
    let sysbench = |serving: &Serving, threads: &str, command: &str| {
        let mut sysbench = Command::new("sysbench");
        sysbench
            .args([
                "oltp_read_write",
                "--db-driver=mysql",
                "--mysql-host=127.0.0.1",
            ])
            .args([
                "--mysql-user=root",
                &format!("--mysql-port={}", serving.port()),
            ])
            .args(["--tables=4", "--table-size=5000", "--rand-type=uniform"])
            .args([
                "--time=0",
                "--events=1000",
                &format!("--threads={threads}"),
                command,
            ]);
        sysbench
    };
    succeed(&Mode::Bare, &mut sysbench(&serving, "4", "prepare"))?;
    let ran = succeed(client_mode, &mut sysbench(&serving, "200", "run"))?;
    serving.say(
        &lines_of(
            &ran.stdout,
            &[
                "FATAL",
                "total number of events",
                "reconnects",
                "transactions",
            ],
        )
        .lines()
        // How many in a second, too.
        .map(|line| line.split(" (").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n"),
    );
    serving.say(&ran.stderr);
    let counts = "SELECT count(*), min(id), max(id) FROM sbtest.sbtest";
    for table in 1..=4 {
        let counted = query(&serving, &format!("{counts}{table}"))?;
        serving.say(&counted);
    }
    let checked = query(&serving, &format!("USE sbtest; CHECK TABLE {TABLES}"))?;
    serving.say(&checked);
    let mut outcome = serving.stop(libc::SIGTERM, |line| {
        line.contains("ERROR").then(|| line.to_owned())
    })?;
    let log = std::fs::read_to_string(serving.place.path("log.err")).unwrap_or_default();
    outcome
        .stderr
        .extend(log.lines().filter(|line| line.contains("[ERROR]")));
    Ok(outcome)
}
