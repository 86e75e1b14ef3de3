//! Addresses where execution may arrive other than from the instruction before.

/// Sorted addresses where execution may arrive.
#[derive(Debug, Clone, Default)]
pub struct Boundaries(Vec<u64>);

impl Boundaries {
    /// Of a list in any order.
    pub fn new(mut addrs: Vec<u64>) -> Self {
        addrs.sort_unstable();
        addrs.dedup();
        Self(addrs)
    }

    /// The first one that is not below `addr`.
    pub fn first_from(&self, addr: u64) -> Option<u64> {
        let first = self.0.partition_point(|&a| a < addr);
        self.0.get(first).copied()
    }

    /// Whether one lies strictly between `start` and `end`.
    pub fn inside(&self, start: u64, end: u64) -> bool {
        let first = self.0.partition_point(|&a| a <= start);
        self.0.get(first).is_some_and(|&a| a < end)
    }
}
