//! What a run of a module told: which of its cases failed, and how many ran.

use std::collections::BTreeSet;

/// What a run told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Cases that failed, as unittest names them.
    pub failed: BTreeSet<String>,
    /// Cases that ran, skipped ones counted.
    pub ran: u32,
    /// Cases that were skipped.
    pub skipped: u32,
}

impl Report {
    /// Reads what `python3 -m test -v` wrote.
    pub fn read(output: &str) -> Self {
        let mut report = Self::default();
        for line in output.lines() {
            if let Some(case) = line
                .strip_prefix("FAIL: ")
                .or_else(|| line.strip_prefix("ERROR: "))
            {
                report.failed.insert(case.to_owned());
            } else if let Some(case) = line.strip_prefix("UNEXPECTED SUCCESS: ") {
                report.failed.insert(format!("{case} (unexpected success)"));
            } else if let Some(rest) = line.strip_prefix("Ran ") {
                // A doctest or a child may tell of runs of its own: all are counted.
                report.ran += number_before(rest, " test");
            } else if line.starts_with("OK (") || line.starts_with("FAILED (") {
                report.skipped += line
                    .split_once("skipped=")
                    .map_or(0, |(_, rest)| leading_number(rest));
            }
        }
        report
    }

    /// How a preloaded run's report is worse than this bare one, a line each.
    pub fn worse(&self, preloaded: &Self) -> Vec<String> {
        let mut lines: Vec<String> = preloaded
            .failed
            .difference(&self.failed)
            .map(|case| format!("fails preloaded alone: {case}"))
            .collect();
        for (what, bare, found) in [
            ("ran", self.ran, preloaded.ran),
            ("were skipped", self.skipped, preloaded.skipped),
        ] {
            if bare != found {
                lines.push(format!("{bare} cases {what} bare, {found} preloaded"));
            }
        }
        lines
    }
}

fn leading_number(text: &str) -> u32 {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text[..end].parse().unwrap_or(0)
}

fn number_before(text: &str, word: &str) -> u32 {
    text.split_once(word)
        .and_then(|(number, _)| number.parse().ok())
        .unwrap_or(0)
}

/// Reads a report of known content, since nothing else tells a wrong reading from a good run.
pub fn check_reading() -> Result<(), String> {
    let output = "\
test_a (test.test_x.X.test_a) ... ok
======================================================================
FAIL: test_b (test.test_x.X.test_b) (size=3)
ERROR: setUpClass (test.test_x.Y)
Ran 12 tests in 0.003s

FAILED (failures=1, errors=1, skipped=4)
";
    let report = Report::read(output);
    let failed = [
        "setUpClass (test.test_x.Y)",
        "test_b (test.test_x.X.test_b) (size=3)",
    ];
    let expected = Report {
        failed: failed.map(str::to_owned).into(),
        ran: 12,
        skipped: 4,
    };
    if report != expected {
        return Err(format!("read {report:?}, not {expected:?}"));
    }
    let clean = Report {
        ran: 12,
        skipped: 3,
        ..Report::default()
    };
    match clean.worse(&report).len() {
        3 if report.worse(&report).is_empty() => Ok(()),
        lines => Err(format!("{lines} complaints, not 3")),
    }
}
