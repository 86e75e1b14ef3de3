//! MariaDB, with a thread per connection, under sysbench; PostgreSQL under pgbench.

use crate::Scenario;
use gevent_tests::mode::Mode;
use gevent_tests::root::Root;
use gevent_tests::run::{End, Outcome};
use gevent_tests::scenarios::mariadb::{copy, lines_of, mariadb};
use gevent_tests::serving::{LIMIT, Place, Serving, is_root, succeed};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "real_mariadb_server",
        end: End::Exit(0),
        run: |mode| mariadb(&Root::machine(), mode, &Mode::Bare),
    },
    Scenario {
        name: "real_sysbench",
        end: End::Exit(0),
        run: |mode| mariadb(&Root::machine(), &Mode::Bare, mode),
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
type Template = OnceLock<Result<&'static Place, String>>;

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

fn postgres_template() -> Result<&'static Place, String> {
    let place = Place::new()?;
    give_away(&place)?;
    let mut initdb = Command::new(postgres_programs()?.join("initdb"));
    initdb
        .args(["--auth=trust", "--username=tester", "--no-sync", "--pgdata"])
        .arg(place.path("data"))
        .current_dir("/");
    succeed(&Mode::Bare, as_nobody(&mut initdb))?;
    Ok(place.kept())
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
