//! Fetches a kernel's image from its distribution's mirror, and keeps it between runs.

use crate::Kernel;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The variable that names the directory images are kept in.
const CACHE: &str = "GEVENT_TESTS_KERNELS_CACHE";

fn cache() -> PathBuf {
    std::env::var_os(CACHE).map_or_else(
        || Path::new(env!("CARGO_TARGET_TMPDIR")).join("kernels/images"),
        PathBuf::from,
    )
}

/// The kernel's bootable image.
pub fn image(kernel: &Kernel) -> Result<PathBuf, String> {
    let cache = cache();
    let told = |error: std::io::Error| format!("{}: {error}", cache.display());
    fs::create_dir_all(&cache).map_err(told)?;
    let image = cache.join(format!("vmlinuz-{}", kernel.release));
    if image.exists() {
        return Ok(image);
    }
    let scratch = tempfile::tempdir_in(&cache).map_err(told)?;
    let package = scratch.path().join("kernel.deb");
    let url = format!("{}/{}", kernel.mirror, path_of_package(kernel)?);
    fetch(&url, &package)?;
    let mut unpack = Command::new("dpkg-deb");
    unpack.arg("-x").arg(&package).arg(scratch.path());
    succeed(&mut unpack)?;
    let boot = scratch.path().join("boot");
    let found = fs::read_dir(&boot).map_err(told)?.flatten();
    let name = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with("vmlinuz-");
    let found = found.map(|entry| (name(&entry), entry.path()));
    let (_, unpacked) = { found }
        .find(|(is_image, _)| *is_image)
        .ok_or_else(|| format!("{url}: no image in it"))?;
    fs::rename(unpacked, &image).map_err(told)?;
    Ok(image)
}

/// Where the newest package of that release is at the mirror.
fn path_of_package(kernel: &Kernel) -> Result<String, String> {
    let index = format!(
        "{}/dists/{}/main/binary-amd64/Packages.xz",
        kernel.mirror, kernel.suite
    );
    let scratch = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
    fetch(&index, scratch.path())?;
    let text = succeed(Command::new("xz").arg("-dc").arg(scratch.path()))?;
    let (before, after) = kernel.package;
    text.lines()
        .filter_map(|line| line.strip_prefix("Filename: "))
        .rfind(|path| {
            let name = path.rsplit('/').next().unwrap_or_default();
            let package = name.split('_').next().unwrap_or_default();
            let between = package.strip_prefix(before);
            between
                .and_then(|rest| rest.strip_suffix(after))
                .is_some_and(|abi| {
                    abi.bytes()
                        .all(|byte| byte.is_ascii_digit() || byte == b'.')
                })
        })
        .map(str::to_owned)
        .ok_or_else(|| format!("{index}: no package {before}…{after}"))
}

fn fetch(url: &str, into: &Path) -> Result<(), String> {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--retry", "3"])
        .args(["--max-time", "300", "--output"])
        .arg(into)
        .arg(url);
    succeed(&mut curl).map(drop)
}

/// What a command prints that ends with status 0.
fn succeed(command: &mut Command) -> Result<String, String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?}: {}: {said}", output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
