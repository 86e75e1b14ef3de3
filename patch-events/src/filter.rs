//! Which events are asked for: the value of `GEVENT_SHIM_EVENTS`.
//!
//! The syntax is the part of tracing's filter directives that has a meaning
//! here: levels by target. Directives on spans and fields, and targets that no
//! event has, are refused, since they would ask for nothing.

use std::fmt;
use std::str::FromStr;

use tracing::Level;
use tracing::level_filters::LevelFilter;

use crate::target;

/// The environment variable that holds a filter.
pub const FILTER_VARIABLE: &str = "GEVENT_SHIM_EVENTS";

/// Levels by target, as `tracing`'s directives have them. Of several directives on one target the last one counts;
/// of several targets that fit an event, the longest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    directives: Vec<(&'static str, LevelFilter)>,
}

/// A filter that is not made of known targets and levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidFilter;

impl InvalidFilter {
    /// What a filter may be, for a message.
    pub const EXPECTED: &str = "1 for all but calls, all, 0 or off, or a comma list of levels \
         and targets (info, gevent::patch, gevent::hub=debug) with the targets gevent, \
         gevent::patch, gevent::hub, gevent::guest, gevent::call and the levels off, error, \
         warn, info, debug, trace";
}

impl fmt::Display for InvalidFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{FILTER_VARIABLE} takes {}", Self::EXPECTED)
    }
}

impl std::error::Error for InvalidFilter {}

const LEVELS: [(&str, LevelFilter); 6] = [
    ("off", LevelFilter::OFF),
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];

fn level(text: &str) -> Option<LevelFilter> {
    LEVELS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(text))
        .map(|&(_, level)| level)
}

fn level_name(wanted: LevelFilter) -> &'static str {
    LEVELS
        .iter()
        .find(|&&(_, level)| level == wanted)
        .map_or("off", |&(name, _)| name)
}

fn known_target(text: &str) -> Option<&'static str> {
    target::ALL.iter().copied().find(|name| *name == text)
}

impl Filter {
    /// Every event, each call of each thread among them.
    pub fn all() -> Filter {
        Filter::at(LevelFilter::TRACE)
    }

    /// Every event but those that come with every call.
    pub fn usual() -> Filter {
        Filter::at(LevelFilter::DEBUG)
    }

    fn at(level: LevelFilter) -> Filter {
        Filter {
            directives: vec![(target::ROOT, level)],
        }
    }

