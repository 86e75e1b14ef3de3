//! Lines to a descriptor, without the C library's or std's streams.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FileType, Mode, OFlags, fstat};
use rustix::io::Errno;
use rustix::process::{Resource, getpid, getrlimit};
use tracing_subscriber::fmt::MakeWriter;

/// Writes some bytes to a descriptor, as write(2) does. It must not lock what
/// a parked guest may hold.
pub type Write = fn(BorrowedFd<'_>, &[u8]) -> io::Result<usize>;

/// write(2) by our own `syscall` instruction, which is no site.
///
/// # Errors
/// As write(2).
pub fn write_directly(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    Ok(rustix::io::write(fd, bytes)?)
}

#[derive(Debug)]
enum Descriptor {
    /// Whatever has number 2.
    Stderr(io::Stderr),
    /// The file, with its device and inode. A program that closes every
    /// descriptor it does not know closes ours too, and may then get the
    /// number for a file of its own: nothing of ours may be written there.
    File { fd: OwnedFd, identity: (u64, u64) },
}

impl Descriptor {
    fn get(&self) -> io::Result<BorrowedFd<'_>> {
        match self {
            // Borrowing the number takes no lock, writing through `Stderr` would.
            Descriptor::Stderr(stderr) => Ok(stderr.as_fd()),
            Descriptor::File { fd, identity } => {
                let stat = fstat(fd)?;
                if (stat.st_dev, stat.st_ino) == *identity {
                    Ok(fd.as_fd())
                } else {
                    Err(Errno::BADF.into())
                }
            }
        }
    }
}

/// Where lines go.
///
/// Synchronization: every line is one write(2), which the kernel appends as a
/// whole; `lost` is a counter that orders nothing.
#[derive(Debug)]
pub(crate) struct Sink {
    descriptor: Descriptor,
    write: Write,
    /// Lines that could not be written since the last one that was.
    lost: AtomicU64,
}

/// Why a file can't be a sink.
#[derive(Debug)]
pub(crate) enum OpenError {
    System(io::Error),
    /// Neither a regular file nor a character device.
    Kind,
}

impl From<Errno> for OpenError {
    fn from(errno: Errno) -> Self {
        OpenError::System(errno.into())
    }
}

impl Sink {
    pub(crate) fn stderr(write: Write) -> Sink {
        Sink::new(Descriptor::Stderr(io::stderr()), write)
    }

