//! One line an event: process, seconds since the sink was installed, level,
//! target, text.

use std::fmt::{self, Write};
use std::time::Instant;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

pub(crate) struct OneLine {
    start: Instant,
}

impl OneLine {
    pub(crate) fn new() -> OneLine {
        OneLine {
            start: Instant::now(),
        }
    }
}

impl<S, N> FormatEvent<S, N> for OneLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        // Asked for every time: a forked child tells its own.
        let pid = rustix::process::getpid().as_raw_nonzero();
        let seconds = self.start.elapsed().as_secs_f64();
        let (level, target) = (metadata.level(), metadata.target());
        write!(
            writer,
            "gevent-shim[{pid}] {seconds:.6} {level:<5} {target}: "
        )?;
        let mut text = Message {
            writer: Printable(&mut writer),
            result: Ok(()),
        };
        event.record(&mut text);
        text.result?;
        writer.write_char('\n')
    }
}

/// The message among an event's fields; the others are in its text already.
struct Message<'a, W> {
    writer: Printable<'a, W>,
    result: fmt::Result,
}

impl<W: Write> Visit for Message<'_, W> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.result = write!(self.writer, "{value:?}");
        }
    }
}

/// Escapes control characters: names come from the program's files, and must
/// neither break a line nor reach a terminal as commands.
struct Printable<'a, W>(&'a mut W);

impl<W: Write> Write for Printable<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.split_inclusive(char::is_control) {
            match piece.chars().next_back() {
                Some(last) if last.is_control() => {
                    self.0.write_str(&piece[..piece.len() - last.len_utf8()])?;
                    write!(self.0, "{}", last.escape_default())?;
                }
                _ => self.0.write_str(piece)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        let mut out = String::new();
        let text = "a\nb\x1b[31m\u{85}é\r";
        Printable(&mut out).write_str(text).unwrap();
        assert_eq!(out, "a\\nb\\u{1b}[31m\\u{85}é\\r");
    }
}
