//! What an event looks like where it is written.

mod chrome;
mod json;
mod text;

use std::fmt;
use std::str::FromStr;

use crate::event::{Event, now};

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// A line for a person each.
    #[default]
    Text,
    /// A JSON object each, a line each.
    Json,
    /// One JSON array in Chrome's trace format: a timeline with a track for each
    /// guest, for Perfetto and `chrome://tracing`.
    Chrome,
}

impl Format {
    /// Every format.
    pub const ALL: [Format; 3] = [Format::Text, Format::Json, Format::Chrome];

    /// The name in `GEVENT_SHIM_EVENTS_FORMAT`.
    pub const fn name(self) -> &'static str {
        match self {
            Format::Text => "text",
            Format::Json => "json",
            Format::Chrome => "chrome",
        }
    }

    /// Whether what is written is one JSON array.
    pub(crate) fn is_array(self) -> bool {
        self == Format::Chrome
    }
}

/// A name that no format has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownFormat;

impl fmt::Display for UnknownFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not text, json or chrome")
    }
}

impl std::error::Error for UnknownFormat {}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Format, UnknownFormat> {
        let mut all = Format::ALL.into_iter();
        all.find(|format| format.name().eq_ignore_ascii_case(name))
            .ok_or(UnknownFormat)
    }
}

/// Writes events in a format.
#[derive(Debug)]
pub(crate) struct Formatter {
    format: Format,
    /// CLOCK_MONOTONIC when it was made, in nanoseconds.
    start: u64,
    timeline: chrome::Timeline,
}

impl Formatter {
    pub(crate) fn new(format: Format) -> Formatter {
        Formatter {
            format,
            start: now(),
            timeline: match format {
                Format::Chrome => chrome::Timeline::of_process(),
                Format::Text | Format::Json => chrome::Timeline::default(),
            },
        }
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Appends `event` of process `pid`, with a line end; for an array, with a comma
    /// before it.
    pub(crate) fn write(&mut self, event: &Event, pid: u32, out: &mut Vec<u8>) {
        match self.format {
            Format::Text => text::write(event, pid, self.start, out),
            Format::Json => json::write(event, pid, out),
            Format::Chrome => chrome::write(event, pid, &mut self.timeline, out),
        }
    }
}
