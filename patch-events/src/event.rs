//! An event as those who listen get it: its name, its values and its one line.

use std::cell::Cell;
use std::fmt;

use rustix::time::{ClockId, clock_gettime};
use tracing::Level;
use tracing::field::{Field, Visit};

use crate::events::EventsLost;

/// The value of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A count, an id, or a time span in microseconds.
    U64(u64),
    /// A number that may be negative.
    I64(i64),
    /// Yes or no.
    Bool(bool),
    /// Anything else, in words.
    Text(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::U64(n) => write!(f, "{n}"),
            Value::I64(n) => write!(f, "{n}"),
            Value::Bool(yes) => write!(f, "{yes}"),
            Value::Text(text) => f.write_str(text),
        }
    }
}

/// One event that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its [`Declaration`](crate::Declaration)'s name.
    pub name: &'static str,
    /// What it is about.
    pub target: &'static str,
    /// How much it matters.
    pub level: Level,
    /// When it happened: CLOCK_MONOTONIC in nanoseconds. A call's is its end.
    pub at: u64,
    /// Its fields by name, in the order of declaration; absent ones are left out.
    pub fields: Vec<(&'static str, Value)>,
    /// Its one English line.
    pub text: String,
}

impl Event {
    /// The number in a field.
    pub fn number(&self, field: &str) -> Option<u64> {
        match self.field(field)? {
            Value::U64(n) => Some(*n),
            Value::I64(n) => u64::try_from(*n).ok(),
            Value::Bool(_) | Value::Text(_) => None,
        }
    }

    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&Value> {
        let found = self.fields.iter().find(|(field, _)| *field == name);
        found.map(|(_, value)| value)
    }

    /// The guest it is about, by its thread id, if it is about one.
    pub fn guest(&self) -> Option<u64> {
        self.number("tid")
    }

    /// So many events could not be told. The sink's own: it cannot emit.
    pub(crate) fn of_loss(count: u64) -> Event {
        let lost = EventsLost { count };
        Event {
            name: EventsLost::DECLARATION.name,
            target: EventsLost::DECLARATION.target,
            level: EventsLost::DECLARATION.level,
            at: now(),
            fields: vec![("count", Value::U64(count))],
            text: lost.to_string(),
        }
    }

    /// The event that tracing carries.
    pub(crate) fn of(event: &tracing::Event<'_>, at: u64) -> Event {
        let metadata = event.metadata();
        let mut made = Event {
            name: metadata.name(),
            target: metadata.target(),
            level: *metadata.level(),
            at,
            fields: Vec::with_capacity(metadata.fields().len()),
            text: String::new(),
        };
        event.record(&mut made);
        made
    }
}

impl Event {
    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", value) => self.text = value.to_string(),
            (name, value) => self.fields.push((name, value)),
        }
    }
}

impl Visit for Event {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::U64(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::I64(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::Bool(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::Text(value.to_owned()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, Value::Text(format!("{value:?}")));
    }
}

/// CLOCK_MONOTONIC in nanoseconds.
pub fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

thread_local! {
    /// When the event happened that this thread tells of now, if that was before.
    static MOMENT: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Runs `tell` with the events it emits dated `at`.
pub(crate) fn dated<R>(at: u64, tell: impl FnOnce() -> R) -> R {
    let before = MOMENT.replace(Some(at));
    let told = tell();
    MOMENT.set(before);
    told
}

/// The date of an event that is emitted now.
pub(crate) fn moment() -> u64 {
    MOMENT.get().unwrap_or_else(now)
}
