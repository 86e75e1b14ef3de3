//! A guest program with what its tests share: one executable and one bare run.

use crate::guest::{Built, Guest};
use crate::library;
use crate::mode::{EventLoop, Mode};
use crate::oracle::{self, Demands};
use crate::root::Root;
use crate::run::{self, Outcome};
use std::path::PathBuf;
use std::sync::OnceLock;

/// Reports of a repeated program that are told in full.
const TOLD: usize = 3;

/// How often a program runs preloaded, each time against the one bare run.
#[derive(Clone, Copy, Debug)]
pub struct Repetition {
    /// How many times.
    pub times: u64,
    /// Seed of the first run's schedule, if it is to be at random; the next has the next.
    pub seed: Option<u64>,
}

impl Repetition {
    /// Once, scheduled as usual.
    pub const ONCE: Self = Self {
        times: 1,
        seed: None,
    };
}

/// See the module.
#[derive(Debug)]
pub struct Subject {
    /// The program.
    pub guest: Guest,
    root: Root,
    directory: PathBuf,
    built: OnceLock<Result<Built, String>>,
    bare: OnceLock<Result<Outcome, String>>,
}

impl Subject {
    /// A program that is compiled and run in `root`; its executable goes into `directory`.
    #[must_use]
    pub fn new(guest: Guest, root: Root, directory: PathBuf) -> Self {
        Self {
            guest,
            root,
            directory,
            built: OnceLock::new(),
            bare: OnceLock::new(),
        }
    }

    fn built(&self) -> Result<&Built, String> {
        let built = self.built.get_or_init(|| {
            self.guest
                .build_in(&self.root, &self.directory)
                .map_err(|error| error.to_string())
        });
        built.as_ref().map_err(Clone::clone)
    }

    fn run(&self, mode: &Mode, seed: Option<u64>) -> Result<Outcome, String> {
        let directives = &self.guest.directives;
        let mut command = self.built()?.command();
        mode.apply(&mut command);
        if let Some(seed) = seed {
            command.env("GEVENT_SHIM_CHAOS", seed.to_string());
        }
        if mode.is_preloaded() {
            let settings = directives.settings.iter();
            command.envs(settings.filter_map(|setting| setting.split_once('=')));
        }
        self.root.enter(&mut command);
        run::run(&mut command, directives.limit, directives.hold)
            .map_err(|error| format!("cannot run it: {error}"))
    }

    const fn demands(&self, event_loop: Option<EventLoop>, hubs: usize) -> Demands {
        Demands {
            event_loop,
            hubs,
            end: self.guest.directives.end,
            counts_threads: self.guest.directives.hold,
        }
    }

    /// Runs it bare, once.
    ///
    /// # Errors
    /// Why that can't be the oracle.
    pub fn bare(&self) -> Result<&Outcome, String> {
        let bare = self.bare.get_or_init(|| {
            let outcome = self.run(&Mode::Bare, None)?;
            oracle::check_bare(&outcome, self.demands(None, 1))?;
            Ok(outcome)
        });
        bare.as_ref().map_err(Clone::clone)
    }

    /// Runs it preloaded as often as is asked for.
    ///
    /// # Errors
    /// How it differed from bare.
    pub fn check_preloaded(
        &self,
        event_loop: EventLoop,
        hubs: usize,
        repetition: Repetition,
    ) -> Result<(), String> {
        let mode = Mode::Preloaded {
            library: library::find()?,
            event_loop,
            hubs,
        };
        let demands = self.demands(Some(event_loop), hubs);
        let Repetition { times, seed } = repetition;
        let mut failed = 0;
        let mut reports = String::new();
        for time in 0..times {
            let seed = seed.map(|seed| seed.wrapping_add(time));
            let Err(report) = self.check_once(&mode, demands, seed) else {
                continue;
            };
            failed += 1;
            if failed <= TOLD {
                let number = (times > 1).then(|| format!("run {} of {times}:\n", time + 1));
                let seed = seed.map(|seed| format!("with GEVENT_SHIM_CHAOS={seed}:\n"));
                reports.extend([number.unwrap_or_default(), seed.unwrap_or_default(), report]);
                reports.push('\n');
            }
        }
        match failed {
            0 => Ok(()),
            _ if times > 1 => Err(format!("{reports}{failed} of {times} runs failed")),
            _ => Err(reports),
        }
    }

    fn check_once(&self, mode: &Mode, demands: Demands, seed: Option<u64>) -> Result<(), String> {
        if self.guest.directives.preloaded_only {
            oracle::check_alone(&self.run(mode, seed)?, demands)
        } else {
            oracle::compare(self.bare()?, &self.run(mode, seed)?, demands)
        }
    }
}
