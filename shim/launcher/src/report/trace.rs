//! The trace: what its events say of threads and waits.
//!
//! The format is the JSON array of Chrome's trace events, by itself or as `traceEvents`
//! of an object. A program that was killed leaves an array without an end; what is whole
//! of it counts.

use std::collections::BTreeMap;

use serde_json::Value;

/// The category of waits in calls.
const CALLS: &str = "gevent::call";

/// A thread of the program.
#[derive(Debug, Default, PartialEq)]
pub struct Thread {
    /// As the program or the kernel named it.
    pub name: String,
    /// When it began and ended, in µs of the trace's clock, if that is told.
    pub begun: Option<f64>,
    pub ended: Option<f64>,
}

/// A call that waited.
#[derive(Debug, Clone, PartialEq)]
pub struct Wait {
    pub tid: i64,
    /// The call's name.
    pub call: String,
    /// What it was about: a descriptor, an address.
    pub about: String,
    /// When it began, and how long it waited, in µs.
    pub at: f64,
    pub waited: f64,
    /// It had not ended when the trace did.
    pub open: bool,
}

/// Something that happened at one moment.
#[derive(Debug, PartialEq)]
pub struct Happening {
    pub at: f64,
    pub name: String,
    pub details: String,
}

/// All of it.
#[derive(Debug, Default, PartialEq)]
pub struct Trace {
    pub pid: i64,
    /// The command line of the program, if that is told.
    pub command: String,
    pub threads: BTreeMap<i64, Thread>,
    /// In the order of their beginning.
    pub waits: Vec<Wait>,
    pub happenings: Vec<Happening>,
    /// The first and the last moment, in µs.
    pub from: f64,
    pub to: f64,
    /// The array has no end.
    pub cut: bool,
    /// While it is read: waits that have begun, by thread.
    open: BTreeMap<i64, Wait>,
}

/// Reads a trace.
///
/// # Errors
/// Why it is none.
pub fn read(bytes: &[u8]) -> Result<Trace, String> {
    let (events, cut) = events(bytes)?;
    let mut trace = Trace {
        cut,
        from: f64::MAX,
        to: f64::MIN,
        ..Trace::default()
    };
    for event in &events {
        trace.add(event);
    }
    if trace.from > trace.to {
        return Err("no events in it".to_owned());
    }
    for (_, mut wait) in std::mem::take(&mut trace.open) {
        wait.waited = trace.to - wait.at;
        trace.waits.push(wait);
    }
    for wait in &trace.waits {
        trace.threads.entry(wait.tid).or_default();
    }
    for (tid, thread) in &mut trace.threads {
        if thread.name.is_empty() {
            thread.name = format!("thread {tid}");
        }
    }
    trace.waits.sort_by(|a, b| a.at.total_cmp(&b.at));
    Ok(trace)
}

/// The objects of the array, and whether its end is missing.
fn events(bytes: &[u8]) -> Result<(Vec<Value>, bool), String> {
    let no_trace =
        || "not a trace in Chrome's format (GEVENT_SHIM_EVENTS_FORMAT=chrome)".to_owned();
    let start = bytes.trim_ascii_start();
    let mut rest = match start.first() {
        Some(b'[') => &start[1..],
        Some(b'{') => {
            let key = b"\"traceEvents\"";
            let at = start.windows(key.len()).position(|window| window == key);
            let after = start[at.ok_or_else(no_trace)? + key.len()..].trim_ascii_start();
            let value = after.strip_prefix(b":").ok_or_else(no_trace)?;
            value
                .trim_ascii_start()
                .strip_prefix(b"[")
                .ok_or_else(no_trace)?
        }
        _ => return Err(no_trace()),
    };
    let mut events = Vec::new();
    loop {
        let from = rest.iter().position(|byte| !b" \t\r\n,".contains(byte));
        rest = &rest[from.unwrap_or(rest.len())..];
        match rest.first() {
            Some(b']') => return Ok((events, false)),
            None => return Ok((events, true)),
            Some(_) => {}
        }
        let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<Value>();
        match values.next() {
            Some(Ok(value)) => {
                rest = &rest[values.byte_offset()..];
                events.push(value);
            }
            Some(Err(error)) if error.is_eof() => return Ok((events, true)),
            Some(Err(error)) => {
                let at = bytes.len() - rest.len();
                return Err(format!("damaged after byte {at}: {error}"));
            }
            None => return Ok((events, true)),
        }
    }
}

impl Trace {
    fn add(&mut self, event: &Value) {
        let text = |name: &str| event[name].as_str().unwrap_or_default();
        let number = |name: &str| event[name].as_f64().filter(|number| number.is_finite());
        let tid = event["tid"].as_i64().unwrap_or_default();
        let name = text("name");
        let phase = text("ph");
        if phase == "M" {
            if name == "process_labels" && self.command.is_empty() {
                let command = event["args"]["labels"].as_str().unwrap_or_default();
                self.command = command.to_owned();
            }
            if name == "thread_name" {
                let name = event["args"]["name"].as_str().unwrap_or_default();
                self.threads.entry(tid).or_default().name = name.to_owned();
            }
            return;
        }
        let Some(at) = number("ts") else {
            return;
        };
        let lasted = number("dur").unwrap_or_default().max(0.0);
        self.from = self.from.min(at);
        let is_call = text("cat") == CALLS;
        self.to = self.to.max(at + lasted);
        self.pid = event["pid"].as_i64().unwrap_or(self.pid);
        let wait = |open| Wait {
            tid,
            call: name.to_owned(),
            about: about(&event["args"]),
            at,
            waited: lasted,
            open,
        };
        match phase {
            "B" if is_call => {
                // It had lasted so long when that was told.
                let told = event["args"]["waited"].as_f64().unwrap_or_default();
                self.to = self.to.max(at + told.max(0.0));
                self.open.insert(tid, wait(true));
            }
            "E" if is_call => {
                if let Some(mut wait) = self.open.remove(&tid) {
                    (wait.waited, wait.open) = ((at - wait.at).max(0.0), false);
                    self.waits.push(wait);
                }
            }
            "B" => self.threads.entry(tid).or_default().begun = Some(at),
            "E" => self.threads.entry(tid).or_default().ended = Some(at),
            "X" if is_call || text("cat").is_empty() => self.waits.push(wait(false)),
            _ => self.happenings.push(Happening {
                at,
                name: name.to_owned(),
                details: details(&event["args"]),
            }),
        }
    }
}

