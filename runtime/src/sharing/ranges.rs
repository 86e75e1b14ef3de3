//! A set of address ranges that is read without a lock. Knows nothing of what they mean.
//!
//! The ranges lie in an array, disjoint and ascending, and each has a *tag*; ranges of one
//! tag that touch may be one entry. The array grows by mapping a larger one and copying. An
//! outgrown one stays mapped, because a reader may be in it; all of them together are
//! smaller than the last.
//!
//! # Synchronization
//! One writer at a time, which the caller sees to. Readers are on any thread, also in a
//! signal handler: they begin again if `version` changed while they looked, and it is odd
//! while somebody writes (a sequence lock). Everything they read is an atomic.
#![allow(unsafe_code)]

use core::ops::Range;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering, fence};

use crate::raw;

/// One range: `start..end`, and its tag.
struct Entry {
    start: AtomicUsize,
    end: AtomicUsize,
    tag: AtomicUsize,
}

impl Entry {
    const fn empty() -> Entry {
        Entry {
            start: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            tag: AtomicUsize::new(0),
        }
    }

    fn get(&self) -> (Range<usize>, usize) {
        let start = self.start.load(Ordering::Relaxed);
        let end = self.end.load(Ordering::Relaxed);
        (start..end, self.tag.load(Ordering::Relaxed))
    }

    fn set(&self, range: Range<usize>, tag: usize) {
        self.start.store(range.start, Ordering::Relaxed);
        self.end.store(range.end, Ordering::Relaxed);
        self.tag.store(tag, Ordering::Relaxed);
    }
}

/// Entries that need no mapping of their own.
const INLINE: usize = 64;

/// See the module's documentation.
pub struct Ranges {
    version: AtomicU32,
    len: AtomicUsize,
    capacity: AtomicUsize,
    /// Null while `inline` is in use.
    mapped: AtomicPtr<Entry>,
    inline: [Entry; INLINE],
}

