//! Where the built `libgevent_shim.so` is.

use std::path::{Path, PathBuf};

/// Environment variable that names the library under test.
pub const VARIABLE: &str = "GEVENT_SHIM_LIB";

/// Path of the library under test: `GEVENT_SHIM_LIB`, else `release/libgevent_shim.so` of the target
/// directory the tests were built in.
///
/// # Errors
/// A sentence for the person at the terminal when there is no such file.
pub fn find() -> Result<PathBuf, String> {
    let (path, origin) = match std::env::var_os(VARIABLE) {
        Some(named) => (PathBuf::from(named), VARIABLE),
        None => (
            target_directory().join("release/libgevent_shim.so"),
            "the default",
        ),
    };
    path.canonicalize().map_err(|error| {
        format!(
            "no library under test at {} ({origin}): {error}\n\
             build it with `cargo build --release -p gevent-shim`, or name one in {VARIABLE}",
            path.display()
        )
    })
}

/// The target directory this test binary was built in.
///
/// A test binary lives in `<target>/<profile>/deps/`.
#[must_use]
pub fn target_directory() -> PathBuf {
    let from_executable = std::env::current_exe()
        .ok()
        .and_then(|path| path.ancestors().nth(3).map(Path::to_path_buf));
    from_executable.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"))
}
