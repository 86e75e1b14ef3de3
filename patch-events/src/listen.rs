//! What makes tracing call us: the process's one `tracing` subscriber.

use std::sync::{PoisonError, RwLock};

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

use crate::channel;
use crate::event;
use crate::filter::Filter;

/// What is asked for now.
///
/// Synchronization: read when a call site is first reached and by [`wants`], written
/// when the filter changes; nobody holds it while doing anything else. A forked child
/// could find it taken by a thread that changed the filter just then: readers try, and
/// do without what they cannot have.
static FILTER: RwLock<Option<Filter>> = RwLock::new(None);

/// Replaces the filter: events that happen from now on are judged by it. Host mode
/// only.
pub fn set_filter(filter: Filter) {
    *FILTER.write().unwrap_or_else(PoisonError::into_inner) = Some(filter);
    tracing::callsite::rebuild_interest_cache();
}

/// The filter in use, if anybody listens. Host mode only.
pub fn filter() -> Option<Filter> {
    FILTER.try_read().ok()?.clone()
}

/// Whether an event of this target and level would be told. Host mode only: who needs
/// to know it in guest mode asks before.
pub fn wants(target: &str, level: Level) -> bool {
    let filter = FILTER.try_read();
    filter.is_ok_and(|filter| {
        let filter = filter.as_ref();
        filter.is_some_and(|filter| filter.enables(target, level))
    })
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
        filter().map(|filter| filter.highest())
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        channel::deliver(event::Event::of(event, event::moment()));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
