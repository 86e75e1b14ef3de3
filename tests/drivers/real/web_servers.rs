//! Web servers with threads: nginx with thread pools, apache2 with both threaded MPMs; and siege.

use crate::Scenario;
use crate::serving::{Place, Serving, is_root, siege, succeed};
use gevent_tests::mode::Mode;
use gevent_tests::run::{End, Outcome};
use std::process::Command;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "real_nginx_thread_pool",
        end: End::Exit(0),
        run: |mode| nginx(mode, &Mode::Bare),
    },
    Scenario {
        name: "real_siege",
        end: End::Exit(0),
        run: |mode| nginx(&Mode::Bare, mode),
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

/// A directory with documents.
fn documents() -> Result<Place, String> {
    let place = Place::new()?;
    std::fs::create_dir(place.path("www")).map_err(|error| error.to_string())?;
    place.write("www/small", "hello\n")?;
    place.write("www/large", &"0123456789abcdef\n".repeat(20_000))?;
    Ok(place)
}

/// Fetches `path` and tells its size and sum.
fn fetch(serving: &mut Serving, path: &str) -> Result<(), String> {
    let url = format!("http://127.0.0.1:{}/{path}", serving.port());
    let mut curl = Command::new("curl");
    curl.args([
        "--silent",
        "--show-error",
        "--noproxy",
        "*",
        "--include",
        &url,
    ]);
    let answer = succeed(&Mode::Bare, &mut curl)?.stdout;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.lines().next().unwrap_or_default().to_owned();
    let sum = body
        .bytes()
        .fold(0u32, |sum, byte| sum.rotate_left(5) ^ u32::from(byte));
    serving.say(&format!(
        "{path}: {status}, {} bytes, {sum:08x}",
        body.len()
    ));
    Ok(())
}

fn load(serving: &mut Serving, mode: &Mode, requests: u32) -> Result<(), String> {
    let urls = ["small", "large"].map(|path| format!("http://127.0.0.1:{}/{path}", serving.port()));
    let line = siege(mode, &serving.place.path(""), &urls, 40, requests)?;
    serving.say(&line);
    Ok(())
}

fn nginx(server_mode: &Mode, siege_mode: &Mode) -> Result<Outcome, String> {
    let place = documents()?;
    let root = place.path("");
    let root = root.display();
    let user = if is_root() { "user root;" } else { "" };
    let settings = place.write(
        "nginx.conf",
        &format!(
            "daemon off; worker_processes 2; pid {root}/run/pid; error_log {root}/log warn; {user}
            thread_pool default threads=8 max_queue=65536;
            events {{ worker_connections 512; }}
            http {{
                access_log off; sendfile off; output_buffers 2 64k;
                aio threads; aio_write on;
                client_body_temp_path {root}/body; proxy_temp_path {root}/proxy;
                fastcgi_temp_path {root}/fastcgi; uwsgi_temp_path {root}/uwsgi;
                scgi_temp_path {root}/scgi;
                server {{ listen {}; root {root}/www; }}
            }}\n",
            place.address
        ),
    )?;
    let mut nginx = Command::new("/usr/sbin/nginx");
    nginx.args(["-e", "stderr", "-c"]).arg(settings);
    let mut serving = place.start(server_mode, &mut nginx)?;
    for path in ["small", "large", "missing"] {
        fetch(&mut serving, path)?;
    }
    load(&mut serving, siege_mode, 50)?;
    let log = std::fs::read_to_string(serving.place.path("log")).unwrap_or_default();
    let missing = log.lines().filter(|line| line.contains("/missing")).count();
    serving.say(&format!(
        "log: {} lines, {missing} of the missing",
        log.lines().count()
    ));
    serving.stop(libc::SIGTERM, |line| Some(line.to_owned()))
}

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
