//! What the monitor sees of the hub and of the process: a thread that keeps the others
//! from running, threads that wait for each other alone, memory.
//!
//! # Synchronization
//! The monitor reads the hub's current guest and its frame only when no switch has
//! happened for [`Config::max_blocking_time`](crate::config::Config): what it reads may
//! be wrong if the hub goes on just then, and then only the event's words are.
#![allow(unsafe_code)]

use core::sync::atomic::Ordering;
use std::time::Duration;

use patch_events::{WORDS, channel, events, target};
use tracing::Level;

use super::sample::{self, Sample};
use super::{call, deadlock, open, totals};
use crate::config;
use crate::hub::{Hub, Processor, processor};
use crate::monitor;
use crate::proc_files::{self, File};
use crate::raw;
use crate::syscalls;

/// How long the hub must have slept before somebody looks whether it ever will wake.
const QUIET: u64 = 100_000_000;

/// Nanoseconds between two looks for long waits.
const OPEN: u64 = open::LONG / 2;

/// Nanoseconds between two looks at the memory.
const MEMORY: u64 = 500_000_000;

/// What the monitor remembers from look to look.
#[derive(Debug)]
pub struct Watch {
    /// How long a thread may keep the others from running; `None`: nobody wants to know.
    limit: Option<u64>,
    /// Warnings of the hub are listened to.
    told_to: bool,
    memory: Option<u64>,
    switches: u64,
    /// When `switches` was first seen.
    since: u64,
    told: bool,
    /// The switches at which a sleeping hub was last asked.
    asked: Option<u64>,
    looked: u64,
    above: bool,
    /// Calls are told: when long waits were asked for last, and the switches at which a sleeping
    /// hub was.
    calls: bool,
    open_at: u64,
    open_asked: Option<u64>,
}

impl Watch {
    /// By what is asked for now.
    pub fn new() -> Watch {
        let config = config::get();
        let open = channel::is_open();
        let told = |level| open && patch_events::wants(target::HUB, level);
        let limit = config
            .max_blocking_time
            .filter(|_| told(Level::WARN) || totals::are_kept());
        Watch {
            limit: limit.map(|limit| limit.as_nanos() as u64),
            told_to: told(Level::WARN),
            memory: config.max_memory.filter(|_| told(Level::WARN)),
            switches: 0,
            since: raw::now(),
            told: false,
            asked: None,
            looked: 0,
            above: false,
            calls: super::calls(),
            open_at: raw::now(),
            open_asked: None,
        }
    }

    /// Nanoseconds after which it wants to look again at a hub that works.
    pub fn interval(&self) -> Option<u64> {
        let blocked = self.limit.map(|limit| (limit / 4).max(1_000_000));
        let open = self.calls.then_some(OPEN);
        [blocked, self.memory.map(|_| MEMORY), open]
            .into_iter()
            .flatten()
            .min()
    }

    /// The same for a hub that sleeps.
    pub fn idle_interval(&self, hub: &Hub) -> Option<u64> {
        let deadlock = (self.told_to && self.asked != Some(hub.switches())).then_some(QUIET);
        let open = (self.calls && self.open_asked != Some(hub.switches())).then_some(OPEN);
        [deadlock, self.memory.map(|_| MEMORY), open]
            .into_iter()
            .flatten()
            .min()
    }

    /// Looks at a hub that works.
    pub fn look(&mut self, hub: &'static Hub) {
        self.look_at_memory();
        if self.calls && raw::now() - self.open_at >= OPEN {
            self.open_at = raw::now();
            open::ask(hub);
        }
        let Some(limit) = self.limit else {
            return;
        };
        let (switches, now) = (hub.switches(), raw::now());
        if switches != self.switches
            || processor::each()
                .iter()
                .any(|processor| processor.is_turning() || processor.is_asleep())
            || hub.count() < 2
            || super::ENDING.load(Ordering::Relaxed)
        {
            (self.switches, self.since, self.told) = (switches, now, false);
        } else if !self.told && now - self.since > limit {
            self.told = true;
            totals::blocked();
            if self.told_to {
                // With several, all of them are: one is told of.
                blocked(processor::first(), now - self.since);
            }
        }
    }

