//! By what means calls would be led to us, tried on memory of our own: for who asks before
//! there is a program.
#![allow(unsafe_code)]

use gevent_runtime::catch;

use super::ArmError;
use crate::engine::InstallError;
use crate::maps;
use crate::patch::{self, Edit, PAGE, Region};

/// How calls are led to us in a process under the restrictions of this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Means {
    /// Sites are patched.
    Patched,
    /// Text can't be patched for this reason, so calls are caught, each by a signal.
    Caught(ArmError),
    /// Text can't be patched for this reason, and the kernel catches no calls.
    None(ArmError),
}

/// Tries it.
pub fn means() -> Means {
    match try_to_patch() {
        Ok(()) => Means::Patched,
        Err(error) if error.is_of_text() && catch::is_available() => Means::Caught(error),
        Err(error) => Means::None(error),
    }
}

/// Makes a page of code, and writes into it as into a program's text.
fn try_to_patch() -> Result<(), ArmError> {
    const RET: u8 = 0xc3;
    let here = try_to_patch as *const () as u64;
    let mappings = maps::known().map_err(ArmError::Maps)?.mappings;
    let mut region = Region::near(here, here, PAGE, &mappings).map_err(InstallError::NoMemory)?;
    let outcome = region
        .seal(&[RET; 16])
        .map_err(InstallError::NotExecutable)
        .and_then(|()| {
            let edit = Edit {
                addr: region.addr(),
                old: vec![RET; 2],
                new: vec![0xeb, 0],
            };
            let text = region.addr()..region.addr() + region.len();
            // SAFETY: nothing runs there.
            unsafe { patch::write(text, &[edit]) }.map_err(InstallError::from)
        });
    // SAFETY: as above.
    unsafe { region.free() };
    Ok(outcome?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_forbids_it_here() {
        assert_eq!(means(), Means::Patched);
    }
}
