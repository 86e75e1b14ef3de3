//! Chrome's trace format: what Perfetto and `chrome://tracing` show as a timeline.
//!
//! A guest is a track: it begins and ends with its guest, and the calls for which it
//! waited are spans in it; a wait that has lasted long begins when that is told, and ends when
//! its call returns, or never. What is about the process is an instant on all tracks.
//! The format is described in "Trace Event Format" by the Chrome developers.

use std::collections::HashSet;

use serde_json::{Value as Json, json};

use super::json;
use crate::event::Event;

/// Fields that hold how long what ends with the event has lasted, in microseconds.
const SPANS: [&str; 2] = ["waited", "blocked"];

/// What the timeline knows besides its events.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    /// The threads whose waits have begun and not ended.
    open: HashSet<u64>,
    /// The program's name as it was started, and its command line.
    program: String,
    command: String,
}

impl Timeline {
    /// Of this process, before the program runs: it may write over its arguments later.
    pub(super) fn of_process() -> Timeline {
        let words: Vec<_> = std::env::args_os().collect();
        let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        let program = words.first().and_then(|word| word.rsplit('/').next());
        Timeline {
            open: HashSet::new(),
            program: program.unwrap_or_default().to_owned(),
            command: words.join(" "),
        }
    }
}

pub(super) fn write(event: &Event, pid: u32, timeline: &mut Timeline, out: &mut Vec<u8>) {
    let Timeline {
        open,
        program,
        command,
    } = timeline;
    let at = event.at as f64 / 1000.0;
    let track = event.guest().unwrap_or(pid.into());
    let mut one = |name: &str, phase: &str, at: f64, more: Json| {
        let mut object = json!({
            "name": name,
            "cat": event.target,
            "ph": phase,
            "ts": at,
            "pid": pid,
            "tid": track,
        });
        if let (Json::Object(object), Json::Object(more)) = (&mut object, more) {
            object.extend(more);
        }
        out.extend_from_slice(b",\n");
        out.extend_from_slice(object.to_string().as_bytes());
    };
    let args = Json::Object(json::fields(event));
    match event.name {
        "HubStarted" => {
            one("process_name", "M", at, json!({"args": {"name": program}}));
            let labels = json!({"args": {"labels": command}});
            one("process_labels", "M", at, labels);
            one(
                "thread_name",
                "M",
                at,
                json!({"args": {"name": "initial thread"}}),
            );
            one(event.name, "i", at, json!({"s": "p", "args": args}));
        }
        "GuestStarted" => {
            let name = format!("guest {track}");
            one("thread_name", "M", at, json!({"args": {"name": name}}));
            one("guest", "B", at, json!({"args": args}));
        }
        "GuestEnded" => one("guest", "E", at, json!({})),
        "Waiting" => {
            let name = event.field("call").map(ToString::to_string);
            let name = name.unwrap_or_default();
            let begin = at - event.number("waited").unwrap_or_default() as f64;
            if !open.insert(track) {
                // That it ended has been lost.
                one(&name, "E", begin, json!({}));
            }
            one(&name, "B", begin, json!({"args": args}));
        }
        "Called" if open.remove(&track) => {
            let name = event.field("call").map(ToString::to_string);
            one(&name.unwrap_or_default(), "E", at, json!({"args": args}));
        }
        _ => match SPANS.iter().find_map(|field| event.number(field)) {
            Some(lasted) => {
                let name = event.field("call").map(ToString::to_string);
                let name = name.unwrap_or_else(|| event.name.to_owned());
                let begin = at - lasted as f64;
                one(&name, "X", begin, json!({"dur": lasted, "args": args}));
            }
            None => {
                let scope = if event.guest().is_some() { "t" } else { "p" };
                one(event.name, "i", at, json!({"s": scope, "args": args}));
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Value;
    use tracing::Level;

    fn event(name: &'static str, fields: &[(&'static str, u64)]) -> Vec<Json> {
        event_with(name, fields, &mut Timeline::default())
    }

    fn event_with(
        name: &'static str,
        fields: &[(&'static str, u64)],
        timeline: &mut Timeline,
    ) -> Vec<Json> {
        let fields = fields.iter().map(|&(name, n)| (name, Value::U64(n)));
        let event = Event {
            name,
            target: "gevent::guest",
            level: Level::DEBUG,
            at: 5_000_500,
            fields: fields.collect(),
            text: String::new(),
        };
        let mut out = b"[{}".to_vec();
        write(&event, 42, timeline, &mut out);
        out.push(b']');
        let Json::Array(mut all) = serde_json::from_slice(&out).unwrap() else {
            panic!("an array");
        };
        all.remove(0);
        all
    }

    #[test]
    fn a_guest_is_a_track() {
        let begun = event("GuestStarted", &[("tid", 7)]);
        let phases: Vec<_> = begun.iter().map(|e| e["ph"].as_str().unwrap()).collect();
        assert_eq!(phases, ["M", "B"]);
        assert!(begun.iter().all(|e| e["tid"] == 7 && e["pid"] == 42));
        let ended = event("GuestEnded", &[("tid", 7)]);
        assert_eq!(
            (&ended[0]["ph"], &ended[0]["tid"]),
            (&json!("E"), &json!(7))
        );
    }

    #[test]
    fn what_lasted_is_a_span_that_ends_when_it_happened() {
        let call = &event("Called", &[("tid", 7), ("waited", 2000)])[0];
        assert_eq!(call["ph"], "X");
        assert_eq!(call["ts"], 3000.5);
        assert_eq!(call["dur"], 2000);
    }

    #[test]
    fn a_long_wait_is_a_span_that_may_never_end() {
        let mut open = Timeline::default();
        let fields = [("tid", 7), ("waited", 2000)];
        let begun = &event_with("Waiting", &fields, &mut open)[0];
        assert_eq!((&begun["ph"], &begun["ts"]), (&json!("B"), &json!(3000.5)));
        let other = &event_with("Called", &[("tid", 8), ("waited", 1)], &mut open)[0];
        assert_eq!(other["ph"], "X");
        let again = event_with("Waiting", &fields, &mut open);
        assert_eq!(
            (&again[0]["ph"], &again[1]["ph"]),
            (&json!("E"), &json!("B"))
        );
        let ended = &event_with("Called", &fields, &mut open)[0];
        assert_eq!((&ended["ph"], &ended["ts"]), (&json!("E"), &json!(5000.5)));
        assert_eq!(event_with("Called", &fields, &mut open)[0]["ph"], "X");
    }

    #[test]
    fn a_process_is_called_after_its_program() {
        let mut timeline = Timeline {
            program: "server".to_owned(),
            command: "/opt/server --port 80".to_owned(),
            ..Timeline::default()
        };
        let all = event_with("HubStarted", &[], &mut timeline);
        let of = |name: &str| &all.iter().find(|one| one["name"] == name).unwrap()["args"];
        assert_eq!(of("process_name")["name"], "server");
        assert_eq!(of("process_labels")["labels"], "/opt/server --port 80");
        assert!(!Timeline::of_process().program.is_empty());
    }

    #[test]
    fn the_rest_is_an_instant() {
        assert_eq!(event("Probed", &[])[0]["s"], "p");
        assert_eq!(event("Probed", &[("tid", 7)])[0]["s"], "t");
    }
}
