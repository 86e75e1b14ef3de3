//! Events to a descriptor, without the C library's or std's streams.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, FlockOperation, Mode, OFlags, flock, fstat, ftruncate};
use rustix::io::Errno;
use rustix::process::{Resource, getpid, getrlimit};
use rustix::thread::{NanosleepRelativeResult, Timespec, nanosleep};

use crate::channel;
use crate::destination::{FILE_VARIABLE, PathTemplate};
use crate::event::{Event, now};
use crate::format::{Format, Formatter};
use crate::numbers::Room;
use crate::stderr;
use crate::subscriber::Subscriber;

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

/// Bytes that are gathered before they are written.
const GATHERED: usize = 32 << 10;

/// What ends an array on disk. It is written behind every batch, and the next one
/// overwrites it: the file is whole at any time, also when the process is killed.
const END: &[u8] = b"\n]\n";

/// How long an array's lock may be held by another process, in nanoseconds.
const PATIENCE: u64 = 1_000_000_000;

#[derive(Debug)]
enum Descriptor {
    /// The [standard error](stderr) that the process began with.
    Stderr,
    /// The file, with its device and inode. A program that closes every
    /// descriptor it does not know closes ours too, and may then get the
    /// number for a file of its own: nothing of ours may be written there.
    File {
        fd: OwnedFd,
        identity: (u64, u64),
        /// It has positions, unlike a device.
        regular: bool,
    },
}

impl Descriptor {
    /// `None`: it is standard error.
    fn get(&self) -> io::Result<Option<BorrowedFd<'_>>> {
        match self {
            Descriptor::Stderr => Ok(None),
            Descriptor::File { fd, identity, .. } => {
                let stat = fstat(fd)?;
                if (stat.st_dev, stat.st_ino) == *identity {
                    Ok(Some(fd.as_fd()))
                } else {
                    Err(Errno::BADF.into())
                }
            }
        }
    }

    /// Opens `path` for appending, and makes it with access for its owner
    /// alone. A symbolic link is refused, and what could block (a FIFO).
    fn open(path: &Path, format: Format) -> Result<Descriptor, OpenError> {
        let how = if format.is_array() {
            // What ends the array is overwritten, which O_APPEND forbids.
            OFlags::RDWR
        } else {
            OFlags::WRONLY | OFlags::APPEND
        };
        let flags = how
            | OFlags::CREATE
            | OFlags::CLOEXEC
            | OFlags::NOFOLLOW
            | OFlags::NOCTTY
            | OFlags::NONBLOCK;
        let room = Room::make();
        let opened = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?;
        let stat = fstat(&opened)?;
        let regular = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => true,
            FileType::CharacterDevice => false,
            _ => return Err(OpenError::Kind),
        };
        if regular && format.is_array() {
            array_end(opened.as_fd())?;
        }
        Ok(Descriptor::File {
            fd: move_up(opened, &room),
            identity: (stat.st_dev, stat.st_ino),
            regular,
        })
    }
}

/// Where the next element of the array in a file goes: 0 if the file is empty.
fn array_end(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let size = fstat(fd)?.st_size as u64;
    if size == 0 {
        return Ok(0);
    }
    let mut end = [0; END.len()];
    let at = size.saturating_sub(END.len() as u64);
    if rustix::io::pread(fd, &mut end, at)? != END.len() || end != END {
        return Err(io::Error::other("it holds something else than a trace"));
    }
    Ok(at)
}

/// Where events go.
///
/// Synchronization: used by one thread at a time. Every line is one write(2), or part
/// of one, which the kernel appends as a whole; an array's file is locked while it is
/// changed.
#[derive(Debug)]
pub(crate) struct Sink {
    /// `None`: the file of this process could not be opened.
    descriptor: Option<Descriptor>,
    /// What the file's path was made of.
    template: Option<PathTemplate>,
    /// The process whose file it is.
    pid: u32,
    write: Write,
    formatter: Formatter,
    gathered: Vec<u8>,
    /// Events in `gathered`.
    count: u64,
    /// Events that could not be written since the last one that was.
    lost: u64,
    /// The array's begin has been written to what has no positions.
    begun: bool,
    /// What was written last to standard error ends within a line.
    torn: bool,
    /// That nothing can be written has been said.
    complained: bool,
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

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        OpenError::System(error)
    }
}

/// How standard error is written to here.
fn to_stderr() -> fn(&[u8], u64) -> usize {
    // Without a drain there is one thread, or the process ends.
    if channel::is_served() {
        stderr::write_often
    } else {
        stderr::write
    }
}

