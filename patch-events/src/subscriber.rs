//! Who listens, and may object.

use crate::event::Event;

/// Somebody who listens to events. One event at a time is given, by one thread at a
/// time, never a guest: a listener may allocate, lock and write.
pub trait Subscriber: Send {
    /// An event happened, and the filter let it pass.
    fn event(&mut self, event: &Event);

    /// The events given so far are all there are for the moment.
    fn flush(&mut self) {}

    /// The program is about to be patched with these groups. `Err`: it must not be,
    /// for this reason.
    ///
    /// # Errors
    /// The objection.
    fn will_patch_all(&mut self, groups: &str) -> Result<(), String> {
        let _ = groups;
        Ok(())
    }

    /// A group is about to be switched on with these calls; those whose word is set to
    /// false stay native. `Err`: all of them do, for this reason.
    ///
    /// # Errors
    /// The objection.
    fn will_patch_group(
        &mut self,
        group: &str,
        items: &mut [(&'static str, bool)],
    ) -> Result<(), String> {
        let _ = (group, items);
        Ok(())
    }
}