    /// Whether it lets events of this target and level pass.
    pub fn enables(&self, target: &str, level: Level) -> bool {
        let fits = |name: &str| {
            target
                .strip_prefix(name)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        self.directives()
            .filter(|(name, _)| fits(name))
            .max_by_key(|(name, _)| name.len())
            .is_some_and(|(_, limit)| level <= limit)
    }

    /// The most detailed level that any directive has.
    pub fn highest(&self) -> LevelFilter {
        let levels = self.directives().map(|(_, level)| level);
        levels.max().unwrap_or(LevelFilter::OFF)
    }

    /// Whether no event can pass.
    pub fn is_silent(&self) -> bool {
        self.directives
            .iter()
            .all(|&(_, level)| level == LevelFilter::OFF)
    }

    /// The directives, the shortest targets not necessarily first.
    pub fn directives(&self) -> impl Iterator<Item = (&'static str, LevelFilter)> + '_ {
        self.directives.iter().copied()
    }

    fn set(&mut self, target: &'static str, level: LevelFilter) {
        self.directives.retain(|&(other, _)| other != target);
        self.directives.push((target, level));
    }
}

impl FromStr for Filter {
    type Err = InvalidFilter;

    fn from_str(text: &str) -> Result<Filter, InvalidFilter> {
        let text = text.trim();
        if text == "1" {
            return Ok(Filter::usual());
        }
        if text.eq_ignore_ascii_case("all") {
            return Ok(Filter::all());
        }
        let mut filter = Filter {
            directives: Vec::new(),
        };
        if text == "0" {
            filter.set(target::ROOT, LevelFilter::OFF);
            return Ok(filter);
        }
        for directive in text.split(',').map(str::trim) {
            let (target, level) = match directive.split_once('=') {
                Some((name, value)) => (
                    known_target(name.trim()).ok_or(InvalidFilter)?,
                    level(value.trim()).ok_or(InvalidFilter)?,
                ),
                None => match level(directive) {
                    Some(level) => (target::ROOT, level),
                    None => (
                        known_target(directive).ok_or(InvalidFilter)?,
                        LevelFilter::TRACE,
                    ),
                },
            };
            filter.set(target, level);
        }
        Ok(filter)
    }
}

impl fmt::Display for Filter {
    /// What [`Filter::from_str`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (target, level)) in self.directives().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            write!(f, "{target}={}", level_name(level))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_are_levels_by_target() {
        let cases = [
            ("1", "gevent=debug"),
            ("all", "gevent=trace"),
            ("ALL", "gevent=trace"),
            ("0", "gevent=off"),
            ("off", "gevent=off"),
            ("info", "gevent=info"),
            ("INFO", "gevent=info"),
            ("gevent::patch", "gevent::patch=trace"),
            ("gevent::patch=info", "gevent::patch=info"),
            (
                " warn , gevent::hub = debug ",
                "gevent=warn,gevent::hub=debug",
            ),
            ("gevent::hub=info,gevent::hub=off", "gevent::hub=off"),
            (
                "gevent::guest,gevent::hub=error",
                "gevent::guest=trace,gevent::hub=error",
            ),
        ];
        for (text, shown) in cases {
            let filter: Filter = text.parse().expect(text);
            assert_eq!(filter.to_string(), shown, "{text:?}");
            assert_eq!(shown.parse(), Ok(filter), "{text:?}");
        }
    }

    #[test]
    fn what_would_ask_for_nothing_is_refused() {
        for text in [
            "",
            ",",
            "info,",
            "yes",
            "true",
            "2",
            "gevent::patch=2",
            "gevent::patch=",
            "=info",
            "patch=info",
            "gevent::patches=info",
            "gevent::",
            "hyper=info",
            "gevent::patch[span]=info",
            "[{x=1}]",
            "gevent::patch=info=debug",
            "1,info",
        ] {
            assert_eq!(text.parse::<Filter>(), Err(InvalidFilter), "{text:?}");
        }
    }

    #[test]
    fn the_longest_target_that_fits_decides() {
        let filter: Filter = "warn,gevent::hub=debug,gevent::call=off".parse().unwrap();
        for (target, level, passes) in [
            (target::PATCH, Level::WARN, true),
            (target::PATCH, Level::INFO, false),
            (target::HUB, Level::DEBUG, true),
            (target::HUB, Level::TRACE, false),
            (target::CALL, Level::ERROR, false),
            ("hyper", Level::ERROR, false),
            ("geventual", Level::ERROR, false),
        ] {
            assert_eq!(filter.enables(target, level), passes, "{target} {level}");
        }
        assert_eq!(filter.highest(), LevelFilter::DEBUG);
        let only: Filter = "gevent::guest".parse().unwrap();
        assert!(!only.enables(target::HUB, Level::ERROR));
    }

    #[test]
    fn silence_is_known() {
        for (text, silent) in [
            ("0", true),
            ("off", true),
            ("gevent::hub=off", true),
            ("off,gevent::hub=warn", false),
            ("1", false),
        ] {
            assert_eq!(text.parse::<Filter>().unwrap().is_silent(), silent);
        }
    }

    #[test]
    fn the_message_names_every_target_and_level() {
        for name in target::ALL {
            assert!(InvalidFilter::EXPECTED.contains(name));
        }
        for (name, _) in LEVELS {
            assert!(InvalidFilter::EXPECTED.contains(name));
        }
    }
}
