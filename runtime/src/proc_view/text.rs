//! The texts of `stat`, `status` and `comm` with a guest's values in place of the kernel
//! thread's. Pure.

use core::fmt::{self, Write};

/// Bytes of the longest text.
pub const MAX: usize = 8192;

/// A text that is being written.
pub struct Text {
    bytes: [u8; MAX],
    len: usize,
}

impl Text {
    /// An empty one.
    pub const fn new() -> Self {
        Text {
            bytes: [0; MAX],
            len: 0,
        }
    }

    /// What was written.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Empties it.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    fn put(&mut self, bytes: &[u8]) -> fmt::Result {
        let to = self.bytes.get_mut(self.len..self.len + bytes.len());
        to.ok_or(fmt::Error)?.copy_from_slice(bytes);
        self.len += bytes.len();
        Ok(())
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::new()
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.put(text.as_bytes())
    }
}

/// What the kernel cannot know of a guest, or of the process.
#[derive(Debug, Clone, Copy)]
pub struct Values {
    /// Its id.
    pub tid: i32,
    /// Its name, up to its end; the kernel's is right where it has ended.
    pub name: Option<[u8; 16]>,
    /// The letter of its state: `R`, `S` or `Z`.
    pub state: u8,
    /// How many threads the process has.
    pub threads: usize,
    /// User and system time in clock ticks, if they are the guest's and not the process's.
    pub times: Option<(u64, u64)>,
    /// Signals that wait for it.
    pub pending: u64,
    /// Signals that wait for the process, besides those that the kernel knows of.
    pub pending_of_process: u64,
    /// Signals it blocks.
    pub blocked: u64,
    /// Signals the process ignores.
    pub ignored: u64,
    /// Signals the process has handlers for.
    pub caught: u64,
    /// Scheduling policy and real-time priority, if it was given one.
    pub policy: Option<(u8, u8)>,
    /// Niceness, if it was given one.
    pub nice: Option<i8>,
}

impl Values {
    fn name(&self) -> Option<&[u8]> {
        let name = self.name.as_ref()?;
        name.split(|&byte| byte == 0).next()
    }
}

/// Fields of `stat` by their numbers in proc_pid_stat(5).
mod field {
    pub const STATE: usize = 3;
    pub const USER: usize = 14;
    pub const SYSTEM: usize = 15;
    pub const PRIORITY: usize = 18;
    pub const NICE: usize = 19;
    pub const THREADS: usize = 20;
    pub const PENDING: usize = 31;
    pub const BLOCKED: usize = 32;
    pub const IGNORED: usize = 33;
    pub const CAUGHT: usize = 34;
    pub const REAL_TIME: usize = 40;
    pub const POLICY: usize = 41;
}

/// The fields of the kernel's `stat` from the state on, which follow a name that may have any
/// bytes.
fn fields(kernel: &[u8]) -> Option<&[u8]> {
    let end = kernel.iter().rposition(|&byte| byte == b')')?;
    kernel.get(end + 2..)
}

fn numbered(fields: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    (field::STATE..).zip(fields.split(|&byte| byte == b' '))
}

/// A number among the fields of the kernel's `stat`.
fn number(kernel: &[u8], wanted: usize) -> Option<u64> {
    let (_, digits) = numbered(fields(kernel)?).find(|&(field, _)| field == wanted)?;
    core::str::from_utf8(digits).ok()?.parse().ok()
}

/// User and system time in the kernel's `stat`, in clock ticks.
pub fn times(kernel: &[u8]) -> Option<(u64, u64)> {
    Some((number(kernel, field::USER)?, number(kernel, field::SYSTEM)?))
}

/// How many kernel threads a `stat` or `status` of the kernel's counts.
pub fn threads(kernel: &[u8]) -> Option<u64> {
    match line(kernel, b"Threads") {
        Some(count) => core::str::from_utf8(count).ok()?.parse().ok(),
        None => number(kernel, field::THREADS),
    }
}

fn line<'a>(kernel: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    kernel
        .split(|&byte| byte == b'\n')
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(b":\t"))
}

/// Signals as `stat` has them: the standard ones alone.
const STANDARD: u64 = 0x7fff_ffff;

