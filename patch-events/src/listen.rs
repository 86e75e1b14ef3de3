//! What makes tracing call us: the process's one `tracing` subscriber.

use std::sync::{PoisonError, RwLock};

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

use crate::channel;
use crate::event;
use crate::filter::Filter;

/// What is asked for now: by everybody who listens, in the order in which they came.
///
/// Synchronization: read when a call site is first reached, by [`wants`] and by who
/// hands events over; written when somebody comes and when the filter changes; nobody
/// holds it while doing anything else. A forked child could find it taken by a thread
/// that changed the filter just then: readers try, and do without what they cannot have.
static FILTERS: RwLock<Filters> = RwLock::new(Filters {
    all: Vec::new(),
    main: None,
});

#[derive(Debug)]
struct Filters {
    all: Vec<Filter>,
    /// Which of them the user sets.
    main: Option<usize>,
}

/// Adds the filter of somebody who listens; `main`: it is the one that the user sets.
/// Returns its place. Host mode only.
pub(crate) fn add(filter: &Filter, main: bool) -> usize {
    let mut filters = FILTERS.write().unwrap_or_else(PoisonError::into_inner);
    let place = filters.all.len();
    filters.all.push(filter.clone());
    if main {
        filters.main = Some(place);
    }
    drop(filters);
    tracing::callsite::rebuild_interest_cache();
    place
}

/// Replaces the filter that the user sets, if there is one: events that happen from now
/// on are judged by it. Host mode only.
pub fn set_filter(filter: Filter) {
    let mut filters = FILTERS.write().unwrap_or_else(PoisonError::into_inner);
    if let Some(place) = filters.main {
        filters.all[place] = filter;
    }
    drop(filters);
    tracing::callsite::rebuild_interest_cache();
}

/// The filter that the user sets, if that is listened to. Host mode only.
pub fn filter() -> Option<Filter> {
    let filters = FILTERS.try_read().ok()?;
    Some(filters.all[filters.main?].clone())
}

/// Whether an event of this target and level would be told to anybody. Host mode only:
/// who needs to know it in guest mode asks before.
pub fn wants(target: &str, level: Level) -> bool {
    let filters = FILTERS.try_read();
    filters.is_ok_and(|filters| {
        let mut all = filters.all.iter();
        all.any(|filter| filter.enables(target, level))
    })
}

/// Whether the filter at this place lets an event pass.
pub(crate) fn passes(place: usize, target: &str, level: Level) -> bool {
    match FILTERS.try_read() {
        Ok(filters) => filters.all[place].enables(target, level),
        // It changes just now.
        Err(_) => true,
    }
}

/// Hands tracing's events over. It has no spans: what takes time is one event with
/// its duration.
pub(crate) struct Front;

impl Subscriber for Front {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && wants(metadata.target(), *metadata.level())
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let filters = FILTERS.try_read().ok()?;
        filters.all.iter().map(Filter::highest).max()
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        if channel::is_only_counted() {
            return;
        }
        channel::deliver(event::Event::of(event, event::moment()));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