/// No memory for another entry; the set is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl Ranges {
    /// An empty set.
    pub const fn new() -> Self {
        Ranges {
            version: AtomicU32::new(0),
            len: AtomicUsize::new(0),
            capacity: AtomicUsize::new(INLINE),
            mapped: AtomicPtr::new(core::ptr::null_mut()),
            inline: [const { Entry::empty() }; INLINE],
        }
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.len.load(Ordering::Relaxed) == 0
    }

    fn array(&self) -> &[Entry] {
        // In this order: the array is never smaller than a capacity that was read before it.
        let capacity = self.capacity.load(Ordering::Acquire);
        let mapped = self.mapped.load(Ordering::Acquire);
        if mapped.is_null() {
            return &self.inline;
        }
        // SAFETY: `grow` mapped the array, zeroed and with room for at least that many
        // entries, before it stored the pointer and then the capacity, and arrays stay mapped.
        unsafe { core::slice::from_raw_parts(mapped, capacity) }
    }

    fn entries(&self) -> &[Entry] {
        let array = self.array();
        &array[..self.len.load(Ordering::Relaxed).min(array.len())]
    }

    /// What `look` finds in a state that no writer changed meanwhile.
    fn read<R>(&self, look: impl Fn(&[Entry]) -> R) -> R {
        loop {
            let before = self.version.load(Ordering::Acquire);
            if before.is_multiple_of(2) {
                let found = look(self.entries());
                fence(Ordering::Acquire);
                if self.version.load(Ordering::Relaxed) == before {
                    return found;
                }
            }
            core::hint::spin_loop();
        }
    }

    /// Index of the first entry that ends above `address`.
    fn above(entries: &[Entry], address: usize) -> usize {
        entries.partition_point(|entry| entry.end.load(Ordering::Relaxed) <= address)
    }

    /// The tag of the range that `address` is in.
    pub fn tag_at(&self, address: usize) -> Option<usize> {
        self.read(|entries| {
            let (range, tag) = entries.get(Self::above(entries, address))?.get();
            range.contains(&address).then_some(tag)
        })
    }

    /// Whether any of `range` is in the set.
    pub fn intersects(&self, range: Range<usize>) -> bool {
        !range.is_empty()
            && !self.is_empty()
            && self.read(|entries| {
                let first = entries.get(Self::above(entries, range.start));
                first.is_some_and(|entry| entry.get().0.start < range.end)
            })
    }

    /// Runs `change` as the writer.
    fn write(&self, change: impl FnOnce()) {
        let version = self.version.load(Ordering::Relaxed);
        self.version
            .store(version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        change();
        self.version
            .store(version.wrapping_add(2), Ordering::Release);
    }

    /// Makes room for `more` entries.
    fn grow(&self, more: usize) -> Result<(), Full> {
        let (len, capacity) = (self.len.load(Ordering::Relaxed), self.array().len());
        if len + more <= capacity {
            return Ok(());
        }
        let wanted = capacity * 2;
        let to = raw::reserve(wanted * size_of::<Entry>()).ok_or(Full)?;
        let to = to.cast::<Entry>();
        for (at, entry) in self.entries().iter().enumerate() {
            let (range, tag) = entry.get();
            // SAFETY: the new mapping, zeroed, with room for twice as many entries.
            unsafe { (*to.add(at)).set(range, tag) };
        }
        self.mapped.store(to, Ordering::Release);
        self.capacity.store(wanted, Ordering::Release);
        Ok(())
    }

    /// Takes everything out. For the only thread that uses the set.
    pub fn clear(&self) {
        self.len.store(0, Ordering::Relaxed);
        self.version.store(0, Ordering::Release);
    }

    /// Puts `range` in with `tag`, in place of what was there.
    ///
    /// # Errors
    /// [`Full`].
    pub fn insert(&self, range: Range<usize>, tag: usize) -> Result<(), Full> {
        if range.is_empty() {
            return Ok(());
        }
        // One that is cut in two, and the new one.
        self.grow(2)?;
        self.write(|| {
            self.cut(&range);
            let (entries, len) = (self.array(), self.len.load(Ordering::Relaxed));
            let at = Self::above(&entries[..len], range.start);
            let joins_next = at < len && {
                let (next, its) = entries[at].get();
                next.start == range.end && its == tag
            };
            let joins_last = at > 0 && {
                let (last, its) = entries[at - 1].get();
                last.end == range.start && its == tag
            };
            match (joins_last, joins_next) {
                (true, true) => {
                    let end = entries[at].get().0.end;
                    entries[at - 1].end.store(end, Ordering::Relaxed);
                    self.drop_entries(at..at + 1);
                }
                (true, false) => entries[at - 1].end.store(range.end, Ordering::Relaxed),
                (false, true) => entries[at].start.store(range.start, Ordering::Relaxed),
                (false, false) => {
                    self.open(at);
                    entries[at].set(range, tag);
                }
            }
        });
        Ok(())
    }

    /// Takes `range` out.
    ///
    /// # Errors
    /// [`Full`], where an entry would be cut in two.
    pub fn remove(&self, range: Range<usize>) -> Result<(), Full> {
        if !self.intersects(range.clone()) {
            return Ok(());
        }
        self.grow(1)?;
        self.write(|| self.cut(&range));
        Ok(())
    }

    /// Takes every range with this tag out.
    pub fn remove_tag(&self, tag: usize) {
        self.write(|| {
            let mut at = self.len.load(Ordering::Relaxed);
            while at > 0 {
                at -= 1;
                if self.array()[at].get().1 == tag {
                    self.drop_entries(at..at + 1);
                }
            }
        });
    }

    /// Removes `range`; there is room for one entry more.
    fn cut(&self, range: &Range<usize>) {
        let (entries, len) = (self.array(), self.len.load(Ordering::Relaxed));
        let mut from = Self::above(&entries[..len], range.start);
        if from == len {
            return;
        }
        let (first, tag) = entries[from].get();
        if first.start < range.start {
            entries[from].end.store(range.start, Ordering::Relaxed);
            from += 1;
            if first.end > range.end {
                self.open(from);
                entries[from].set(range.end..first.end, tag);
                return;
            }
        }
        let rest = &entries[from..len];
        let whole = rest.partition_point(|entry| entry.end.load(Ordering::Relaxed) <= range.end);
        if let Some(last) = rest.get(whole)
            && last.get().0.start < range.end
        {
            last.start.store(range.end, Ordering::Relaxed);
        }
        self.drop_entries(from..from + whole);
    }

    /// Moves the entries from `at` on up by one.
    fn open(&self, at: usize) {
        let (entries, len) = (self.array(), self.len.load(Ordering::Relaxed));
        for i in (at..len).rev() {
            let (range, tag) = entries[i].get();
            entries[i + 1].set(range, tag);
        }
        self.len.store(len + 1, Ordering::Relaxed);
    }

    fn drop_entries(&self, gone: Range<usize>) {
        let (entries, len) = (self.array(), self.len.load(Ordering::Relaxed));
        for i in gone.end..len {
            let (range, tag) = entries[i].get();
            entries[i - gone.len()].set(range, tag);
        }
        self.len.store(len - gone.len(), Ordering::Relaxed);
    }
}