    /// Opens `path` for appending, and makes it with access for its owner
    /// alone. A symbolic link is refused, and what could block (a FIFO).
    pub(crate) fn file(path: &Path, write: Write) -> Result<Sink, OpenError> {
        let flags = OFlags::WRONLY
            | OFlags::APPEND
            | OFlags::CREATE
            | OFlags::CLOEXEC
            | OFlags::NOFOLLOW
            | OFlags::NOCTTY
            | OFlags::NONBLOCK;
        let opened = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?;
        let stat = fstat(&opened)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile | FileType::CharacterDevice => {}
            _ => return Err(OpenError::Kind),
        }
        let fd = move_up(opened);
        let identity = (stat.st_dev, stat.st_ino);
        Ok(Sink::new(Descriptor::File { fd, identity }, write))
    }

    fn new(descriptor: Descriptor, write: Write) -> Sink {
        Sink {
            descriptor,
            write,
            lost: AtomicU64::new(0),
        }
    }

    fn write_line(&self, line: &[u8]) -> io::Result<()> {
        let fd = self.descriptor.get()?;
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let pid = getpid().as_raw_nonzero();
            let notice = format!("gevent-shim[{pid}] events that could not be written: {lost}\n");
            if let Err(error) = self.write_whole(fd, notice.as_bytes()) {
                self.lost.fetch_add(lost, Ordering::Relaxed);
                return Err(error);
            }
        }
        self.write_whole(fd, line)
    }

    fn write_whole(&self, fd: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match (self.write)(fd, bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => bytes = &bytes[written.min(bytes.len())..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Takes one whole line a call, as tracing-subscriber's layer gives them.
pub(crate) struct LineWriter<'a>(&'a Sink);

impl io::Write for LineWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.0.write_line(line) {
            Ok(()) => Ok(line.len()),
            Err(error) => {
                // There is nobody to return it to: the layer drops errors, and
                // the program must not see them. The next line tells.
                self.0.lost.fetch_add(1, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> LineWriter<'a> {
        LineWriter(self)
    }
}

/// Gives a descriptor a number out of the way, so that the program's own get
/// the numbers they have without us. If there is none it stays where it is.
fn move_up(fd: OwnedFd) -> OwnedFd {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    match rustix::io::fcntl_dupfd_cloexec(&fd, high_number(limit)) {
        Ok(moved) => moved,
        Err(_) => fd,
    }
}

/// The first number to try under a soft limit of `limit` descriptors. Never
/// above 1024: the kernel's table of a process, which every fork copies, is as
/// long as its highest descriptor.
fn high_number(limit: u64) -> i32 {
    let limit = limit.min(1024) as i32;
    if limit >= 128 { limit - 64 } else { limit / 2 }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;
    use std::io::Write as _;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::sync::Mutex;

    use rustix::io::FdFlags;

    use super::*;

    fn write_line(sink: &Sink, line: &str) -> io::Result<()> {
        sink.make_writer().write_all(line.as_bytes())
    }

    fn descriptor(sink: &Sink) -> BorrowedFd<'_> {
        match &sink.descriptor {
            Descriptor::File { fd, .. } => fd.as_fd(),
            Descriptor::Stderr(stderr) => stderr.as_fd(),
        }
    }

    #[test]
    fn a_new_file_is_for_its_owner_alone_and_appended_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events");
        for line in ["one\n", "two\n"] {
            let sink = Sink::file(&path, write_directly).unwrap();
            write_line(&sink, line).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0);
        assert_eq!(mode & 0o600, 0o600);
    }

    #[test]
    fn the_descriptor_is_out_of_the_way_and_ends_with_exec() {
        let dir = tempfile::tempdir().unwrap();
        let sink = Sink::file(&dir.path().join("events"), write_directly).unwrap();
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        assert!(descriptor(&sink).as_raw_fd() >= high_number(limit));
        let flags = rustix::io::fcntl_getfd(descriptor(&sink)).unwrap();
        assert!(flags.contains(FdFlags::CLOEXEC));
    }

    #[test]
    fn high_numbers_fit_their_limit() {
        for (limit, number) in [
            (u64::MAX, 960),
            (1 << 20, 960),
            (1024, 960),
            (256, 192),
            (128, 64),
            (127, 63),
            (3, 1),
            (0, 0),
        ] {
            assert_eq!(high_number(limit), number, "{limit}");
        }
    }

    #[test]
    fn links_directories_and_fifos_are_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let aim = dir.path().join("aim");
        let link = dir.path().join("link");
        symlink(&aim, &link).unwrap();
        let Err(OpenError::System(error)) = Sink::file(&link, write_directly) else {
            panic!("a dangling link was followed");
        };
        assert_eq!(error.raw_os_error(), Some(Errno::LOOP.raw_os_error()));
        assert!(!aim.exists());
        fs::write(&aim, "kept").unwrap();
        assert!(Sink::file(&link, write_directly).is_err());
        assert_eq!(fs::read_to_string(&aim).unwrap(), "kept");

        assert!(Sink::file(dir.path(), write_directly).is_err());

        let fifo = dir.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, Mode::RUSR | Mode::WUSR).unwrap();
        assert!(Sink::file(&fifo, write_directly).is_err(), "no reader");
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let _reader = rustix::fs::open(&fifo, flags, Mode::empty()).unwrap();
        assert!(matches!(
            Sink::file(&fifo, write_directly),
            Err(OpenError::Kind)
        ));
    }

    #[test]
    fn a_character_device_will_do() {
        let sink = Sink::file(Path::new("/dev/null"), write_directly).unwrap();
        write_line(&sink, "gone\n").unwrap();
    }

    #[test]
    fn nothing_is_written_to_another_file_of_the_same_number() {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = Sink::file(&dir.path().join("events"), write_directly).unwrap();
        let other = dir.path().join("other");
        // What is left when the program closes our number and opens a file.
        let Descriptor::File { fd, .. } = &mut sink.descriptor else {
            panic!("a file was opened");
        };
        *fd = fs::File::create(&other).unwrap().into();
        assert!(write_line(&sink, "secret\n").is_err());
        assert_eq!(fs::read(&other).unwrap(), b"");
        assert_eq!(sink.lost.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn lost_lines_are_counted_and_told() {
        thread_local! {
            static FAIL: Cell<bool> = const { Cell::new(true) };
        }
        fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
            if FAIL.get() {
                return Err(Errno::NOSPC.into());
            }
            write_directly(fd, bytes)
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events");
        let sink = Sink::file(&path, write).unwrap();
        for line in ["one\n", "two\n", "three\n"] {
            assert!(write_line(&sink, line).is_err());
        }
        FAIL.set(false);
        write_line(&sink, "four\n").unwrap();
        write_line(&sink, "five\n").unwrap();
        let pid = std::process::id();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            format!("gevent-shim[{pid}] events that could not be written: 3\nfour\nfive\n")
        );
    }

    #[test]
    fn short_and_interrupted_writes_go_on() {
        static WRITTEN: Mutex<Vec<u8>> = Mutex::new(Vec::new());
        thread_local! {
            static CALLS: Cell<u32> = const { Cell::new(0) };
        }
        fn write(_: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
            CALLS.set(CALLS.get() + 1);
            if CALLS.get() % 2 == 1 {
                return Err(Errno::INTR.into());
            }
            let some = bytes.len().min(2);
            WRITTEN.lock().unwrap().extend_from_slice(&bytes[..some]);
            Ok(some)
        }
        write_line(&Sink::stderr(write), "seven..\n").unwrap();
        assert_eq!(*WRITTEN.lock().unwrap(), b"seven..\n");
        assert_eq!(CALLS.get(), 8);
    }
}
