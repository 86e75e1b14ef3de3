//! What the events tell of an object that is patched.

use std::path::Path;

use gevent_runtime::probes;
use patch_events::{Address, events, target};
use tracing::Level;

use super::loaded::Loaded;
use crate::functions::Functions;
use crate::maps;
use crate::plan::Plan;

/// What is told of one object.
pub(super) struct Told {
    path: String,
    bias: u64,
    pub(super) plan: Plan,
    /// The names of its functions, if anybody is to be told them.
    functions: Functions,
    /// Whether calls of sites that are refused are caught.
    caught: bool,
}

impl Told {
    pub(super) fn new(path: &Path, loaded: &Loaded<'_>, plan: Plan, caught: bool) -> Told {
        let told = |level| patch_events::wants(target::PATCH, level);
        let refused = plan.missed().next().is_some() && told(Level::WARN);
        let patched = !plan.windows.is_empty() && told(Level::TRACE);
        let functions = if refused || patched {
            // Without the file there are no names.
            let file = maps::read_file(path).unwrap_or_default();
            Functions::of_bytes(&file)
        } else {
            Functions::default()
        };
        Told {
            path: path.to_string_lossy().into_owned(),
            bias: loaded.bias,
            plan,
            functions,
            caught,
        }
    }

    fn symbol(&self, site: u64) -> Option<&str> {
        self.functions.at(site).map(|(_, name)| name)
    }

    pub(super) fn refusals(&self) {
        for &(site, refusal) in self.plan.missed() {
            events::Refused {
                object: &self.path,
                address: Address(site.wrapping_add(self.bias)),
                symbol: self.symbol(site),
                reason: &refusal.to_string(),
            }
            .emit();
        }
    }

    pub(super) fn begin(&self) {
        if !self.plan.windows.is_empty() {
            events::WillPatchObject {
                object: &self.path,
                sites: self.plan.windows.len(),
            }
            .emit();
        }
    }

    /// That many sites now lead to us.
    pub(super) fn end(&self, sites: u32) {
        let sites = sites as usize;
        for window in self.plan.windows.iter().take(sites) {
            let address = window.site.wrapping_add(self.bias);
            probes::patch(address);
            events::DidPatchSite::emit_with(|| events::DidPatchSite {
                object: &self.path,
                address: Address(address),
                symbol: self.symbol(window.site),
                mechanism: match window.room {
                    None => "jump to a stub",
                    Some(_) => "short jump to a jump to a stub",
                },
            });
        }
        let missed = self.plan.missed().count();
        let (object, count) = (&*self.path, missed);
        match missed {
            0 => {}
            _ if self.caught => events::SitesCaught { object, count }.emit(),
            _ => events::SitesRefused { object, count }.emit(),
        }
        if sites > 0 {
            events::DidPatchObject {
                object: &self.path,
                patched: sites,
                refused: missed,
            }
            .emit();
        }
    }
}
