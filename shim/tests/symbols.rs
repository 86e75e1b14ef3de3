//! `scripts/check-symbols` refuses a library that asks for what it must not.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Makes a library, or a program, of C.
fn compile(name: &str, source: &str, arguments: &[&str]) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (from, to) = (directory.join(format!("{name}.c")), directory.join(name));
    std::fs::write(&from, source).unwrap();
    let status = Command::new("cc")
        .args(["-w", "-o"])
        .args([&to, &from])
        .args(arguments)
        .status()
        .unwrap();
    assert!(status.success());
    to
}

/// What the script says of a library, and of a program beside it.
fn complaints(library: &Path, launcher: Option<&Path>) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/check-symbols");
    let output = Command::new(script)
        .arg(library)
        .args(launcher)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

fn names(text: &str, name: &str) -> bool {
    text.split_whitespace().any(|word| word == name)
}

const SHARED: [&str; 2] = ["-shared", "-fPIC"];

#[test]
fn what_others_may_interpose_is_refused() {
    let library = compile(
        "interposable.so",
        "#include <poll.h>\n#include <stdlib.h>\n#include <sys/mman.h>\n#include <time.h>\n\
         #include <fcntl.h>\n#include <unistd.h>\n#include <string.h>\n\
         long probe(char *to, struct timespec *ts) {\n\
         memset(to, 0, getpid());\n\
         return read(0, to, 1) + write(1, to, 1) + close(0) + open(to, 0) + poll(0, 0, 0)\n\
         + (long)mmap(0, 1, 0, 0, 0, 0) + clock_gettime(0, ts) + (long)malloc(1); }\n",
        &SHARED,
    );
    let said = complaints(&library, None);
    for name in [
        "read",
        "write",
        "close",
        "open",
        "poll",
        "mmap",
        "clock_gettime",
        "malloc",
        "getpid",
    ] {
        assert!(names(&said, name), "{name} is not in:\n{said}");
    }
    assert!(!names(&said, "memset"), "{said}");
}

#[test]
fn what_older_libcs_lack_is_refused() {
    // A version that every libc has is there under a newer name too.
    let source = "extern int newer(void);\n\
         __asm__(\".symver newer, __libc_start_main@GLIBC_2.34\");\n\
         int probe(void) { return newer(); }\nint main(void) { return 0; }\n";
    let library = compile("newer.so", source, &SHARED);
    let said = complaints(&library, None);
    assert!(
        said.contains("newer.so: symbols that glibc 2.28 does not have"),
        "{said}"
    );
    let program = compile("newer", source, &[]);
    let said = complaints(&library, Some(&program));
    assert!(
        said.contains("newer: symbols that glibc 2.28 does not have"),
        "{said}"
    );
}

#[test]
fn another_needed_library_is_refused() {
    let library = compile(
        "needs.so",
        "extern double cos(double);\ndouble probe(double x) { return cos(x); }\n",
        &["-shared", "-fPIC", "-Wl,--no-as-needed", "-lm"],
    );
    let said = complaints(&library, None);
    assert!(said.contains("libm.so.6"), "{said}");
}
