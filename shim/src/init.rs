//! What happens when the library is loaded.
//!
//! The constructor reads the configuration, opens the sink of the events if one
//! is asked for, and patches the few sites that create threads or make the process another program. Everything else
//! waits for the program's first thread, so a program that never makes one pays
//! for a few sites.
#![allow(unsafe_code)]

use std::ffi::OsString;
use std::fmt::Display;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

use gevent_runtime::config::{self, Config};
use gevent_runtime::group::{Group, GroupSet};
use gevent_runtime::preload;
use gevent_runtime::raw;
use gevent_runtime::trace;
use gevent_runtime::wanted::{self, Patcher};
use patch_events::{ask_all, events, stderr, target};

use crate::arm;
use crate::backtrace;
use crate::lookups;
use crate::others;
use crate::own_libc;
use crate::plugin;
use crate::program::{self, Executable};
use crate::symbols;

/// Whether this process may be patched at all. A set-user-ID or otherwise
/// privileged program never is: its caller must not choose what its calls do.
pub(crate) fn allowed() -> bool {
    // SAFETY: getauxval has no preconditions.
    unsafe { libc::getauxval(libc::AT_SECURE) == 0 }
}

/// Whether this code is part of the executable: a program that links the crate
/// asks for what it wants by name.
fn is_linked_in() -> bool {
    Executable::get().is_some_and(|own| own.holds(load as *const () as u64, 1))
}

/// Address space that loading takes, with much to spare: without it the program is to fail in
/// its own way, if at all. In bytes.
const ROOM: usize = 8 << 20;

/// The program is to find zero in `errno` when it begins, whatever failed here.
#[ctor::ctor(unsafe)]
fn load() {
    // SAFETY: libc gives the address of this thread's variable.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let before = unsafe { *errno };
    begin();
    // SAFETY: as above.
    unsafe { *errno = before };
}

fn begin() {
    if !allowed() || is_linked_in() || !own_libc::find_libc() || !raw::has_room(ROOM) {
        return;
    }
    stderr::note();
    match config::init() {
        Ok(config) if config.disable => {}
        Ok(config) => {
            if !config.children {
                program::leave_children_alone();
            }
            let names = program::file_names();
            let names: Vec<_> = names.iter().map(OsString::as_os_str).collect();
            if config.chooses(&names) {
                arm(config);
            }
        }
        Err(error) => complain(&error),
    }
}

/// The one line of a configuration that cannot be meant; the program runs as it is.
pub(crate) fn complain(error: &dyn Display) {
    stderr::write(
        format!("gevent-shim: {error}\n").as_bytes(),
        stderr::PATIENCE,
    );
}

/// Patches the sites of thread creation. False: it can't be, and the program runs bare.
pub(crate) fn arm(config: &Config) -> bool {
    static PREPARED: OnceLock<bool> = OnceLock::new();
    static ARMED: Mutex<bool> = Mutex::new(false);
    if !*PREPARED.get_or_init(|| prepare(config)) {
        return false;
    }
    // Tried again if other threads could not be stopped.
    let mut armed = ARMED.lock().unwrap_or_else(PoisonError::into_inner);
    *armed = *armed || arm_sites();
    *armed
}