impl Default for Ranges {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Addresses of the model.
    const SPACE: usize = 300;

    #[derive(Debug, Clone)]
    enum Change {
        Insert(Range<usize>, usize),
        Remove(Range<usize>),
        RemoveTag(usize),
    }

    fn range() -> impl Strategy<Value = Range<usize>> {
        (0..SPACE, 0..20usize).prop_map(|(start, len)| start..(start + len).min(SPACE))
    }

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![
            6 => (range(), 0..3usize).prop_map(|(range, tag)| Change::Insert(range, tag)),
            3 => range().prop_map(Change::Remove),
            1 => (1..3usize).prop_map(Change::RemoveTag),
        ]
    }

    proptest! {
        #[test]
        fn it_is_what_a_table_of_addresses_is(changes in prop::collection::vec(change(), 0..400)) {
            let set = Ranges::new();
            let mut model = [None; SPACE];
            for change in changes {
                match change {
                    Change::Insert(range, tag) => {
                        set.insert(range.clone(), tag).unwrap();
                        model[range].fill(Some(tag));
                    }
                    Change::Remove(range) => {
                        prop_assert_eq!(
                            set.intersects(range.clone()),
                            model[range.clone()].iter().any(Option::is_some)
                        );
                        set.remove(range.clone()).unwrap();
                        model[range].fill(None);
                    }
                    Change::RemoveTag(tag) => {
                        set.remove_tag(tag);
                        for of in model.iter_mut().filter(|of| **of == Some(tag)) {
                            *of = None;
                        }
                    }
                }
            }
            for (address, tag) in model.iter().enumerate() {
                prop_assert_eq!(set.tag_at(address), *tag, "at {}", address);
            }
        }
    }

    #[test]
    fn it_grows() {
        let set = Ranges::new();
        for i in 0..10_000 {
            set.insert(i * 2..i * 2 + 1, 0).unwrap();
        }
        assert!((0..20_000).all(|i| set.tag_at(i).is_some() == (i % 2 == 0)));
    }

    #[test]
    fn a_reader_sees_whole_states() {
        let set = Ranges::new();
        let done = core::sync::atomic::AtomicBool::new(false);
        // 5 is always in it, 100 never.
        set.insert(5..6, 0).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for i in 0..20_000 {
                    set.insert(i % 4..i % 4 + 1, 0).unwrap();
                    set.insert(200 + 2 * (i % 500)..201 + 2 * (i % 500), 0)
                        .unwrap();
                    set.remove(0..4).unwrap();
                }
                done.store(true, Ordering::Relaxed);
            });
            while !done.load(Ordering::Relaxed) {
                assert!(set.tag_at(5).is_some());
                assert!(set.tag_at(100).is_none());
            }
        });
    }
}
