//! Runs unmodified programs bare and with every site patched and every call
//! wanted: they must not be able to tell.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// The library to preload. It is built here, since cargo does not build examples
/// for a run of one test.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let exe = std::env::current_exe().unwrap();
        let profile = exe.parent().unwrap().parent().unwrap();
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .args(["build", "--quiet", "--example", "patch_all", "--target-dir"])
            .arg(profile.parent().unwrap())
            .current_dir(env!("CARGO_MANIFEST_DIR"));
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.status().unwrap().success());
        profile.join("examples/libpatch_all.so")
    })
}

/// Compiles one of the programs.
fn build(source: &str, args: &[&str]) -> PathBuf {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs");
    let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(source);
    let out = out.with_extension(if args.contains(&"-shared") {
        "so"
    } else {
        "bin"
    });
    let compiler = if source.ends_with(".cpp") {
        "c++"
    } else {
        "cc"
    };
    let status = Command::new(compiler)
        .args(["-O2", "-g", "-w", "-pthread", "-rdynamic", "-o"])
        .arg(&out)
        .arg(sources.join(source))
        .args(args)
        .arg("-ldl")
        .status()
        .expect("a C compiler is installed");
    assert!(status.success());
    out
}

/// A command that is killed if it does not end.
fn bounded(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("timeout");
    command
        .args(["-k", "2", "60"])
        .arg(program)
        // It would be a setting that does not exist.
        .env_remove("GEVENT_SHIM_LIB")
        .stdin(Stdio::null());
    command
}

fn run(program: &Path, args: &[&str], preload: bool) -> Output {
    let mut command = bounded("env");
    // Plans are kept, but not in the home of who runs the tests.
    command.arg(concat!("XDG_CACHE_HOME=", env!("CARGO_TARGET_TMPDIR")));
    if preload {
        command.arg(format!("LD_PRELOAD={}", library().display()));
    }
    command.arg(program).args(args).output().unwrap()
}

/// Runs the program both ways and compares everything it shows.
fn same(program: &Path, args: &[&str]) -> String {
    let bare = run(program, args, false);
    let patched = run(program, args, true);
    assert_eq!(patched.status, bare.status, "{patched:?}");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(text(&patched.stdout), text(&bare.stdout));
    assert_eq!(text(&patched.stderr), text(&bare.stderr));
    text(&patched.stdout)
}

#[test]
fn many_calls_from_threads() {
    let out = same(&build("calls.c", &[]), &[]);
    assert!(out.ends_with("done 4\n"), "{out}");
}

#[test]
fn unwinds_out_of_a_blocked_read() {
    let out = same(&build("unwind.cpp", &["-fnon-call-exceptions"]), &[]);
    for line in [
        "wanted: backtrace reached main 1",
        "native: backtrace reached main 1",
        "destroyed by an exception",
        "caught 42, backtrace reached main 2",
        "destroyed in a cancelled thread",
    ] {
        assert!(out.lines().any(|l| l == line), "{out}");
    }
}

#[test]
fn registers_survive() {
    let out = same(&build("registers.c", &[]), &[]);
    assert_eq!(out, "registers survive\n");
}

#[test]
fn objects_opened_later() {
    let late = build("liblate.c", &["-shared", "-fPIC"]);
    let out = same(&build("late.c", &[]), &[late.to_str().unwrap()]);
    assert_eq!(out, "late site works\n");
}

#[test]
fn a_library_with_sites_of_its_own() {
    let out = same(&build("openmp.c", &["-fopenmp"]), &[]);
    assert_eq!(out, "990000\n");
}

#[test]
fn shells_and_tools() {
    let script = "echo a | cat; (echo b; exit 3); echo $?; x=$(ls / | wc -l); [ $x -gt 3 ] && echo c; \
                  tar cf - /etc/passwd 2>/dev/null | tar tf -; kill -TERM $$; echo not reached";
    same(Path::new("/bin/bash"), &["-c", script]);
}

#[test]
fn no_page_is_writable_and_executable() {
    let out = run(Path::new("/bin/cat"), &["/proc/self/maps"], true);
    let maps = String::from_utf8(out.stdout).unwrap();
    assert!(!maps.contains("wx"), "{maps}");
    let texts = maps
        .lines()
        .filter(|l| l.contains("libc.so") && l.contains("r-xp"));
    assert_eq!(texts.count(), 1, "{maps}");
}

#[test]
fn a_debugger_reaches_main() {
    if Command::new("gdb").arg("--version").output().is_err() {
        eprintln!("no gdb: not tested");
        return;
    }
    let mut child = Command::new(build("blocked.c", &[]))
        .env("LD_PRELOAD", library())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id();
    // The first field is the number of the call it is blocked in: read.
    while !std::fs::read_to_string(format!("/proc/{pid}/syscall"))
        .is_ok_and(|line| line.starts_with("0 0x0 "))
    {
        std::thread::yield_now();
    }
    let out = bounded("gdb")
        .args(["-nx", "-batch", "-ex", "bt", "-p", &pid.to_string()])
        .output()
        .unwrap();
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    let trace = String::from_utf8_lossy(&out.stdout);
    assert!(
        trace.contains("wait_for_input") && trace.contains(" main "),
        "{trace}"
    );
}
