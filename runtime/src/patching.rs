//! Which groups are switched on: asked before, told after.

use patch_events::{ask_group, channel, events};

use crate::dispatch;
use crate::group::Group;
use crate::lookup;
use crate::selection::{self, Selection};
use crate::syscalls::{Op, Syscall, TABLE};
use crate::wanted;

/// The calls of a group that are carried out.
fn calls_of(group: Group) -> impl Iterator<Item = &'static Syscall> {
    TABLE
        .iter()
        .filter(move |row| row.group == group && row.is_ours())
}

/// Asks whoever listens about each group, and settles what is left.
pub fn ask(mut selection: Selection) -> &'static Selection {
    for group in selection.groups().iter() {
        events::WillPatchGroup {
            group: group.name(),
        }
        .emit();
        let before = calls_of(group).filter(|row| selection.has(row));
        let mut items: Vec<_> = before.map(|row| (row.name, true)).collect();
        let what = format!("the group {group}");
        if let Err(reason) = ask_group(group.name(), &mut items) {
            let what = &what;
            events::Vetoed {
                what,
                reason: &reason,
            }
            .emit();
            selection.set_group(group, false);
            continue;
        }
        for (name, _) in items.into_iter().filter(|(_, wanted)| !wanted) {
            let Some(row) = selection::call(name) else {
                continue;
            };
            events::Vetoed {
                what: name,
                reason: "it was taken out of its group",
            }
            .emit();
            selection.set_call(row, false);
        }
    }
    for row in selection.needed_anyway() {
        events::StaysPatched { call: row.name }.emit();
    }
    selection::settle(selection)
}

/// Sends the calls that are on to dispatch.
pub fn carry_out(selection: &Selection) {
    for group in Group::ALL.iter().copied() {
        // The names of libc that look names up have no call of their own.
        let mut items = if group == Group::Dns {
            lookup::NAMES.len()
        } else {
            0
        };
        for row in calls_of(group) {
            let on = selection.is_on(row);
            let asked = row.op != Some(Op::ExitGroup) || channel::is_open();
            if on && asked || lookup::differs(row, selection, on) {
                wanted::want(row.nr as usize, true);
            }
            items += selection.has(row) as usize;
        }
        if selection.groups().contains(group) {
            events::DidPatchGroup {
                group: group.name(),
                items,
            }
            .emit();
        }
    }
}

/// Whether the group, or the call, of this name is carried out now. `None`: there is
/// neither of the name.
pub fn is_patched(name: &str) -> Option<bool> {
    Some(selection::is_selected(name)? && dispatch::is_running())
}
