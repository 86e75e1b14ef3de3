//! Decides which bytes around each site are overwritten. Pure.
//!
//! Every site gets a [window](crate::scan::window). One that has none of its own gets a room for
//! its jump: padding that the scan found, or what another window leaves free behind its jump.

use crate::scan::window::HOP_REACH;
use crate::scan::{Body, Refusal, Scan};

pub(crate) use crate::scan::window::is_comparison;
pub use crate::scan::window::{HOP_LEN, JUMP_LEN, Room, Window, hop};

/// What to do with an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Disjoint, ascending.
    pub windows: Vec<Window>,
    /// Sites, by address, that stay as they are.
    pub refused: Vec<(u64, Refusal)>,
}

impl Plan {
    /// Sites that stay as they are although dispatch wants them.
    pub fn missed(&self) -> impl Iterator<Item = &(u64, Refusal)> {
        self.refused.iter().filter(|(_, r)| !r.is_expected())
    }
}

/// Plans every site of `scan`. `bytes` gives the object's bytes by link-time
/// range.
pub fn plan<'a>(scan: &Scan, bytes: impl Fn(u64, u64) -> Option<&'a [u8]>) -> Plan {
    let mut plan = Plan {
        refused: scan.refused.clone(),
        ..Plan::default()
    };
    let mut found = Vec::new();
    // Sites without a window of their own.
    let mut bare = Vec::new();
    let mut free_from = 0;
    for body in &scan.bodies {
        for &site in &body.sites {
            match body.window(site, &scan.boundaries, free_from, JUMP_LEN) {
                Ok((_, end)) if bytes(body.addr(site), end).is_none() => {
                    plan.refused.push((body.addr(site), Refusal::NoFunction));
                }
                Ok((start, end)) => {
                    free_from = end;
                    found.push(Placed {
                        body,
                        site,
                        start,
                        end,
                    });
                }
                Err(Refusal::SignalReturn) => {
                    plan.refused.push((body.addr(site), Refusal::SignalReturn));
                }
                Err(refusal) => bare.push((body.addr(site), refusal)),
            }
        }
    }
    let mut rooms = Rooms {
        scan,
        found,
        taken: Vec::new(),
    };
    for (site, refusal) in bare {
        let room = rooms.near(site).and_then(|start| {
            let bytes = bytes(start, start + JUMP_LEN)?.first_chunk()?;
            rooms.taken.push(start);
            Some(Room {
                start,
                bytes: *bytes,
            })
        });
        match room {
            Some(room) => plan.windows.push(Window::with_room(site, room)),
            None => plan.refused.push((site, refusal)),
        }
    }
    for placed in rooms.found {
        match bytes(placed.start, placed.end) {
            Some(bytes) => plan.windows.push(Window {
                start: placed.start,
                site: placed.body.addr(placed.site),
                end: placed.end,
                bytes: bytes.to_vec(),
                room: None,
            }),
            None => {
                let site = placed.body.addr(placed.site);
                plan.refused.push((site, Refusal::NoFunction));
            }
        }
    }
    plan.windows.sort_unstable_by_key(|window| window.start);
    plan
}

/// A window that has been found.
struct Placed<'s> {
    body: &'s Body,
    /// Its site's index.
    site: usize,
    start: u64,
    end: u64,
}

/// Where a jump to a stub can be written beside the windows.
struct Rooms<'s> {
    scan: &'s Scan,
    /// Ascending.
    found: Vec<Placed<'s>>,
    /// Begins of those that are used.
    taken: Vec<u64>,
}

impl Rooms<'_> {
    /// A free one that a jump of two bytes at `site` reaches.
    fn near(&mut self, site: u64) -> Option<u64> {
        if self.scan.boundaries.inside(site, site + HOP_LEN) {
            return None;
        }
        self.padding(site).or_else(|| self.behind_a_jump(site))
    }

    fn is_free(&self, start: u64) -> bool {
        let overlaps = |&other: &u64| start < other + JUMP_LEN && other < start + JUMP_LEN;
        !self.taken.iter().any(overlaps)
    }

    fn padding(&self, site: u64) -> Option<u64> {
        let gaps = self.scan.padding.iter();
        let near = gaps.filter(|gap| gap.start < site + HOP_REACH && site < gap.end + HOP_REACH);
        // Whoever arrives at a boundary goes on through the padding behind it.
        let boundaries = &self.scan.boundaries;
        let starts = near.flat_map(|gap| {
            let first = boundaries.first_from(gap.start).unwrap_or(gap.end);
            gap.start..first.min(gap.end).saturating_sub(JUMP_LEN - 1)
        });
        let covered = |start: u64| {
            let after = self.found.partition_point(|w| w.start < start + JUMP_LEN);
            after > 0 && start < self.found[after - 1].end
        };
        let mut fits = starts
            .filter(|&start| hop(site, start).is_some() && !covered(start) && self.is_free(start));
        fits.next()
    }

    /// What another window has behind its jump, once it is long enough.
    fn behind_a_jump(&mut self, site: u64) -> Option<u64> {
        let near = |w: &Placed<'_>| w.start < site + HOP_REACH && site < w.end + HOP_REACH;
        for at in (0..self.found.len()).filter(|&at| near(&self.found[at])) {
            let placed = &self.found[at];
            let room = placed.start + JUMP_LEN;
            if room + JUMP_LEN <= placed.end && hop(site, room).is_some() && self.is_free(room) {
                return Some(room);
            }
            let free_from = at.checked_sub(1).map_or(0, |before| self.found[before].end);
            let least = 2 * JUMP_LEN;
            let boundaries = &self.scan.boundaries;
            let longer = placed
                .body
                .window(placed.site, boundaries, free_from, least);
            let Ok((start, end)) = longer else {
                continue;
            };
            let next = self.found.get(at + 1).map_or(u64::MAX, |next| next.start);
            let used = |&room: &u64| room < end && start < room + JUMP_LEN;
            if end <= next && !self.taken.iter().any(used) && hop(site, start + JUMP_LEN).is_some()
            {
                (self.found[at].start, self.found[at].end) = (start, end);
                return Some(start + JUMP_LEN);
            }
        }
        None
    }
}
