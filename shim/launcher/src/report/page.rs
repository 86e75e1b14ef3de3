//! The page: a timeline, a flame graph of what was waited for, and tables.

use std::collections::BTreeMap;
use std::fmt::Write;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use inferno::flamegraph;
use inferno::flamegraph::color::{BackgroundColor, BasicPalette};
use serde_json::json;

use super::trace::{Trace, Wait};

/// Waits that are drawn: the longest ones.
const DRAWN: usize = 100_000;
/// Rows of the tables.
const ROWS: usize = 50;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Makes the page. `source` is the trace's name.
///
/// # Errors
/// When the flame graph can't be drawn.
pub fn page(trace: &Trace, source: &str) -> Result<String, String> {
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>gevent-shim: {title}</title><style>{STYLE}</style></head><body>\n\
         <h1>What the threads of process {pid} waited for</h1>\n<p class=\"source\">{title}</p>\n",
        title = escape(source),
        pid = trace.pid
    );
    if !trace.command.is_empty() {
        let command = escape(&trace.command);
        let _ = writeln!(page, "<p class=\"source\"><code>{command}</code></p>");
    }
    let total: f64 = trace.waits.iter().map(|wait| wait.waited).sum();
    let figures = [
        (time(trace.to - trace.from), "from first to last event"),
        (trace.threads.len().to_string(), "threads"),
        (trace.waits.len().to_string(), "calls that waited"),
        (time(total), "waited, all threads together"),
    ];
    page += "<div class=\"figures\">";
    for (figure, caption) in figures {
        let _ = write!(page, "<div><b>{figure}</b><span>{caption}</span></div>");
    }
    let open = trace.waits.iter().filter(|wait| wait.open).count();
    if open > 0 {
        let _ = write!(
            page,
            "<div><b>{open}</b><span>waits without an end</span></div>"
        );
    }
    page += "</div>\n";
    if trace.cut {
        page += "<p class=\"note\">The trace has no end: the program was killed or still runs. \
                 What is whole of it is shown.</p>\n";
    }
    timeline(&mut page, trace);
    page += "<h2>Where the time went</h2>\n<p>Width is time spent waiting; from the bottom: \
             thread, call, what the call was about.</p>\n";
    match flame_graph(trace)? {
        Some(graph) => {
            let _ = writeln!(
                page,
                "<object id=\"flame\" type=\"image/svg+xml\" aria-label=\"flame graph\" \
                 data=\"data:image/svg+xml;base64,{}\"></object>",
                BASE64_STANDARD.encode(graph)
            );
        }
        None => page += "<p class=\"note\">No call has waited.</p>\n",
    }
    tables(&mut page, trace);
    page += "</body></html>\n";
    Ok(page)
}

fn timeline(page: &mut String, trace: &Trace) {
    let mut longest: Vec<&Wait> = trace.waits.iter().collect();
    longest.sort_by(|a, b| b.waited.total_cmp(&a.waited));
    longest.truncate(DRAWN);
    let mut calls: Vec<&str> = longest.iter().map(|wait| &*wait.call).collect();
    calls.sort_unstable();
    calls.dedup();
    let tids: Vec<i64> = trace.threads.keys().copied().collect();
    let threads: Vec<_> = trace
        .threads
        .iter()
        .map(|(tid, thread)| {
            let begun = thread.begun.unwrap_or(trace.from) - trace.from;
            let ended = thread.ended.unwrap_or(trace.to) - trace.from;
            json!([tid, thread.name, begun, ended])
        })
        .collect();
    longest.sort_by(|a, b| a.at.total_cmp(&b.at));
    let waits: Vec<_> = longest
        .iter()
        .map(|wait| {
            let row = tids.binary_search(&wait.tid).unwrap_or_default();
            let call = calls.binary_search(&&*wait.call).unwrap_or_default();
            json!([
                row,
                wait.at - trace.from,
                wait.waited,
                call,
                wait.about,
                wait.open
            ])
        })
        .collect();
    let data = json!({
        "span": trace.to - trace.from,
        "start": start(trace) - trace.from,
        "calls": calls,
        "threads": threads,
        "waits": waits,
    });
    // In a script element nothing is escaped but what would end it.
    let data = data.to_string().replace('<', "\\u003c");
    *page += "<h2>Timeline</h2>\n<p>A row is a thread; a coloured bar is a call that waited, a \
              hatched one had not ended when the trace did, grey is the rest of the thread's life. The wheel zooms, dragging moves, a double click \
              shows all threads again, and another one what was before them.</p>\n<div id=\"legend\"></div>\n\
              <div id=\"timeline\"><canvas></canvas><div id=\"tip\"></div></div>\n";
    if trace.waits.len() > DRAWN {
        let _ = writeln!(
            page,
            "<p class=\"note\">The {DRAWN} longest waits are drawn.</p>"
        );
    }
    let _ = writeln!(
        page,
        "<script type=\"application/json\" id=\"data\">{data}</script>\n<script>{SCRIPT}</script>"
    );
}

