//! The probe points are in the library, where tracers look for them.

use std::collections::BTreeSet;
use std::process::Command;

use gevent_tests::library;

#[test]
fn the_library_has_a_note_for_each_probe() {
    let output = Command::new("readelf")
        .arg("--notes")
        .arg(library::find().unwrap())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let mut names = BTreeSet::new();
    for line in text.lines().skip_while(|line| !line.contains("stapsdt")) {
        if let Some(name) = line.trim().strip_prefix("Name: ") {
            names.insert(name.to_owned());
        }
    }
    let expected = ["exit", "park", "patch", "spawn", "wake"];
    assert!(names.iter().eq(expected), "{names:?}");
    assert!(text.contains("Provider: gevent\n"), "{text}");
}
