//! The limit of descriptors while a process or program is being made.

use patch_events::numbers::{self, Room};

#[test]
fn a_held_limit_is_the_programs_own() {
    let before = numbers::limits().unwrap();
    let usual = Room::make();
    numbers::hold();
    assert_eq!(numbers::limits(), Some(before));
    let held = Room::make();
    assert_eq!(numbers::limits(), Some(before));
    assert!((held.lowest() as u64) < before.0);
    numbers::hold();
    numbers::release();
    assert_eq!(numbers::limits(), Some(before));
    numbers::release();
    assert_eq!(numbers::limits().unwrap().0, before.1, "it has room again");
    drop(usual);
    drop(held);
    assert_eq!(numbers::limits(), Some(before));
}