fn pid() -> u32 {
    getpid().as_raw_nonzero().get().cast_unsigned()
}

impl Sink {
    pub(crate) fn stderr(format: Format) -> Sink {
        Sink::new(Descriptor::Stderr, None, format, write_directly)
    }

    /// To the file of this process.
    pub(crate) fn file(
        template: &PathTemplate,
        format: Format,
        write: Write,
    ) -> Result<Sink, OpenError> {
        let descriptor = Descriptor::open(&template.expand(pid()), format)?;
        Ok(Sink::new(descriptor, Some(template.clone()), format, write))
    }

    fn new(
        descriptor: Descriptor,
        template: Option<PathTemplate>,
        format: Format,
        write: Write,
    ) -> Sink {
        Sink {
            descriptor: Some(descriptor),
            template,
            pid: pid(),
            write,
            formatter: Formatter::new(format),
            gathered: Vec::new(),
            count: 0,
            lost: 0,
            begun: false,
            torn: false,
            complained: false,
        }
    }

    fn path(&self) -> Option<PathBuf> {
        let template = self.template.as_ref()?;
        Some(template.expand(self.pid))
    }

    /// In a forked child: the file with its own id in the name, if it is in the name.
    fn follow_fork(&mut self) {
        let pid = pid();
        if pid == self.pid {
            return;
        }
        let before = self.path();
        self.pid = pid;
        let Some(path) = self.path().filter(|_| self.path() != before) else {
            return;
        };
        self.begun = false;
        self.complained = false;
        match Descriptor::open(&path, self.formatter.format()) {
            Ok(descriptor) => self.descriptor = Some(descriptor),
            Err(error) => {
                self.descriptor = None;
                self.complain(&match error {
                    OpenError::System(error) => error.to_string(),
                    OpenError::Kind => "neither a regular file nor a character device".into(),
                });
            }
        }
    }

    /// Says, once, on standard error that a file takes no events.
    fn complain(&mut self, cause: &str) {
        if self.complained {
            return;
        }
        self.complained = true;
        let Some(path) = self.path() else {
            return;
        };
        let path = path.as_os_str().as_bytes().escape_ascii();
        let line =
            format!("gevent-shim: {FILE_VARIABLE}: cannot write events to \"{path}\": {cause}\n");
        to_stderr()(line.as_bytes(), stderr::PATIENCE);
    }

    /// Writes to standard error what there is room for. How many events are lost.
    fn tell(&mut self) -> u64 {
        let write = to_stderr();
        if self.torn {
            self.torn = write(b"\n", 0) == 0;
        }
        if self.torn {
            return self.count;
        }
        if self.formatter.format().is_array() && !self.begun {
            // Instead of the comma before the first element.
            self.gathered[0] = b'[';
        }
        let written = write(&self.gathered, stderr::PATIENCE);
        self.begun |= written > 0;
        let (told, rest) = self.gathered.split_at(written);
        self.torn = !rest.is_empty() && told.last().is_some_and(|last| *last != b'\n');
        if told.contains(&b'\n') {
            // That they were lost is what is told first.
            self.lost = 0;
        }
        // An event is a line.
        let lines = rest.iter().filter(|byte| **byte == b'\n').count() as u64;
        match rest.is_empty() {
            true => 0,
            false => lines.clamp(1, self.count.max(1)),
        }
    }

    fn put(&mut self) -> io::Result<()> {
        let descriptor = self.descriptor.as_ref().ok_or(Errno::BADF)?;
        let Some(fd) = descriptor.get()? else {
            let lost = self.tell();
            if lost > 0 {
                self.count = lost;
                return Err(Errno::AGAIN.into());
            }
            return Ok(());
        };
        if !self.formatter.format().is_array() {
            if let Descriptor::File { regular: true, .. } = descriptor {
                fits(fstat(fd)?.st_size as u64, self.gathered.len())?;
            }
            return write_whole(self.write, fd, &self.gathered);
        }
        match descriptor {
            Descriptor::File { regular: true, .. } => extend_array(fd, &self.gathered),
            _ if self.begun => write_whole(self.write, fd, &self.gathered),
            _ => {
                // Instead of the comma before the first element.
                self.gathered[0] = b'[';
                self.begun = true;
                write_whole(self.write, fd, &self.gathered)
            }
        }
    }
}

