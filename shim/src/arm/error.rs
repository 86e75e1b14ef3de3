//! Why something stays unpatched.

use rustix::io::Errno;

use crate::engine::InstallError;
use crate::image::ImageError;
use crate::others::NotStopped;
use crate::patch::WriteError;
use crate::scan::Refusal;

/// Why an object, or everything, stays unpatched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArmError {
    /// The list of mappings can't be read.
    #[error("the process's mappings can't be read: {0}")]
    Maps(Errno),
    /// The number of the process's threads can't be read.
    #[error("the number of the process's threads can't be read")]
    Threads,
    /// The process has that many kernel threads, if it is known, others of which may run in the text.
    #[error("the process has other threads already")]
    OtherThreads(Option<usize>),
    /// No libc among the mappings.
    #[error("no libc is mapped")]
    NoLibc,
    /// An object holds the runtime of Go.
    #[error("{0} holds the runtime of Go, which makes its system calls itself")]
    Go(String),
    /// Not the layout of an ELF object.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The mappings are not those its headers ask for.
    #[error("its text is not mapped as its headers say, readable and executable")]
    Unmapped,
    /// A call that dispatch must see would go past it.
    #[error("the site at {0:#x} {1}")]
    Site(u64, Refusal),
    /// No site found where there must be some.
    #[error("it has no sites")]
    NoSites,
    /// The engine could not patch.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// Its file can't be read.
    #[error("its file can't be read: {0}")]
    File(Errno),
    /// What is mapped is another text than its file's.
    #[error("its file has been replaced")]
    Replaced,
    /// The process has other threads, which can't be stopped.
    #[error(transparent)]
    NotStopped(#[from] NotStopped),
}

impl ArmError {
    /// Whether the text stays as it is whatever is planned, so that calls can only be caught.
    pub fn is_of_text(&self) -> bool {
        matches!(
            self,
            Self::Site(..)
                | Self::Install(
                    InstallError::NotExecutable(_) | InstallError::Write(WriteError::Denied(_))
                )
        )
    }
}

impl From<WriteError> for ArmError {
    fn from(error: WriteError) -> Self {
        Self::Install(error.into())
    }
}
