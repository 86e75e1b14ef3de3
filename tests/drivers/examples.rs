//! The examples of the interface in C and in Rust: each says what its last comment has. What
//! they need of a network is started here.

use gevent_tests::{compile, library, run, server};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(120);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Compiles an example in C with these options of the compiler's.
fn compiled(name: &str, options: &[String]) -> PathBuf {
    let source = root().join(format!("tests/examples/{name}.c"));
    let output = library::target_directory().join("examples-c").join(name);
    compile::build(&source, options, &output).unwrap();
    output
}

/// Options with which a program is linked with the library under test and finds it.
fn linked(libraries: &[&str]) -> Vec<String> {
    let library = library::find().unwrap();
    let directory = library.parent().unwrap();
    let mut options = vec![
        format!("-I{}", root().join("shim/include").display()),
        "-I/usr/include/postgresql".to_owned(),
        format!("-L{}", directory.display()),
        "-lgevent_shim".to_owned(),
        format!("-Wl,-rpath,{}", directory.display()),
        "-lm".to_owned(),
    ];
    options.extend(libraries.iter().map(|library| format!("-l{library}")));
    options
}

/// The examples in Rust, which cargo does not build for a run of one test.
fn examples_of_rust() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let own = std::env::current_exe().unwrap();
        let profile = own.ancestors().nth(2).unwrap();
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .args([
                "build",
                "--quiet",
                "--examples",
                "--package",
                "gevent-tests",
            ])
            .arg("--target-dir")
            .arg(profile.parent().unwrap())
            .current_dir(root())
            .env_remove(library::VARIABLE);
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.status().unwrap().success());
        profile.join("examples")
    })
}

/// Runs an example and compares what it says with what its source has behind `begin`, in
/// lines that begin with `mark`, up to `end`.
fn compare(command: &mut Command, source: &str, begin: &str, mark: &str, end: &str) {
    let source = root().join("tests/examples").join(source);
    let text = std::fs::read_to_string(source).unwrap();
    let (_, wanted) = text.split_once(begin).unwrap();
    let wanted = wanted.strip_suffix(end).unwrap();
    let wanted: String = wanted
        .split_inclusive('\n')
        .map(|line| line.strip_prefix(mark).unwrap())
        .collect();
    // It would be a setting that does not exist.
    command.env_remove(library::VARIABLE);
    let outcome = run::run(command, LIMIT, false).unwrap();
    eprint!("{}", outcome.stderr);
    assert_eq!(outcome.end, run::End::Exit(0), "{}", outcome.stdout);
    assert_eq!(outcome.stdout, wanted);
}

/// As [`compare`], of an example in C.
fn compare_c(command: &mut Command, name: &str) {
    compare(command, &format!("{name}.c"), "/* Output:\n", "", "*/\n");
}

/// Runs an example in C that is linked with the library.
fn in_c(name: &str, libraries: &[&str], arguments: &[&str]) {
    let mut command = Command::new(compiled(name, &linked(libraries)));
    compare_c(command.args(arguments), name);
}

/// Runs an example in Rust, which has the library in it.
fn in_rust(name: &str, arguments: &[&str]) {
    let mut command = Command::new(examples_of_rust().join(name));
    let source = format!("{name}.rs");
    compare(command.args(arguments), &source, "// Output:\n", "// ", "");
}

/// Runs an example both ways.
fn check(name: &str, libraries: &[&str], arguments: &[&str]) {
    in_c(name, libraries, arguments);
    in_rust(name, arguments);
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
    in_c("interface", &[], &[]);
}

#[test]
fn several() {
    in_c("several", &[], &[]);
}

#[test]
fn servers() {
    in_c("servers", &[], &[]);
}

#[test]
fn watching() {
    in_c("watching", &[], &[]);
}

/// Runs an example in C on one hub, on two, and on kernel threads.
fn on_each_hub(name: &str, options: &[String]) {
    let program = compiled(name, options);
    for setting in [
        ("GEVENT_SHIM_HUBS", "1"),
        ("GEVENT_SHIM_HUBS", "2"),
        ("GEVENT_SHIM_DISABLE", "1"),
    ] {
        eprintln!("{}={}", setting.0, setting.1);
        compare_c(Command::new(&program).env(setting.0, setting.1), name);
    }
}

#[test]
fn many_items() {
    on_each_hub("many_items", &linked(&[]));
}

#[test]
fn waits() {
    on_each_hub("waits", &linked(&[]));
}