    /// Looks at a hub that sleeps, `slept` nanoseconds by now.
    pub fn look_asleep(&mut self, hub: &'static Hub, slept: u64) {
        self.look_at_memory();
        let switches = hub.switches();
        // By then each wait that began before the sleep is a long one.
        if self.calls && slept >= open::LONG && self.open_asked != Some(switches) {
            self.open_asked = Some(switches);
            open::ask(hub);
        }
        (self.since, self.told) = (raw::now(), false);
        if self.told_to && slept >= QUIET && self.asked != Some(switches) {
            self.asked = Some(switches);
            deadlock::ask(hub);
        }
    }

    fn look_at_memory(&mut self) {
        let Some(limit) = self.memory else {
            return;
        };
        let now = raw::now();
        if now - self.looked < MEMORY {
            return;
        }
        self.looked = now;
        let Some(bytes) = resident() else {
            return;
        };
        if bytes > limit && !self.above {
            self.above = true;
            events::MemoryPassed { bytes, limit }.emit();
        } else if bytes < limit && self.above {
            self.above = false;
            events::MemoryBack { bytes, limit }.emit();
        }
    }
}

impl Default for Watch {
    fn default() -> Self {
        Watch::new()
    }
}

/// Resident bytes of this process (proc_pid_statm(5)).
fn resident() -> Option<u64> {
    let mut text = [0; proc_files::MAX];
    let statm = proc_files::read(File::Statm, &mut text)?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4096)
}

/// A thread that keeps the others from running.
struct Blocked {
    tid: i32,
    blocked: u64,
    doing: String,
    sample: Option<Sample>,
}

fn blocked(processor: &'static Processor, blocked: u64) {
    let kernel_tid = processor.kernel_tid();
    // SAFETY: records of guests are never unmapped.
    let guest = unsafe { processor.current.as_ptr().read_volatile().as_ref() };
    let tid = guest.map_or(kernel_tid, |guest| guest.tid.get());
    let (doing, sample) = match sample::sleeping() {
        Some(sleeping) if !monitor::is_running(processor) => {
            let frame = guest.map(|guest| guest.frame.get());
            // SAFETY: the frame of a call that its guest has not left for long, or of one
            // it has left; then it lies on the same stack, which is still mapped.
            let frame = frame.and_then(|frame| unsafe { frame.as_ref() });
            (
                in_words(sleeping.nr, &sleeping.args),
                Some(sleeping.sample(frame)),
            )
        }
        _ => (String::from("its own code"), sample::of_running(kernel_tid)),
    };
    let blocked = Box::new(Blocked {
        tid,
        blocked,
        doing,
        sample,
    });
    super::push(raw::now(), tell_blocked, [Box::into_raw(blocked) as u64]);
}

fn tell_blocked(words: &[u64; WORDS]) {
    // SAFETY: made by `blocked`, and told once.
    let blocked = unsafe { Box::from_raw(words[0] as *mut Blocked) };
    let backtrace = blocked.sample.as_ref().map(Sample::name);
    events::HubBlocked {
        tid: blocked.tid,
        blocked: Duration::from_nanos(blocked.blocked),
        doing: &blocked.doing,
        backtrace: backtrace.as_deref().unwrap_or("it does not say where"),
    }
    .emit();
}

/// A call with what it is about.
pub(super) fn in_words(nr: u64, args: &[u64; 6]) -> String {
    let name = syscalls::lookup(nr).map_or("an unknown call", |row| row.name);
    match call::subject(nr as i64, args) {
        (Some(fd), _) => format!("{name}({fd})"),
        (None, Some(subject)) => format!("{name}({subject})"),
        (None, None) => name.to_owned(),
    }
}
