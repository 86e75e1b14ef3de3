//! The objects a program is linked with, and their sites.

use std::path::{Path, PathBuf};
use std::process::Command;

use gevent_shim::image::{Image, Layout};
use gevent_shim::maps::{self, Kind};
use gevent_shim::plan::plan;
use gevent_shim::scan::{Refusal, Wanted, candidates, makes_threads, scan};

/// glibc's dynamic linker, whose path is part of the ABI.
const LINKER: &str = "/lib64/ld-linux-x86-64.so.2";

/// What the dynamic linker would load.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Linked {
    pub found: Vec<PathBuf>,
    pub missing: Vec<String>,
}

/// Asks the dynamic linker, which maps the objects and runs nothing of them.
///
/// # Errors
/// What it says if it can't.
pub fn linked_with(program: &Path) -> Result<Linked, String> {
    let output = Command::new(LINKER)
        .arg("--list")
        .arg(program)
        .env_remove("LD_PRELOAD")
        .output()
        .map_err(|error| format!("cannot run {LINKER}: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(said.trim().to_owned());
    }
    Ok(parse(&String::from_utf8_lossy(&output.stdout)))
}

/// Lines such as `libc.so.6 => /lib/libc.so.6 (0x7f…)`.
fn parse(list: &str) -> Linked {
    let mut linked = Linked::default();
    for line in list.lines().map(str::trim) {
        let (name, path) = line.split_once(" => ").unwrap_or((line, line));
        if path == "not found" {
            linked.missing.push(name.to_owned());
        } else if let Some((path, _)) = path.rsplit_once(" (")
            && path.starts_with('/')
        {
            linked.found.push(path.into());
        }
    }
    linked
}

/// Whether everything depends on this object's being patched as a whole.
pub fn decides(path: &Path) -> bool {
    maps::kind(path) != Kind::Other
}

/// What would be patched in an object.
#[derive(Debug)]
pub struct Finding {
    pub sites: usize,
    /// Sites that would stay, with their link-time address.
    pub refused: Vec<(u64, Refusal)>,
    /// Whether one of them makes threads.
    pub refuses_threads: bool,
}

/// Looks at a file as the library looks at a loaded object.
///
/// # Errors
/// Why the library would leave it alone.
pub fn look(path: &Path) -> Result<Finding, String> {
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    let layout = Layout::parse(&bytes).map_err(|error| error.to_string())?;
    let parts: Option<Vec<&[u8]>> = layout
        .loads
        .iter()
        .map(|load| bytes.get(load.offset as usize..(load.offset + load.size) as usize))
        .collect();
    let parts = parts.ok_or("the file is shorter than its headers say")?;
    let image = Image::new(&layout, &parts).map_err(|error| error.to_string())?;
    let planned = |wanted| {
        let found = candidates(&image, wanted);
        plan(&scan(&image, &found, &[]), |start, end| {
            image.get(start, end - start)
        })
    };
    let plan = planned(Wanted::All);
    let refused: Vec<_> = plan.missed().copied().collect();
    Ok(Finding {
        sites: plan.windows.len(),
        refuses_threads: !refused.is_empty()
            && planned(Wanted::AtLoad)
                .missed()
                .any(|&(addr, _)| makes_threads(&image, addr)),
        refused,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_linkers_list_is_read() {
        let list = "\tlinux-vdso.so.1 (0x00007fff)\n\tlibx.so => not found\n\
                    \tlibc.so.6 => /lib/x y/libc.so.6 (0x00007f)\n\t/lib64/ld.so.2 (0x7f)\n";
        assert_eq!(
            parse(list),
            Linked {
                found: vec!["/lib/x y/libc.so.6".into(), "/lib64/ld.so.2".into()],
                missing: vec!["libx.so".to_owned()],
            }
        );
    }
}