impl Subscriber for Sink {
    fn event(&mut self, event: &Event) {
        self.follow_fork();
        if self.lost > 0 && self.gathered.is_empty() {
            let notice = Event::of_loss(self.lost);
            self.formatter.write(&notice, self.pid, &mut self.gathered);
        }
        self.formatter.write(event, self.pid, &mut self.gathered);
        self.count += 1;
        if self.gathered.len() >= GATHERED {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.gathered.is_empty() {
            return;
        }
        match self.put() {
            Ok(()) => self.lost = 0,
            Err(error) => {
                self.lost += self.count;
                self.complain(&error.to_string());
            }
        }
        self.gathered.clear();
        self.count = 0;
    }
}

/// Whether the process's limit lets `bytes` be written to a file behind `size` others. Not
/// asked, the kernel would send SIGXFSZ, which ends the program.
pub(crate) fn fits(size: u64, bytes: usize) -> io::Result<()> {
    match getrlimit(Resource::Fsize).current {
        Some(limit) if size.saturating_add(bytes as u64) > limit => Err(Errno::FBIG.into()),
        _ => Ok(()),
    }
}

fn write_whole(write: Write, fd: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match write(fd, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written.min(bytes.len())..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Adds elements, each with a comma before it, to the array in a file that other
/// processes may be adding to.
fn extend_array(fd: BorrowedFd<'_>, elements: &[u8]) -> io::Result<()> {
    let begin = now();
    while let Err(error) = flock(fd, FlockOperation::NonBlockingLockExclusive) {
        if error != Errno::WOULDBLOCK || now() - begin > PATIENCE {
            return Err(error.into());
        }
        let _: NanosleepRelativeResult = nanosleep(&Timespec {
            tv_sec: 0,
            tv_nsec: 1_000_000,
        });
    }
    let added = add_elements(fd, elements);
    let unlocked = flock(fd, FlockOperation::Unlock);
    added.and(unlocked.map_err(io::Error::from))
}

fn add_elements(fd: BorrowedFd<'_>, elements: &[u8]) -> io::Result<()> {
    let at = array_end(fd)?;
    let mut bytes = [elements, END].concat();
    if at == 0 {
        bytes[0] = b'[';
    }
    fits(at, bytes.len())?;
    let mut done = 0;
    while done < bytes.len() {
        match rustix::io::pwrite(fd, &bytes[done..], at + done as u64) {
            Ok(written) => done += written,
            Err(Errno::INTR) => {}
            Err(error) => {
                // The array as it was. What it takes was there before.
                if at > 0 {
                    let _ = rustix::io::pwrite(fd, END, at);
                    let _ = ftruncate(fd, at + END.len() as u64);
                } else {
                    let _ = ftruncate(fd, 0);
                }
                return Err(error.into());
            }
        }
    }
    Ok(())
}

/// Gives a descriptor a number out of the way, so that the program's own get
/// the numbers they have without us. If there is none it stays where it is.
fn move_up(fd: OwnedFd, room: &Room) -> OwnedFd {
    match rustix::io::fcntl_dupfd_cloexec(&fd, room.lowest()) {
        Ok(moved) => moved,
        Err(_) => fd,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::sync::Mutex;

    use rustix::io::FdFlags;

    use super::*;

    /// Tells an event with this text. False: it could not be written.
    fn tell(sink: &mut Sink, text: &str) -> bool {
        let mut event = Event::of_loss(0);
        event.text = text.to_owned();
        sink.event(&event);
        let lost = sink.lost;
        sink.flush();
        sink.lost <= lost
    }

    /// The texts of the lines in a file.
    fn texts(path: &Path) -> Vec<String> {
        let written = fs::read_to_string(path).unwrap();
        assert!(written.is_empty() || written.ends_with('\n'));
        let text = |line: &str| line.split_once("gevent::hub: ").unwrap().1.to_owned();
        written.lines().map(text).collect()
    }

    fn file(path: &Path, format: Format, write: Write) -> Result<Sink, OpenError> {
        Sink::file(&PathTemplate::new(path.as_os_str()).unwrap(), format, write)
    }

    fn text_file(path: &Path) -> Result<Sink, OpenError> {
        file(path, Format::Text, write_directly)
    }

    fn descriptor(sink: &Sink) -> BorrowedFd<'_> {
        match sink.descriptor.as_ref().unwrap() {
            Descriptor::File { fd, .. } => fd.as_fd(),
            Descriptor::Stderr => panic!("a file was opened"),
        }
    }

    #[test]
    fn a_new_file_is_for_its_owner_alone_and_appended_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events");
        for line in ["one", "two"] {
            let mut sink = text_file(&path).unwrap();
            assert!(tell(&mut sink, line));
        }
        assert_eq!(texts(&path), ["one", "two"]);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0);
        assert_eq!(mode & 0o600, 0o600);
    }

    #[test]
    fn the_descriptor_is_out_of_the_way_and_ends_with_exec() {
        let dir = tempfile::tempdir().unwrap();
        let sink = text_file(&dir.path().join("events")).unwrap();
        assert!(descriptor(&sink).as_raw_fd() >= Room::make().lowest());
        let flags = rustix::io::fcntl_getfd(descriptor(&sink)).unwrap();
        assert!(flags.contains(FdFlags::CLOEXEC));
    }

    #[test]
    fn links_directories_and_fifos_are_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let aim = dir.path().join("aim");
        let link = dir.path().join("link");
        symlink(&aim, &link).unwrap();
        let Err(OpenError::System(error)) = text_file(&link) else {
            panic!("a dangling link was followed");
        };
        assert_eq!(error.raw_os_error(), Some(Errno::LOOP.raw_os_error()));
        assert!(!aim.exists());
        fs::write(&aim, "kept").unwrap();
        assert!(text_file(&link).is_err());
        assert_eq!(fs::read_to_string(&aim).unwrap(), "kept");

        assert!(text_file(dir.path()).is_err());

        let fifo = dir.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, Mode::RUSR | Mode::WUSR).unwrap();
        assert!(text_file(&fifo).is_err(), "no reader");
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let _reader = rustix::fs::open(&fifo, flags, Mode::empty()).unwrap();
        assert!(matches!(text_file(&fifo), Err(OpenError::Kind)));
    }

    #[test]
    fn a_character_device_will_do() {
        let mut sink = text_file(Path::new("/dev/null")).unwrap();
        assert!(tell(&mut sink, "gone"));
    }

    #[test]
    fn nothing_is_written_to_another_file_of_the_same_number() {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = text_file(&dir.path().join("events")).unwrap();
        let other = dir.path().join("other");
        // What is left when the program closes our number and opens a file.
        let Some(Descriptor::File { fd, .. }) = &mut sink.descriptor else {
            panic!("a file was opened");
        };
        *fd = fs::File::create(&other).unwrap().into();
        sink.complained = true;
        assert!(!tell(&mut sink, "secret"));
        assert_eq!(fs::read(&other).unwrap(), b"");
        assert_eq!(sink.lost, 1);
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
        let mut sink = file(&path, Format::Text, write).unwrap();
        sink.complained = true;
        for line in ["one", "two", "three"] {
            assert!(!tell(&mut sink, line));
        }
        FAIL.set(false);
        assert!(tell(&mut sink, "four"));
        assert!(tell(&mut sink, "five"));
        assert_eq!(
            texts(&path),
            ["3 events were lost on the way to you", "four", "five"]
        );
    }

    #[test]
    fn an_array_is_whole_after_every_batch_and_shared() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trace");
        let count = || {
            let read: serde_json::Value =
                serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            read.as_array().unwrap().len()
        };
        let open = || file(&path, Format::Chrome, write_directly).unwrap();
        let (mut one, mut two) = (open(), open());
        for n in 0..3 {
            assert!(tell(&mut one, "one"));
            assert_eq!(count(), 2 * n + 1);
            assert!(tell(&mut two, "two"));
            assert_eq!(count(), 2 * n + 2);
        }
        drop((one, two));
        assert!(tell(&mut open(), "three"));
        assert_eq!(count(), 7);
    }

    #[test]
    fn what_is_no_array_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("letter");
        for content in ["Dear Sir,\n", "[", "]"] {
            fs::write(&path, content).unwrap();
            assert!(file(&path, Format::Chrome, write_directly).is_err());
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
    }

    #[test]
    fn a_device_gets_an_array_without_an_end() {
        static WRITTEN: Mutex<Vec<u8>> = Mutex::new(Vec::new());
        fn write(_: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
            WRITTEN.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        let mut sink = file(Path::new("/dev/null"), Format::Chrome, write).unwrap();
        tell(&mut sink, "one");
        tell(&mut sink, "two");
        let mut written = WRITTEN.lock().unwrap().clone();
        written.push(b']');
        let read: serde_json::Value = serde_json::from_slice(&written).unwrap();
        assert_eq!(read.as_array().unwrap().len(), 2);
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
        let mut sink = file(Path::new("/dev/null"), Format::Text, write).unwrap();
        assert!(tell(&mut sink, "seven.."));
        let written = WRITTEN.lock().unwrap();
        assert!(written.ends_with(b" seven..\n") && CALLS.get() as usize >= written.len());
    }
}
