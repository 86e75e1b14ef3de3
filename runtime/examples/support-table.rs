//! Prints the support table of the README: Markdown made of the table of calls.

use std::fmt::Write;
use std::io;

use gevent_runtime::group::Group;
use gevent_runtime::syscalls::{Level, Syscall, TABLE};

fn main() -> io::Result<()> {
    io::Write::write_all(&mut io::stdout(), support_table().as_bytes())
}

fn support_table() -> String {
    let mut out = String::new();
    let count = |level| TABLE.iter().filter(|call| call.level == level).count();

    let offloaded = match count(Level::Offloaded) {
        0 => String::new(),
        n => format!(
            "{n} run on io_uring or a helper thread while the thread is parked, whenever they may \
             wait, "
        ),
    };
    line(
        &mut out,
        &format!(
            "Linux has {} system calls on x86-64. {} are carried out by gevent-shim, {offloaded}{} run as \
             they are because they never wait long, and {} run as they are although they may keep \
             their kernel thread while they wait. So do page faults that userfaultfd, FUSE or NFS \
             answers, and calls of code that was not patched. The other threads of the hub wait \
             meanwhile, or with `GEVENT_SHIM_RESCUE=1` go on on another kernel thread after some 30 \
             ms. The `dns` group has no call of its own: it \
             decides about the waits of the other groups inside a look-up of a name.",
            TABLE.len(),
            count(Level::Virtual),
            count(Level::Native),
            count(Level::MayBlock),
        ),
    );

    line(
        &mut out,
        "\n| group | calls that wait without stopping other threads | other calls carried out |\n|---|---|---|",
    );
    let ours = |call: &Syscall| matches!(call.level, Level::Virtual | Level::Offloaded);
    for group in groups(ours) {
        let names = |waits| {
            let cooperative = |call: &Syscall| call.parks || call.level == Level::Offloaded;
            names(|call| ours(call) && call.group == group && cooperative(call) == waits)
        };
        line(
            &mut out,
            &format!("| {} | {} | {} |", group.name(), names(true), names(false)),
        );
    }

    line(
        &mut out,
        &format!(
            "\n<details>\n<summary>The {} calls that may keep their kernel thread, and why</summary>\n",
            count(Level::MayBlock)
        ),
    );
    notes(&mut out, |call| call.level == Level::MayBlock);
    line(&mut out, "\n</details>");

    line(
        &mut out,
        "\n<details>\n<summary>Limits of the other calls</summary>\n",
    );
    notes(&mut out, |call| {
        call.level != Level::MayBlock && !call.note.is_empty()
    });
    line(&mut out, "\n</details>");
    out
}

/// A table of the wanted calls, those of one group and note in one row.
fn notes(out: &mut String, wanted: impl Fn(&Syscall) -> bool) {
    line(out, "| group | calls | note |\n|---|---|---|");
    for group in groups(&wanted) {
        let wanted = |call: &Syscall| wanted(call) && call.group == group;
        let mut notes: Vec<&str> = Vec::new();
        for call in TABLE.iter().filter(|call| wanted(call)) {
            if !notes.contains(&call.note) {
                notes.push(call.note);
            }
        }
        for note in notes {
            let names = names(|call| wanted(call) && call.note == note);
            line(out, &format!("| {} | {names} | {note} |", group.name()));
        }
    }
}

/// The groups that have a wanted call, in the order of their declaration.
fn groups(wanted: impl Fn(&Syscall) -> bool) -> Vec<Group> {
    let mut groups: Vec<Group> = TABLE
        .iter()
        .filter(|call| wanted(call))
        .map(|call| call.group)
        .collect();
    groups.sort_by_key(|&group| group as u8);
    groups.dedup();
    groups
}

/// The names of the wanted calls, in the order of their numbers.
fn names(wanted: impl Fn(&Syscall) -> bool) -> String {
    let names: Vec<String> = TABLE
        .iter()
        .filter(|call| wanted(call))
        .map(|call| format!("`{}`", call.name))
        .collect();
    names.join(" ")
}

fn line(out: &mut String, text: &str) {
    writeln!(out, "{text}").expect("a String takes every write");
}
