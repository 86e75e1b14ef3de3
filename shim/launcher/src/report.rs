//! One page, with everything in it, made of a timeline in Chrome's trace format.

mod page;
mod trace;

use std::path::Path;

use crate::{Ending, Failure};

/// Reads the trace and writes the page.
///
/// # Errors
/// A line that names the file and what is wrong with it.
pub fn report(trace: &Path, output: &Path) -> Ending {
    let shown = |path: &Path| path.display().to_string();
    let bytes = std::fs::read(trace)
        .map_err(|error| Failure::new(format_args!("cannot read {}: {error}", shown(trace))))?;
    let read =
        trace::read(&bytes).map_err(|why| Failure::new(format_args!("{}: {why}", shown(trace))))?;
    let page = page::page(&read, &shown(trace)).map_err(Failure::new)?;
    std::fs::write(output, page)
        .map_err(|error| Failure::new(format_args!("cannot write {}: {error}", shown(output))))?;
    Ok(0)
}