/// When the first thread was made or waited, less a margin: loading and patching come
/// before, and would leave little room for what the page is about.
fn start(trace: &Trace) -> f64 {
    let begun = trace.threads.values().filter_map(|thread| thread.begun);
    let first = begun.chain(trace.waits.iter().map(|wait| wait.at));
    let first = first.fold(f64::INFINITY, f64::min);
    if first > trace.to {
        return trace.from;
    }
    (first - (trace.to - first) * 0.02).max(trace.from)
}

/// An SVG; `None` if nothing waited for as long as a microsecond.
fn flame_graph(trace: &Trace) -> Result<Option<Vec<u8>>, String> {
    let mut stacks: BTreeMap<String, f64> = BTreeMap::new();
    // What separates frames and numbers must not be in a name. The space that stands for
    // the other one looks the same.
    let plain = |text: &str| text.replace([';', '\n'], "_").replace(' ', "\u{a0}");
    for wait in &trace.waits {
        let thread = &trace.threads[&wait.tid].name;
        let mut stack = format!("{};{}", plain(thread), plain(&wait.call));
        if !wait.about.is_empty() {
            stack += &format!(";{}", plain(&wait.about));
        }
        *stacks.entry(stack).or_default() += wait.waited;
    }
    let lines: Vec<String> = stacks
        .iter()
        .filter(|(_, waited)| **waited >= 1.0)
        .map(|(stack, waited)| format!("{stack} {waited:.0}"))
        .collect();
    if lines.is_empty() {
        return Ok(None);
    }
    let mut options = flamegraph::Options::default();
    options.title = "Waits by thread, call and subject".to_owned();
    options.count_name = "µs".to_owned();
    options.colors = flamegraph::Palette::Basic(BasicPalette::Aqua);
    // A call has one colour, whoever waits in it.
    options.hash = true;
    let white = (255, 255, 255);
    options.bgcolors = Some(BackgroundColor::Flat(white.into()));
    options.image_width = Some(1200);
    options.font_type = "system-ui, sans-serif".to_owned();
    let mut graph = Vec::new();
    flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), &mut graph)
        .map_err(|error| format!("the flame graph can't be drawn: {error}"))?;
    Ok(Some(graph))
}

/// Waits that have something in common.
#[derive(Default)]
struct Sum {
    count: usize,
    total: f64,
    longest: f64,
}

