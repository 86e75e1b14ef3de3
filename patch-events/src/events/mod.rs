//! Every event there is.

mod call;
mod guest;
mod hub;
mod patch;

pub use call::{Called, Waiting};
pub use guest::{GuestEnded, GuestMadeAt, GuestStarted, LookedUp};
pub use hub::{
    Armed, Catching, ClockNotWatched, EventsLost, FileMissing, FilterInherited, Filtered,
    ForkReinitialised, HubBlocked, HubRescued, HubStarted, HubsLimited, LocksGuarded,
    LocksNotGuarded, MemoryBack, MemoryPassed, MemoryShort, NotCatching, NotWatched, PoolFull,
    PoolMissing, RescueRefused, RingRefused, WouldBlockForever,
};
pub use patch::{
    CaughtInstead, DidPatchAll, DidPatchGroup, DidPatchObject, DidPatchSite, GroupsContradict,
    LoadedLate, NotPatched, ProgramNotPatched, Refused, SitesCaught, SitesRefused, StaysPatched,
    ThreadGroupOff, ThreadsStayKernels, Vetoed, WillPatchAll, WillPatchGroup, WillPatchObject,
};

use crate::declare::Declaration;

/// Every event, in the order of declaration.
pub fn all() -> impl Iterator<Item = Declaration> {
    let all = [patch::ALL, hub::ALL, guest::ALL, call::ALL];
    all.into_iter().flatten().copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_targets_known_and_used() {
        let names: BTreeSet<_> = all().map(|event| event.name).collect();
        assert_eq!(names.len(), all().count());
        let used: BTreeSet<_> = all().map(|event| event.target).collect();
        let known: BTreeSet<_> = crate::target::ALL.into_iter().collect();
        assert!(used.is_subset(&known));
        for target in known {
            assert!(
                used.iter().any(|name| name.starts_with(target)),
                "a filter on {target} would ask for nothing"
            );
        }
    }
}
