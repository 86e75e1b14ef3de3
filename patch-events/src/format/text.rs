//! One line an event: process, seconds since the sink was made, level, target, text.

use std::fmt::Write;

use crate::event::Event;

pub(super) fn write(event: &Event, pid: u32, start: u64, out: &mut Vec<u8>) {
    let seconds = event.at.saturating_sub(start) as f64 / 1e9;
    let (level, target) = (event.level, event.target);
    let mut line = format!("gevent-shim[{pid}] {seconds:.6} {level:<5} {target}: ");
    printable(&event.text, &mut line);
    line.push('\n');
    out.extend_from_slice(line.as_bytes());
}

/// Escapes control characters: names come from the program's files, and must
/// neither break a line nor reach a terminal as commands.
fn printable(text: &str, out: &mut String) {
    for c in text.chars() {
        if c.is_control() {
            // Writing to a string cannot fail.
            let _ = write!(out, "{}", c.escape_default());
        } else {
            out.push(c);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        let mut out = String::new();
        printable("a\nb\x1b[31m\u{85}é\r", &mut out);
        assert_eq!(out, "a\\nb\\u{1b}[31m\\u{85}é\\r");
    }
}
