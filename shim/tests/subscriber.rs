//! Objections of a program of Rust that patches itself: the trait `Subscriber`.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use gevent_runtime::patching::is_patched;
use gevent_shim::monkey;
use patch_events::{Event, Filter, Subscriber, listen};

/// Objects to the group `queue`, takes `poll` out, and passes on what it is told.
struct Objector(mpsc::Sender<String>);

impl Subscriber for Objector {
    fn event(&mut self, event: &Event) {
        // The test ends before the drain.
        let _ = self.0.send(format!("{} {}", event.name, event.text));
    }

    fn will_patch_group(
        &mut self,
        group: &str,
        items: &mut [(&'static str, bool)],
    ) -> Result<(), String> {
        for (name, wanted) in items {
            *wanted &= *name != "poll";
        }
        match group {
            "queue" => Err("not mine".to_owned()),
            _ => Ok(()),
        }
    }
}

/// The harness has threads; patching needs a process with one.
fn main() {
    let (told, events) = mpsc::channel();
    listen(&Filter::usual(), Box::new(Objector(told))).unwrap();
    monkey::patch_all().unwrap();
    let of = |name| is_patched(name);
    assert_eq!(of("socket"), Some(true));
    assert_eq!(of("queue"), Some(false));
    assert_eq!(of("poll"), Some(false));
    assert_eq!(of("select"), Some(true));
    assert_eq!(of("epoll_wait"), Some(true));
    thread::spawn(|| ()).join().unwrap();
    let mut seen = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !seen
        .iter()
        .any(|line: &String| line.starts_with("GuestEnded"))
    {
        assert!(Instant::now() < deadline, "{seen:?}");
        if let Ok(line) = events.recv_timeout(Duration::from_millis(100)) {
            seen.push(line);
        }
    }
    let has = |line: &str| seen.iter().any(|seen| seen == line);
    assert!(
        has("Vetoed the group queue must not be patched: not mine"),
        "{seen:?}"
    );
    assert!(has(
        "Vetoed poll must not be patched: it was taken out of its group"
    ));
    assert!(has("WillPatchGroup will patch the group queue"));
    let did = |group: &str| {
        let start = format!("DidPatchGroup patched the group {group}: ");
        seen.iter().any(|seen| seen.starts_with(&start))
    };
    assert!(did("socket") && did("select") && !did("queue"));
    println!("test objections_of_a_program_count ... ok");
}
