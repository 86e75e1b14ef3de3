//! MariaDB, with a thread per connection, under sysbench; PostgreSQL under pgbench.

use crate::Scenario;
use crate::serving::{LIMIT, Place, Serving, is_root, succeed};
use gevent_tests::mode::Mode;
use gevent_tests::run::{End, Outcome};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "real_mariadb_server",
        end: End::Exit(0),
        run: |mode| mariadb(mode, &Mode::Bare),
    },
    Scenario {
        name: "real_sysbench",
        end: End::Exit(0),
        run: |mode| mariadb(&Mode::Bare, mode),
    },
    Scenario {
        name: "real_postgres_server",
        end: End::Exit(0),
        run: |mode| postgres(mode, &Mode::Bare),
    },
    Scenario {
        name: "real_pgbench",
        end: End::Exit(0),
        run: |mode| postgres(&Mode::Bare, mode),
    },
];

/// A directory that is made once for all runs, and copied.
type Template = OnceLock<Result<Place, String>>;

fn copy(from: &Place, to: &Path) -> Result<(), String> {
    let mut cp = Command::new("cp");
    cp.arg("-a").arg(from.path("data")).arg(to);
    succeed(&Mode::Bare, &mut cp).map(|_| ())
}

/// The lines of `text` that start with one of `names`, without the spaces between words.
fn lines_of(text: &str, names: &[&str]) -> String {
    text.lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|line| names.iter().any(|name| line.starts_with(name)))
        .collect::<Vec<_>>()
        .join("\n")
}

fn mariadb_template() -> Result<Place, String> {
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
    succeed(&Mode::Bare, &mut install)?;
    Ok(place)
}

const TABLES: &str = "sbtest1, sbtest2, sbtest3, sbtest4";

/// 200 connections read and write: none of them may see an error, and no row may be lost.
fn mariadb(server_mode: &Mode, client_mode: &Mode) -> Result<Outcome, String> {
    static TEMPLATE: Template = OnceLock::new();
    let template = TEMPLATE.get_or_init(mariadb_template).as_ref()?;
    let place = Place::new()?;
    copy(template, &place.path("data"))?;
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
    let mut serving = place.start(server_mode, &mut server)?;
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

/// The directory of PostgreSQL's programs, of the newest version there is.
fn postgres_programs() -> Result<PathBuf, String> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").map_err(|error| error.to_string())?;
    let mut found: Vec<PathBuf> = versions
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .collect();
    found.sort();
    found
        .pop()
        .ok_or_else(|| "no PostgreSQL in /usr/lib/postgresql".to_owned())
}

/// PostgreSQL refuses to run as root, so root runs it as nobody.
const NOBODY: u32 = 65534;

fn as_nobody(command: &mut Command) -> &mut Command {
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// Gives a place to whom PostgreSQL runs as.
fn give_away(place: &Place) -> Result<(), String> {
    if is_root() {
        for name in ["", "run"] {
            std::os::unix::fs::chown(place.path(name), Some(NOBODY), Some(NOBODY))
                .map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}

/// The mode with a library that nobody can read, wherever it was built.
fn readable(mode: &Mode, place: &Place) -> Result<Mode, String> {
    let mut mode = mode.clone();
    if let Mode::Preloaded { library, .. } = &mut mode {
        let copy = place.path("libgevent_shim.so");
        std::fs::copy(&*library, &copy)
            .and_then(|_| std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755)))
            .map_err(|error| error.to_string())?;
        *library = copy;
    }
    Ok(mode)
}

fn postgres_template() -> Result<Place, String> {
    let place = Place::new()?;
    give_away(&place)?;
    let mut initdb = Command::new(postgres_programs()?.join("initdb"));
    initdb
        .args(["--auth=trust", "--username=tester", "--no-sync", "--pgdata"])
        .arg(place.path("data"))
        .current_dir("/");
    succeed(&Mode::Bare, as_nobody(&mut initdb))?;
    Ok(place)
}

/// TPC-B, whose four sums must agree at the end.
fn postgres(server_mode: &Mode, client_mode: &Mode) -> Result<Outcome, String> {
    static TEMPLATE: Template = OnceLock::new();
    let template = TEMPLATE.get_or_init(postgres_template).as_ref()?;
    let place = Place::new()?;
    give_away(&place)?;
    copy(template, &place.path("data"))?;
    let server_mode = readable(server_mode, &place)?;
    let programs = postgres_programs()?;
    let mut server = Command::new(programs.join("postgres"));
    server
        .arg("-D")
        .arg(place.path("data"))
        .arg("-k")
        .arg(place.path("run"))
        .args([
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "shared_buffers=16MB",
        ])
        .args([
            "-c",
            "log_min_messages=error",
            "-p",
            &place.address.port().to_string(),
        ])
        .current_dir("/");
    let mut serving = place.start(&server_mode, as_nobody(&mut server))?;
    let client = |serving: &Serving, name: &str, arguments: &[&str]| {
        let mut client = Command::new(programs.join(name));
        client
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", serving.port())
            .env("PGUSER", "tester")
            .env("PGDATABASE", "postgres")
            .args(arguments);
        client
    };
    let deadline = Instant::now() + LIMIT;
    // It accepts connections before it is ready for them.
    while let Err(error) = succeed(&Mode::Bare, &mut client(&serving, "pg_isready", &[])) {
        if Instant::now() > deadline {
            return Err(error);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    succeed(client_mode, &mut client(&serving, "pgbench", &["-i", "-q"]))?;
    let counts = ["number of transactions actually", "number of failed"];
    for arguments in [
        ["-c20", "-j4", "-t60", "--no-vacuum"],
        // A connection for each transaction.
        ["-c10", "-j5", "-t10", "--connect"],
    ] {
        let ran = succeed(client_mode, &mut client(&serving, "pgbench", &arguments))?;
        serving.say(&lines_of(&ran.stdout, &counts));
        serving.say(&ran.stderr);
    }
    let sums = "SELECT count(*) FROM pgbench_history UNION ALL SELECT count(DISTINCT sum) FROM (\
        SELECT sum(delta) FROM pgbench_history UNION ALL SELECT sum(abalance) FROM pgbench_accounts \
        UNION ALL SELECT sum(bbalance) FROM pgbench_branches \
        UNION ALL SELECT sum(tbalance) FROM pgbench_tellers) AS sums(sum)";
    let checked = succeed(&Mode::Bare, &mut client(&serving, "psql", &["-Atc", sums]))?;
    serving.say(&checked.stdout);
    serving.stop(libc::SIGTERM, |line| {
        // It logs its life, and who asks before it is ready.
        let usual = line.contains(" LOG: ") || line.contains("the database system is starting up");
        (!usual).then(|| line.to_owned())
    })
}
