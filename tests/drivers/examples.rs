//! The examples of the C interface: each is linked with the library, and says what its last
//! comment has. What they need of a network is started here.

use gevent_tests::{compile, library, run, server};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(120);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Compiles an example and compares what it says.
fn check(name: &str, libraries: &[&str], arguments: &[&str]) {
    let library = library::find().unwrap();
    let directory = library.parent().unwrap();
    let source = root().join(format!("tests/examples/{name}.c"));
    let text = std::fs::read_to_string(&source).unwrap();
    let (_, wanted) = text.split_once("/* Output:\n").unwrap();
    let wanted = wanted.strip_suffix("*/\n").unwrap();
    let output = library::target_directory().join("examples-c").join(name);
    let mut options = vec![
        format!("-I{}", root().join("shim/include").display()),
        "-I/usr/include/postgresql".to_owned(),
        format!("-L{}", directory.display()),
        "-lgevent_shim".to_owned(),
        format!("-Wl,-rpath,{}", directory.display()),
        "-lm".to_owned(),
    ];
    options.extend(libraries.iter().map(|library| format!("-l{library}")));
    compile::build(&source, &options, &output).unwrap();
    let mut command = Command::new(&output);
    command.args(arguments).env_remove(library::VARIABLE);
    let outcome = run::run(&mut command, LIMIT, false).unwrap();
    eprint!("{}", outcome.stderr);
    assert_eq!(outcome.end, run::End::Exit(0), "{}", outcome.stdout);
    assert_eq!(outcome.stdout, wanted);
}

#[test]
fn gethostbyname() {
    check("gethostbyname", &[], &[]);
}

#[test]
fn killed_sleeper() {
    check("killed_sleeper", &[], &[]);
}

#[test]
fn echo_server() {
    check("echo_server", &[], &[]);
}

#[test]
fn dns_mass_resolve() {
    check("dns_mass_resolve", &[], &[]);
}

#[test]
fn interface() {
    check("interface", &[], &[]);
}

/// A server of HTTP that answers each request after 100 ms.
fn slow_http() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut request = Vec::new();
                let mut byte = [0];
                while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                    request.push(byte[0]);
                }
                std::thread::sleep(Duration::from_millis(100));
                // A client that has gone needs no answer.
                let _ = stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello");
            });
        }
    });
    address
}

#[test]
fn concurrent_download() {
    let url = format!("http://{}/", slow_http());
    check("concurrent_download", &[":libcurl.so.4"], &[&url]);
}

/// Debian's directory of PostgreSQL's programs.
fn postgres_programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("scripts/setup installs it");
    let mut found: Vec<_> = versions.map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found.pop().expect("a version").join("bin")
}

/// The command as a user that PostgreSQL runs for: not root.
fn unprivileged(program: PathBuf) -> Command {
    let mut command = Command::new(program);
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.env_remove(library::VARIABLE);
    command
}

/// The user nobody.
const NOBODY: u32 = 65534;

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

#[test]
fn libpq_queries() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::set_permissions(place.path(), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::set_permissions(&data, PermissionsExt::from_mode(0o700)).unwrap();
    if is_root() {
        std::os::unix::fs::chown(&data, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let programs = postgres_programs();
    let mut initdb = unprivileged(programs.join("initdb"));
    initdb
        .args(["--auth=trust", "--username=test", "--no-sync", "--pgdata"])
        .arg(&data);
    let made = run::run(&mut initdb, LIMIT, false).unwrap();
    assert_eq!(made.end, run::End::Exit(0), "{}", made.stderr);
    let address = server::free_port().unwrap();
    let port = address.port().to_string();
    let mut postgres = unprivileged(programs.join("postgres"));
    postgres
        .args([
            "-p",
            &port,
            "-h",
            "127.0.0.1",
            "-N",
            "150",
            "-k",
            "",
            "-F",
            "-D",
        ])
        .arg(&data)
        .stderr(std::process::Stdio::null());
    let _server = server::Server::listening(&mut postgres, address, LIMIT).unwrap();
    let where_it_is = format!("host=127.0.0.1 port={port} user=test dbname=postgres");
    check("libpq_queries", &["pq"], &[&where_it_is]);
}