/// What comes before patching. False: nothing is to be patched.
fn prepare(config: &Config) -> bool {
    if !cfg!(feature = "events") && wants_events(config) {
        complain(&"this library was built without events");
        return false;
    }
    if wants_events(config) {
        stderr::keep();
    }
    if let Some(filter) = &config.events.filter
        && let Err(error) = patch_events::install(
            filter,
            &config.events.target,
            config.events.format,
            patch_events::write_directly,
        )
    {
        complain(&error);
        return false;
    }
    for path in &config.plugins {
        if let Err(error) = plugin::load(path) {
            complain(&error);
            return false;
        }
    }
    if !own_libc::find_unwinder() {
        events::NotPatched {
            reason: "libgcc_s.so.1, with which threads are unwound, cannot be loaded",
        }
        .emit();
        return false;
    }
    trace::init();
    trace::sample::set_namer(backtrace::name);
    let selection = config.selection;
    let groups = selection.to_string();
    events::WillPatchAll { groups: &groups }.emit();
    if let Err(reason) = ask_all(&groups) {
        events::Vetoed {
            what: "the program",
            reason: &reason,
        }
        .emit();
        return false;
    }
    if selection.groups().is_empty() {
        events::NotPatched {
            reason: "no group is asked for",
        }
        .emit();
        return false;
    }
    if !selection.groups().contains(Group::Thread) {
        // Without guests there is nobody to park.
        events::ThreadGroupOff { groups: &groups }.emit();
        return false;
    }
    if let Some(reason) = program::kind_not_served().or_else(program::checked_by) {
        events::NotPatched { reason }.emit();
        return false;
    }
    warn_of_contradictions(selection.groups());
    if let Some(size) = config.stack_size {
        set_default_stack(size);
    }
    if let Some(name) = program::own_name() {
        preload::init(name.as_bytes());
    }
    symbols::init();
    lookups::init();
    wanted::set_patcher(Patcher {
        patch_all: arm::patch_all,
        unpatch_all: arm::unpatch_all,
        on_exec_mapping: arm::on_exec_mapping,
        outside_libc: others::outside_libc,
    });
    true
}

fn arm_sites() -> bool {
    let begin = Instant::now();
    match arm::arm_thread_creation() {
        Ok(sites) => {
            tracing::debug!(
                target: target::PATCH,
                "patched {sites} sites of thread creation and of new programs in {:.1?}",
                begin.elapsed()
            );
            events::Armed {}.emit();
            true
        }
        Err(error) => {
            let reason = error.to_string();
            if error.is_of_text() && arm::catch_everything() {
                events::CaughtInstead { reason: &reason }.emit();
                return true;
            }
            events::NotPatched { reason: &reason }.emit();
            false
        }
    }
}

/// Whether anything is asked for that is made of events.
fn wants_events(config: &Config) -> bool {
    config.events.filter.is_some()
        || !config.plugins.is_empty()
        || config.summary
        || config.control.is_some()
        || config.dump_signal.is_some()
}

/// Groups that need another one to be of use, and what follows without it.
const PARTNERS: [(Group, Group, &str); 4] = [
    (
        Group::Socket,
        Group::Select,
        "a thread that waits for several sockets stops the others",
    ),
    (
        Group::Select,
        Group::Socket,
        "a socket that is not ready stops every thread",
    ),
    (
        Group::Subprocess,
        Group::Os,
        "reading what a child writes stops every thread",
    ),
    (
        Group::Queue,
        Group::Time,
        "a wait with a time limit stops every thread",
    ),
];

fn warn_of_contradictions(groups: GroupSet) {
    for (group, without, consequence) in PARTNERS {
        if groups.contains(group) && !groups.contains(without) {
            events::GroupsContradict {
                group: group.name(),
                without: without.name(),
                consequence,
            }
            .emit();
        }
    }
}

/// Makes `size` bytes what a thread gets whose attributes set no stack size.
fn set_default_stack(size: usize) {
    let mut attributes = std::mem::MaybeUninit::<libc::pthread_attr_t>::uninit();
    // SAFETY: initialised before it is used; the functions copy what they keep.
    unsafe {
        if libc::pthread_attr_init(attributes.as_mut_ptr()) != 0 {
            return;
        }
        if pthread_getattr_default_np(attributes.as_mut_ptr()) == 0
            && libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), size) == 0
        {
            pthread_setattr_default_np(attributes.as_ptr());
        }
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
    }
}

unsafe extern "C" {
    /// pthread_getattr_default_np(3), glibc 2.18.
    fn pthread_getattr_default_np(attributes: *mut libc::pthread_attr_t) -> i32;
    /// pthread_setattr_default_np(3), glibc 2.18.
    fn pthread_setattr_default_np(attributes: *const libc::pthread_attr_t) -> i32;
}
