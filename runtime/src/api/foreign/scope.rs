//! Greenlets of C that end before their spawner goes on.

use std::collections::BTreeSet;
use std::ffi::c_void;
use std::io;
use std::panic::Location;

use super::super::error::GreenletExit;
use super::super::greenlet::Wait;
use super::super::group::{Group, Membership, Place as InPool};
use super::super::spawn::getcurrent;
use super::super::sync::Arc;
use super::{Body, Builder, Foreign, ForeignGreenlet, Function, Place};

/// What [`scope`](fn@super::super::scope) is in Rust. A closure has no part in it: a C
/// function that unwinds ends it in a cleanup handler.
///
/// That a greenlet of C counts as ended is enough for what it borrows: its cleanup handlers
/// have run then, and one that was killed before it began never touches its argument.
#[derive(Debug, Default)]
pub struct ForeignScope {
    /// Each is in it before it begins, and leaves it after its end.
    greenlets: Group,
}

impl ForeignScope {
    /// Spawns a greenlet in it.
    ///
    /// # Errors
    /// As [`Builder::spawn`].
    ///
    /// # Safety
    /// As for [`spawn`](super::spawn); the argument must be there until [`end`](Self::end)
    /// has returned.
    #[track_caller]
    pub unsafe fn spawn(
        &self,
        builder: Builder,
        function: Function,
        argument: *mut c_void,
    ) -> io::Result<ForeignGreenlet> {
        let result = Place::default();
        let body = Body::Foreign(Foreign { function, argument }, Arc::clone(&result));
        let member = Membership {
            group: &self.greenlets,
            place: InPool::default(),
        };
        let greenlet = builder.spawn_body(Location::caller(), body, Some(member))?;
        Ok(ForeignGreenlet { greenlet, result })
    }

    /// Kills all of them, without waiting. The caller too if it is one: it unwinds from here.
    pub fn kill(&self) {
        self.greenlets.kill_with(Wait::No);
    }

    /// Whether the caller is one of them, which can't wait for itself.
    pub fn has_current(&self) -> bool {
        getcurrent().is_some_and(|own| self.greenlets.contains(&own))
    }

    /// Waits until all have ended, also those that are spawned in it meanwhile.
    ///
    /// A wait: a kill of the caller or its [`Timeout`](super::super::Timeout) has all of
    /// them killed, and unwinds from here when they have ended.
    pub fn end(&self) {
        let Err(interrupted) = self.greenlets.join_until(None) else {
            return;
        };
        // Each is killed once: it may catch that.
        let mut killed = BTreeSet::new();
        loop {
            let mut left = self.greenlets.greenlets();
            left.retain(|greenlet| !greenlet.ready());
            if left.is_empty() {
                break;
            }
            for greenlet in &left {
                if killed.insert(greenlet.minimal_ident()) {
                    greenlet.shared.throw(Box::new(GreenletExit));
                }
            }
            for greenlet in &left {
                greenlet.shared.join_surely();
            }
        }
        interrupted.raise();
    }
}