/// `stat`.
///
/// # Errors
/// The kernel's text is none, or there is no room.
pub fn stat(kernel: &[u8], values: &Values, to: &mut Text) -> fmt::Result {
    let fields = fields(kernel).ok_or(fmt::Error)?;
    write!(to, "{} (", values.tid)?;
    to.put(match values.name() {
        Some(name) => name,
        None => {
            let begin = kernel.iter().position(|&byte| byte == b'(');
            let end = kernel.len() - fields.len() - 2;
            let name = begin.and_then(|begin| kernel.get(begin + 1..end));
            name.ok_or(fmt::Error)?
        }
    })?;
    to.put(b")")?;
    for (field, value) in numbered(fields) {
        to.put(b" ")?;
        match (field, values.times, values.policy, values.nice) {
            (field::STATE, ..) => to.put(&[values.state])?,
            (field::USER, Some((user, _)), ..) => write!(to, "{user}")?,
            (field::SYSTEM, Some((_, system)), ..) => write!(to, "{system}")?,
            (field::PRIORITY, _, Some((_, real_time)), _) if real_time > 0 => {
                write!(to, "{}", -1 - i32::from(real_time))?;
            }
            (field::PRIORITY, .., Some(nice)) => write!(to, "{}", 20 + i32::from(nice))?,
            (field::NICE, .., Some(nice)) => write!(to, "{nice}")?,
            (field::THREADS, ..) => write!(to, "{}", values.threads)?,
            (field::PENDING, ..) => write!(to, "{}", values.pending & STANDARD)?,
            (field::BLOCKED, ..) => write!(to, "{}", values.blocked & STANDARD)?,
            (field::IGNORED, ..) => write!(to, "{}", values.ignored & STANDARD)?,
            (field::CAUGHT, ..) => write!(to, "{}", values.caught & STANDARD)?,
            (field::REAL_TIME, _, Some((_, real_time)), _) => write!(to, "{real_time}")?,
            (field::POLICY, _, Some((policy, _)), _) => write!(to, "{policy}")?,
            _ => to.put(value)?,
        }
    }
    Ok(())
}

/// `status`.
///
/// # Errors
/// As [`stat`].
pub fn status(kernel: &[u8], values: &Values, to: &mut Text) -> fmt::Result {
    let lines = kernel.strip_suffix(b"\n").ok_or(fmt::Error)?;
    for line in lines.split(|&byte| byte == b'\n') {
        let colon = line.iter().position(|&byte| byte == b':');
        let key = &line[..colon.unwrap_or(0)];
        match (key, values.name()) {
            (b"Name", Some(name)) => {
                to.put(b"Name:\t")?;
                // As the kernel has it here, in one line.
                for byte in name {
                    match byte {
                        b'\n' => to.put(b"\\n")?,
                        b'\\' => to.put(b"\\\\")?,
                        _ => to.put(&[*byte])?,
                    }
                }
            }
            (b"State", _) => to.put(match values.state {
                b'R' => b"State:\tR (running)",
                b'Z' => b"State:\tZ (zombie)",
                _ => b"State:\tS (sleeping)",
            })?,
            (b"Pid", _) => write!(to, "Pid:\t{}", values.tid)?,
            (b"NSpid", _) => {
                // The last one is that in the process's own namespace.
                let last = line.iter().rposition(|&byte| byte == b'\t');
                to.put(&line[..last.ok_or(fmt::Error)?])?;
                write!(to, "\t{}", values.tid)?;
            }
            (b"Threads", _) => write!(to, "Threads:\t{}", values.threads)?,
            (b"SigPnd", _) => write!(to, "SigPnd:\t{:016x}", values.pending)?,
            (b"ShdPnd", _) => {
                let kernels = line.get(b"ShdPnd:\t".len()..).ok_or(fmt::Error)?;
                let kernels = core::str::from_utf8(kernels).map_err(|_| fmt::Error)?;
                let kernels = u64::from_str_radix(kernels, 16).map_err(|_| fmt::Error)?;
                write!(to, "ShdPnd:\t{:016x}", kernels | values.pending_of_process)?;
            }
            (b"SigBlk", _) => write!(to, "SigBlk:\t{:016x}", values.blocked)?,
            (b"SigIgn", _) => write!(to, "SigIgn:\t{:016x}", values.ignored)?,
            (b"SigCgt", _) => write!(to, "SigCgt:\t{:016x}", values.caught)?,
            _ => to.put(line)?,
        }
        to.put(b"\n")?;
    }
    Ok(())
}