/// What a call was about, of its event's arguments.
fn about(arguments: &Value) -> String {
    let descriptor = arguments["fd"].as_i64().map(|fd| format!("fd {fd}"));
    let address = arguments["address"].as_str().map(str::to_owned);
    let parts: Vec<_> = [descriptor, address].into_iter().flatten().collect();
    parts.join(" ")
}

fn details(arguments: &Value) -> String {
    let Some(fields) = arguments.as_object() else {
        return String::new();
    };
    let shown = fields.iter().map(|(name, value)| match value.as_str() {
        Some(text) => format!("{name}: {text}"),
        None => format!("{name}: {value}"),
    });
    shown.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"[
        {"args":{"labels":"/opt/x 1"},"name":"process_labels","ph":"M","pid":1,"tid":1,"ts":0},
        {"args":{"name":"main"},"name":"thread_name","ph":"M","pid":1,"tid":1,"ts":0},
        {"name":"guest","cat":"gevent::guest","ph":"B","pid":1,"tid":2,"ts":10.5},
        {"name":"read","cat":"gevent::call","ph":"X","pid":1,"tid":2,"ts":12,"dur":5,"args":{"fd":3}},
        {"name":"futex","cat":"gevent::call","ph":"X","pid":1,"tid":1,"ts":11,"dur":9,"args":{"address":"0x5"}},
        {"name":"HubBlocked","cat":"gevent::hub","ph":"i","pid":1,"tid":2,"ts":19,"args":{"doing":"x","n":1}},
        {"name":"guest","cat":"gevent::guest","ph":"E","pid":1,"tid":2,"ts":21}
    ]"#;

    #[test]
    fn threads_waits_and_happenings() {
        let trace = read(WHOLE.as_bytes()).unwrap();
        assert_eq!(
            (trace.pid, trace.from, trace.to, trace.cut),
            (1, 10.5, 21.0, false)
        );
        assert_eq!(trace.command, "/opt/x 1");
        assert_eq!(trace.threads[&1].name, "main");
        assert_eq!(trace.threads[&2].name, "thread 2");
        assert_eq!(
            (trace.threads[&2].begun, trace.threads[&2].ended),
            (Some(10.5), Some(21.0))
        );
        let waits: Vec<_> = trace
            .waits
            .iter()
            .map(|w| (w.tid, &*w.call, &*w.about, w.waited))
            .collect();
        assert_eq!(waits, [(1, "futex", "0x5", 9.0), (2, "read", "fd 3", 5.0)]);
        assert_eq!(trace.happenings[0].details, "doing: x, n: 1");
        let object = format!("{{\"displayTimeUnit\":\"ms\",\"traceEvents\": {WHOLE}}}");
        assert_eq!(read(object.as_bytes()).unwrap(), trace);
    }

    #[test]
    fn a_wait_without_an_end_lasts_to_the_end_of_the_trace() {
        let text = r#"[
            {"name":"read","cat":"gevent::call","ph":"B","tid":2,"ts":10,"args":{"waited":5}},
            {"name":"read","cat":"gevent::call","ph":"E","tid":2,"ts":30},
            {"name":"futex","cat":"gevent::call","ph":"B","tid":2,"ts":40,"args":{"waited":50}},
            {"name":"futex","cat":"gevent::call","ph":"E","tid":3,"ts":41},
            {"name":"guest","cat":"gevent::guest","ph":"E","tid":3,"ts":60}
        ]"#;
        let trace = read(text.as_bytes()).unwrap();
        let waits: Vec<_> = trace
            .waits
            .iter()
            .map(|w| (w.tid, &*w.call, w.at, w.waited, w.open))
            .collect();
        assert_eq!(
            waits,
            [
                (2, "read", 10.0, 20.0, false),
                (2, "futex", 40.0, 50.0, true)
            ]
        );
        assert_eq!(trace.to, 90.0);
    }

    #[test]
    fn what_is_whole_of_a_cut_trace_counts() {
        let end = WHOLE.find("HubBlocked").unwrap();
        let trace = read(&WHOLE.as_bytes()[..end]).unwrap();
        assert!(trace.cut && trace.waits.len() == 2 && trace.happenings.is_empty());
        for end in 0..WHOLE.len() {
            // Never a panic.
            let _ = read(&WHOLE.as_bytes()[..end]);
        }
    }

    #[test]
    fn what_is_no_trace_is_refused() {
        for (text, why) in [
            ("", "not a trace"),
            ("words", "not a trace"),
            ("{\"a\":1}", "not a trace"),
            ("{\"traceEvents\":1}", "not a trace"),
            ("[]", "no events"),
            ("[1, \"x\", null]", "no events"),
            ("[{\"ts\":1}, nonsense]", "damaged after byte 11"),
        ] {
            let error = read(text.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
