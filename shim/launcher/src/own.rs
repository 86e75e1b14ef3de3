//! Where this program is.

use std::ffi::{CStr, OsStr, c_char};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Its executable: the kernel's answer, or without `/proc` the path by which it was started.
///
/// # Errors
/// Neither is known.
pub fn executable() -> io::Result<PathBuf> {
    std::env::current_exe().or_else(|error| {
        // SAFETY: getauxval has no preconditions; the kernel gives the address of a string that
        // stays where it is.
        let path = unsafe {
            let at = libc::getauxval(libc::AT_EXECFN) as *const c_char;
            if at.is_null() {
                return Err(error);
            }
            CStr::from_ptr(at)
        };
        Path::new(OsStr::from_bytes(path.to_bytes())).canonicalize()
    })
}