fn sums<K: Ord>(trace: &Trace, key: impl Fn(&Wait) -> K) -> Vec<(K, Sum)> {
    let mut sums: BTreeMap<K, Sum> = BTreeMap::new();
    for wait in &trace.waits {
        let sum = sums.entry(key(wait)).or_default();
        sum.count += 1;
        sum.total += wait.waited;
        sum.longest = sum.longest.max(wait.waited);
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by(|(_, a), (_, b)| b.total.total_cmp(&a.total));
    sums
}

fn tables(page: &mut String, trace: &Trace) {
    let sum_cells = |sum: &Sum| {
        let mean = sum.total / sum.count as f64;
        let times = [sum.total, mean, sum.longest].map(time);
        [vec![sum.count.to_string()], times.to_vec()].concat()
    };
    let name = |tid: i64| {
        let name = &trace.threads[&tid].name;
        match name.contains(&tid.to_string()) {
            true => name.clone(),
            false => format!("{name} ({tid})"),
        }
    };
    let headings = ["waits", "total", "mean", "longest"];
    let rows = sums(trace, |wait| wait.call.clone());
    let rows = rows
        .iter()
        .map(|(call, sum)| (vec![call.clone()], sum_cells(sum)));
    table(page, "By call", &["call"], &headings, rows);
    let rows = sums(trace, |wait| wait.tid);
    let rows = rows
        .iter()
        .map(|(tid, sum)| (vec![name(*tid)], sum_cells(sum)));
    table(page, "By thread", &["thread"], &headings, rows);
    let open = trace.waits.iter().filter(|wait| wait.open);
    let rows = open.map(|wait| {
        let words = vec![name(wait.tid), wait.call.clone(), wait.about.clone()];
        (words, vec![time(wait.at - trace.from), time(wait.waited)])
    });
    table(
        page,
        "Waits that had not ended",
        &["thread", "call", "about"],
        &["at", "waited"],
        rows,
    );
    let mut longest: Vec<&Wait> = trace.waits.iter().collect();
    longest.sort_by(|a, b| b.waited.total_cmp(&a.waited));
    let rows = longest.into_iter().map(|wait| {
        let words = vec![wait.call.clone(), wait.about.clone(), name(wait.tid)];
        (words, vec![time(wait.at - trace.from), time(wait.waited)])
    });
    table(
        page,
        "The longest waits",
        &["call", "about", "thread"],
        &["at", "waited"],
        rows,
    );
    let rows = trace.happenings.iter().map(|happening| {
        let words = vec![happening.name.clone(), happening.details.clone()];
        (words, vec![time(happening.at - trace.from)])
    });
    table(page, "Other events", &["event", "details"], &["at"], rows);
}

/// A table of words and, behind them, numbers.
fn table(
    page: &mut String,
    title: &str,
    words: &[&str],
    numbers: &[&str],
    rows: impl Iterator<Item = (Vec<String>, Vec<String>)>,
) {
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return;
    }
    let _ = write!(page, "<h2>{title}</h2>\n<table><thead><tr>");
    for heading in words {
        let _ = write!(page, "<th>{heading}</th>");
    }
    for heading in numbers {
        let _ = write!(page, "<th class=\"n\">{heading}</th>");
    }
    *page += "</tr></thead><tbody>\n";
    for (words, numbers) in rows.iter().take(ROWS) {
        *page += "<tr>";
        for word in words {
            let _ = write!(page, "<td>{}</td>", escape(word));
        }
        for number in numbers {
            let _ = write!(page, "<td class=\"n\">{number}</td>");
        }
        *page += "</tr>\n";
    }
    *page += "</tbody></table>\n";
    if rows.len() > ROWS {
        let _ = writeln!(
            page,
            "<p class=\"note\">The first {ROWS} of {}.</p>",
            rows.len()
        );
    }
}

/// A number of µs for people.
fn time(us: f64) -> String {
    match us {
        us if us < 1e3 => format!("{us:.0} µs"),
        us if us < 1e6 => format!("{:.2} ms", us / 1e3),
        us => format!("{:.3} s", us / 1e6),
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::trace;

    #[test]
    fn hostile_names_stay_text() {
        let evil = "</script><script>alert(1)</script>\"&";
        let events = json!([
            {"name": "thread_name", "ph": "M", "tid": 1, "args": {"name": evil}},
            {"name": evil, "cat": "gevent::call", "ph": "X", "tid": 1, "ts": 0, "dur": 10, "args": {"address": evil}},
            {"name": evil, "ph": "i", "tid": 1, "ts": 3, "args": {"x": evil}},
        ]);
        let trace = trace::read(events.to_string().as_bytes()).unwrap();
        let page = page(&trace, evil).unwrap();
        assert!(!page.contains("<script>alert"));
        assert_eq!(page.matches("</script>").count(), 2);
    }

    #[test]
    fn nothing_is_fetched_from_elsewhere() {
        let trace = trace::read(b"[{\"ts\":1,\"ph\":\"i\",\"name\":\"x\"}]").unwrap();
        let page = page(&trace, "x").unwrap();
        assert!(!page.contains("http") && !page.contains("src="));
        assert!(page.contains("No call has waited"));
    }

    #[test]
    fn times_are_for_people() {
        assert_eq!(
            [999.0, 1500.0, 2.5e6].map(time),
            ["999 µs", "1.50 ms", "2.500 s"]
        );
    }
}
