//! What a guest does, in words.

use super::wire::{GuestState, What};
use crate::raw;
use crate::syscalls;
use crate::trace::call::subject;

impl GuestState {
    /// Its name, with unprintable bytes escaped.
    pub fn shown_name(&self) -> String {
        let name = self.name.split(|&byte| byte == 0).next();
        name.unwrap_or_default().escape_ascii().to_string()
    }

    /// How long it has been parked, if it is: seconds.
    pub fn waited(&self, now: u64) -> Option<f64> {
        let waits = self.what == What::Waits && self.since != 0;
        waits.then(|| now.saturating_sub(self.since) as f64 / raw::NS_PER_S as f64)
    }

    /// Who it is, what it does, since when, and in which call; `descriptor` tells more
    /// about one, to stand behind its number.
    pub fn line(&self, now: u64, descriptor: impl Fn(i32) -> String) -> String {
        let mut line = format!(
            "{} {:<15} {}",
            self.tid,
            self.shown_name(),
            self.what.word()
        );
        if let Some(seconds) = self.waited(now) {
            line += &format!(" {seconds:.3} s");
        }
        if self.what != What::Waits {
            return line;
        }
        let name = syscalls::lookup(self.nr).map_or("unknown", |row| row.name);
        let about = match subject(self.nr as i64, &self.args) {
            (Some(fd), _) => format!("{fd}{}", descriptor(fd)),
            (None, text) => text.unwrap_or_default(),
        };
        line + &format!(" in {name}({about})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_who_and_what_and_since_when() {
        let mut guest = GuestState {
            tid: 7,
            what: What::Waits,
            since: 1_000_000_000,
            nr: libc::SYS_read as u64,
            args: [5, 0, 0, 0, 0, 0],
            ..GuestState::default()
        };
        guest.name[..4].copy_from_slice(b"a\x1bb\0");
        let line = |guest: &GuestState| guest.line(2_500_000_000, |fd| format!(" file {fd}"));
        assert_eq!(
            line(&guest),
            "7 a\\x1bb          waits 1.500 s in read(5 file 5)"
        );
        guest.nr = libc::SYS_futex as u64;
        guest.since = 0;
        assert_eq!(line(&guest), "7 a\\x1bb          waits in futex(0x5)");
        guest.what = What::Preempted;
        assert_eq!(line(&guest), "7 a\\x1bb          preempted");
    }
}
