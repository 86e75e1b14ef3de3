//! A JSON object a line.

use serde_json::{Map, Value as Json, json};

use crate::event::{Event, Value};

/// The fields of an event as an object.
pub(super) fn fields(event: &Event) -> Map<String, Json> {
    let value = |value: &Value| match value {
        Value::U64(n) => json!(n),
        Value::I64(n) => json!(n),
        Value::Bool(yes) => json!(yes),
        Value::Text(text) => json!(text),
    };
    let fields = event.fields.iter();
    fields
        .map(|(name, of)| ((*name).to_owned(), value(of)))
        .collect()
}

pub(super) fn write(event: &Event, pid: u32, out: &mut Vec<u8>) {
    let line = json!({
        "at_us": event.at / 1000,
        "pid": pid,
        "level": event.level.as_str(),
        "target": event.target,
        "event": event.name,
        "text": event.text,
        "fields": fields(event),
    });
    out.extend_from_slice(line.to_string().as_bytes());
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn a_line_is_an_object_whatever_is_in_it() {
        let event = Event {
            name: "Probed",
            target: "gevent::hub",
            level: Level::WARN,
            at: 1_234_567,
            fields: vec![
                ("tid", Value::U64(7)),
                ("ret", Value::I64(-4)),
                ("ok", Value::Bool(true)),
                ("name", Value::Text("a\"\n\u{1b}\\é".into())),
            ],
            text: "line\nbreak".into(),
        };
        let mut out = Vec::new();
        write(&event, 42, &mut out);
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
        let read: Json = serde_json::from_slice(&out).unwrap();
        assert_eq!(
            read,
            json!({
                "at_us": 1234, "pid": 42, "level": "WARN", "target": "gevent::hub",
                "event": "Probed", "text": "line\nbreak",
                "fields": {"tid": 7, "ret": -4, "ok": true, "name": "a\"\n\u{1b}\\é"},
            })
        );
    }
}