#[test]
fn payloads() {
    on_each_hub("payloads", &linked(&[]));
}

#[test]
fn scopes() {
    on_each_hub("scopes", &linked(&[]));
}

#[test]
fn locals() {
    on_each_hub("locals", &linked(&[]));
}

#[test]
fn spawned_where() {
    let mut options = linked(&[]);
    options.push("-rdynamic".to_owned());
    on_each_hub("spawned_where", &options);
}

#[test]
fn patched_groups() {
    let program = compiled("patched_groups", &linked(&[]));
    let mut with_less = Command::new(&program);
    with_less.env("GEVENT_SHIM_PATCH", "socket,thread");
    compare_c(&mut with_less, "patched_groups");
}

/// On the hub, where handlers wait until the change is over, and without one.
#[test]
fn signal_handlers() {
    let program = compiled("signal_handlers", &linked(&[]));
    compare_c(&mut Command::new(&program), "signal_handlers");
    let mut without = Command::new(&program);
    compare_c(without.env("GEVENT_SHIM_DISABLE", "1"), "signal_handlers");
}

/// Preloaded, and opened by the program.
#[test]
fn without_header() {
    let library = library::find().unwrap();
    let program = compiled("without_header", &["-ldl".to_owned()]);
    let mut preloaded = Command::new(&program);
    compare_c(preloaded.env("LD_PRELOAD", &library), "without_header");
    compare_c(Command::new(&program).arg(&library), "without_header");
}

/// Opened by the program when it has a thread already.
#[test]
fn late() {
    let program = compiled("late", &["-ldl".to_owned()]);
    compare_c(Command::new(&program).arg(library::find().unwrap()), "late");
}

/// With what pkg-config says of an installation.
#[test]
fn pkg_config() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    for directory in ["lib", "include"] {
        std::fs::create_dir(at(directory)).unwrap();
    }
    std::fs::copy(library::find().unwrap(), at("lib/libgevent_shim.so")).unwrap();
    let header = root().join("shim/include/gevent.h");
    std::fs::copy(header, at("include/gevent.h")).unwrap();
    let mut gevent_pc = Command::new(root().join("scripts/gevent-pc"));
    let written = gevent_pc.arg(place.path()).output().unwrap();
    assert!(written.status.success(), "{written:?}");
    std::fs::write(at("gevent.pc"), written.stdout).unwrap();
    let asked = Command::new("pkg-config")
        .args(["--cflags", "--libs", "gevent"])
        .env("PKG_CONFIG_PATH", place.path())
        .output()
        .expect("scripts/setup installs pkg-config");
    assert!(asked.status.success(), "{asked:?}");
    let flags = String::from_utf8(asked.stdout).unwrap();
    let flags: Vec<_> = flags.split_whitespace().map(str::to_owned).collect();
    let output = at("gethostbyname");
    let source = root().join("tests/examples/gethostbyname.c");
    compile::build(&source, &flags, &output).unwrap();
    let mut command = Command::new(output);
    compare_c(command.env("LD_LIBRARY_PATH", at("lib")), "gethostbyname");
}

/// What answers each request of HTTP after 100 ms.
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

/// An nginx that hands everything on to `backend`.
fn nginx(place: &Path, backend: SocketAddr) -> server::Server {
    let address = server::free_port().unwrap();
    let root = place.display();
    let user = if is_root() { "user root;" } else { "" };
    let settings = place.join("nginx.conf");
    let text = format!(
        "daemon off; worker_processes 1; pid {root}/pid; error_log stderr; {user}
        events {{ worker_connections 512; }}
        http {{
            access_log off; client_body_temp_path {root}/body; proxy_temp_path {root}/proxy;
            fastcgi_temp_path {root}/fastcgi; uwsgi_temp_path {root}/uwsgi;
            scgi_temp_path {root}/scgi;
            server {{ listen {address} backlog=512; location / {{ proxy_pass http://{backend}; }} }}
        }}\n"
    );
    std::fs::write(&settings, text).unwrap();
    let mut nginx = Command::new("/usr/sbin/nginx");
    nginx.args(["-e", "stderr", "-c"]).arg(settings);
    nginx.env_remove(library::VARIABLE);
    server::Server::listening(&mut nginx, address, LIMIT).unwrap()
}

#[test]
fn concurrent_download() {
    let place = tempfile::tempdir().unwrap();
    let server = nginx(place.path(), slow_http());
    let url = format!("http://{}/", server.address);
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
