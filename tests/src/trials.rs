//! Choosing the tests of a driver by several parts of names, where `libtest_mimic` takes one.

use libtest_mimic::{Arguments, Trial};

/// What a driver was called with.
#[derive(Debug)]
pub struct Choice {
    /// The options, for `libtest_mimic`.
    pub arguments: Arguments,
    parts: Vec<String>,
}

impl Choice {
    /// Reads the command line. An option's value must be joined to it by `=`.
    #[must_use]
    pub fn from_args() -> Self {
        let (options, parts): (Vec<_>, Vec<_>) =
            std::env::args().partition(|word| word.starts_with('-'));
        // The first of the words is the driver's own name.
        let (driver, parts) = parts.split_at(parts.len().min(1));
        Self {
            arguments: Arguments::from_iter(driver.iter().chain(&options)),
            parts: parts.to_vec(),
        }
    }

    /// Whether a test is to be run, by its name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.parts.is_empty()
            || self.parts.iter().any(|part| match self.arguments.exact {
                true => name == part,
                false => name.contains(part.as_str()),
            })
    }

    /// Leaves those that are to be run.
    pub fn retain(&self, trials: &mut Vec<Trial>) {
        trials.retain(|trial| self.has(trial.name()));
    }
}