/// `comm`.
///
/// # Errors
/// There is no room.
pub fn comm(values: &Values, to: &mut Text) -> fmt::Result {
    to.put(values.name().ok_or(fmt::Error)?)?;
    to.put(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: Values = Values {
        tid: 4_194_400,
        name: Some(*b"a) b (\\\0\0\0\0\0\0\0\0\0"),
        state: b'S',
        threads: 17,
        times: Some((5, 6)),
        pending: 1 << 40 | 2,
        pending_of_process: 4,
        blocked: 0x10000,
        ignored: 0x1000,
        caught: 1 << 33 | 8,
        policy: None,
        nice: None,
    };

    fn written(write: impl FnOnce(&mut Text) -> fmt::Result) -> String {
        let mut text = Box::new(Text::new());
        write(&mut text).unwrap();
        String::from_utf8(text.bytes().to_vec()).unwrap()
    }

    const KERNELS: &str = "10 (x) R) R 1 2 3 4 5 6 7 8 9 10 11 12 13 14 20 0 4 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 40 41 42\n";

    #[test]
    fn fields_of_stat_are_the_guests() {
        let kernels = "10 (x) R) R 1 2 3 4 0 4194304 1 0 0 0 70 80 0 0 20 0 4 0 99 5000 600 18446744073709551615 1 2 3 4 5 0 0 0 0 0 0 0 17 1 0 0 0 0 0 8 9\n";
        let expected = "4194400 (a) b (\\) S 1 2 3 4 0 4194304 1 0 0 0 5 6 0 0 20 0 17 0 99 5000 600 18446744073709551615 1 2 3 4 5 2 65536 4096 8 0 0 0 17 1 0 0 0 0 0 8 9\n";
        assert_eq!(times(kernels.as_bytes()), Some((70, 80)));
        assert_eq!(threads(kernels.as_bytes()), Some(4));
        assert_eq!(
            written(|to| stat(kernels.as_bytes(), &VALUES, to)),
            expected
        );
    }

    #[test]
    fn priorities_are_the_kernels_unless_given() {
        let of = |policy, nice| Values {
            policy,
            nice,
            times: None,
            ..VALUES
        };
        let fields = |values| {
            let text = written(|to| stat(KERNELS.as_bytes(), &values, to));
            let rest = text.rsplit_once(") ").unwrap().1.to_owned();
            let fields: Vec<_> = rest.split_whitespace().map(str::to_owned).collect();
            [18, 19, 40, 41].map(|field| fields[field - 3].clone())
        };
        assert_eq!(fields(of(None, None)), ["20", "0", "40", "41"]);
        assert_eq!(fields(of(None, Some(5))), ["25", "5", "40", "41"]);
        assert_eq!(fields(of(Some((0, 0)), Some(-3))), ["17", "-3", "0", "0"]);
        assert_eq!(fields(of(Some((1, 30)), Some(0))), ["-31", "0", "30", "1"]);
    }

    #[test]
    fn lines_of_status_are_the_guests() {
        let kernels = "Name:\tx\nState:\tR (running)\nTgid:\t10\nPid:\t10\nNSpid:\t77\t10\nThreads:\t4\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000000010\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nSigCgt:\t0000000180000000\nPidx:\t1\n";
        let expected = "Name:\ta) b (\\\\\nState:\tS (sleeping)\nTgid:\t10\nPid:\t4194400\nNSpid:\t77\t4194400\nThreads:\t17\nSigPnd:\t0000010000000002\nShdPnd:\t0000000000000014\nSigBlk:\t0000000000010000\nSigIgn:\t0000000000001000\nSigCgt:\t0000000200000008\nPidx:\t1\n";
        assert_eq!(threads(kernels.as_bytes()), Some(4));
        assert_eq!(
            written(|to| status(kernels.as_bytes(), &VALUES, to)),
            expected
        );
        assert_eq!(written(|to| comm(&VALUES, to)), "a) b (\\\n");
    }

    #[test]
    fn a_thread_that_has_ended_has_the_kernels_name() {
        let ended = Values {
            name: None,
            state: b'Z',
            ..VALUES
        };
        let text = written(|to| stat(KERNELS.as_bytes(), &ended, to));
        assert!(text.starts_with("4194400 (x) R) Z 1 2"), "{text}");
        let text = written(|to| status(b"Name:\tx y\nState:\tR (running)\n", &ended, to));
        assert_eq!(text, "Name:\tx y\nState:\tZ (zombie)\n");
    }

    #[test]
    fn a_text_that_is_none_is_left_alone() {
        let mut text = Box::new(Text::new());
        assert!(stat(b"", &VALUES, &mut text).is_err());
        assert!(stat(b"1 (x)", &VALUES, &mut text).is_err());
        assert!(status(b"", &VALUES, &mut text).is_err());
        text.clear();
        let long = [b'x'; MAX + 2];
        assert!(status(&long, &VALUES, &mut text).is_err());
    }
}
