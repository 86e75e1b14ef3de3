//! Web servers with threads: nginx with thread pools, apache2 with both threaded MPMs; and siege.

use crate::Scenario;
use gevent_tests::mode::Mode;
use gevent_tests::root::Root;
use gevent_tests::run::{End, Outcome};
use gevent_tests::scenarios::nginx::{documents, fetch, load, nginx};
use gevent_tests::serving::{Serving, is_root};
use std::process::Command;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "real_nginx_thread_pool",
        end: End::Exit(0),
        run: |mode| nginx(&Root::machine(), mode, &Mode::Bare),
    },
    Scenario {
        name: "real_siege",
        end: End::Exit(0),
        run: |mode| nginx(&Root::machine(), &Mode::Bare, mode),
    },
    Scenario {
        name: "real_apache_worker",
        end: End::Exit(0),
        run: |mode| apache(mode, "worker"),
    },
    Scenario {
        name: "real_apache_event",
        end: End::Exit(0),
        run: |mode| apache(mode, "event"),
    },
];

fn apache(mode: &Mode, mpm: &str) -> Result<Outcome, String> {
    let place = documents()?;
    let root = place.path("");
    let root = root.display();
    let user = if is_root() {
        "User nobody\nGroup nogroup"
    } else {
        ""
    };
    let modules: String = [mpm, "authz_core", "mime", "dir"]
        .iter()
        .map(|name| {
            let name = if *name == mpm {
                format!("mpm_{mpm}")
            } else {
                (*name).to_owned()
            };
            format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n")
        })
        .collect();
    let settings = place.write(
        "apache.conf",
        &format!(
            "ServerRoot {root}\nServerName localhost\nListen {}\n{modules}{user}
            TypesConfig /etc/mime.types\nPidFile {root}/run/pid\nDefaultRuntimeDir {root}/run
            ErrorLog {root}/log\nLogLevel warn\nDocumentRoot {root}/www
            StartServers 2\nServerLimit 4\nThreadsPerChild 25\nMaxRequestWorkers 100
            MinSpareThreads 5\nMaxSpareThreads 75
            <Directory />\nRequire all granted\n</Directory>\n",
            place.address
        ),
    )?;
    let mut apache = Command::new("/usr/sbin/apache2");
    apache.arg("-f").arg(settings).args(["-D", "FOREGROUND"]);
    let mut serving = place.start(mode, &mut apache)?;
    for path in ["small", "large", "missing"] {
        fetch(&mut serving, path)?;
    }
    load(&mut serving, &Mode::Bare, 50)?;
    let outcome = serving_log(&mut serving)?;
    serving.say(&outcome);
    serving.stop(libc::SIGTERM, |line| Some(line.to_owned()))
}

/// What is in the log that no server writes without need.
fn serving_log(serving: &mut Serving) -> Result<String, String> {
    let log =
        std::fs::read_to_string(serving.place.path("log")).map_err(|error| error.to_string())?;
    let unusual: Vec<&str> = log
        .lines()
        .filter(|line| !line.contains(":notice]"))
        .collect();
    Ok(format!("log: {unusual:?}"))
}
