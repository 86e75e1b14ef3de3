//! Where the library is.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::own;

/// Its file name.
const NAME: &str = "libgevent_shim.so";

/// The library as an absolute path: the one that was named, else the one beside this
/// program, else those where packages put libraries relative to it.
///
/// # Errors
/// A line that says where it was looked for.
pub fn find(named: Option<&OsString>) -> Result<PathBuf, String> {
    let path = match named {
        Some(named) => usable(Path::new(named))?,
        None => search()?,
    };
    // The dynamic linker splits the list at these.
    match path
        .as_os_str()
        .as_bytes()
        .iter()
        .find(|b| b" :\n\t".contains(b))
    {
        None => Ok(path),
        Some(_) => Err(format!(
            "{}: LD_PRELOAD cannot name a path with a blank or a colon",
            path.display()
        )),
    }
}

fn search() -> Result<PathBuf, String> {
    let own = own::executable()
        .map_err(|error| format!("where this program is cannot be told: {error}"))?;
    let directory = own.parent().unwrap_or(Path::new("/"));
    let places = [
        "",
        "../lib/gevent-shim",
        "../lib/x86_64-linux-gnu",
        "../lib",
    ];
    let found = places
        .iter()
        .find_map(|place| usable(&directory.join(place).join(NAME)).ok());
    found.ok_or_else(|| {
        format!(
            "no {NAME} in {} nor in {}: name one with --library",
            directory.display(),
            places[1..].join(", ")
        )
    })
}

/// The path, canonical, of a readable file.
fn usable(path: &Path) -> Result<PathBuf, String> {
    std::fs::File::open(path)
        .and_then(|file| file.metadata())
        .and_then(|metadata| match metadata.is_file() {
            true => path.canonicalize(),
            false => Err(std::io::Error::other("not a file")),
        })
        .map_err(|error| format!("no library at {}: {error}", path.display()))
}
