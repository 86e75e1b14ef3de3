//! From the process's mappings to patched objects, in the two steps of loading:
//! thread creation first, everything when the first thread is made; and objects
//! that are opened later.
#![allow(unsafe_code)]

mod clean;
mod error;
mod file;
mod go;
mod live;
mod loaded;
mod probe;
mod threads;
mod told;

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use gevent_runtime::arch;
use gevent_runtime::catch;
use gevent_runtime::dispatch;
use gevent_runtime::executable;
use gevent_runtime::foreign;
use gevent_runtime::reactor::fds::{self, Doubt};
use gevent_runtime::wanted::{ExecMapping, PatchOutcome};
use patch_events::{events, target};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;

pub use error::ArmError;
use file::File;
use live::live_addresses;
use loaded::Loaded;
pub use probe::{Means, means};
use threads::thread_names;
pub use threads::threads;
use threads::{Others, others, others_at_load};
use told::Told;

use crate::cache::Cache;
use crate::engine::{Engine, Installed, Target, relocate};
use crate::image::{Image, Layout};
use crate::maps::{self, Kind, Mapping, Object};
use crate::others::{self, Moves, NotStopped};
use crate::own_libc;
use crate::patch::{self, PAGE};
use crate::plan::{Plan, Window};
use crate::scan::{Wanted, makes_threads};
use crate::thread_creation;

/// What is patched.
///
/// Synchronization: behind one lock. It is taken in the constructor, in the
/// dispatch of the first thread creation and in host mode, so no guest holds it
/// while it is parked.
#[derive(Debug, Default)]
struct State {
    installed: Vec<Installed>,
    /// Set when libc could not be patched: nothing is tried again.
    given_up: bool,
    /// Other threads may be there, and are stopped while text is written.
    late: bool,
    /// Stubs that no jump leads to yet.
    staged: Vec<Installed>,
    /// Why threads could not be stopped.
    not_stopped: Option<NotStopped>,
    /// Calls are caught instead: nothing is patched.
    caught: bool,
}

static STATE: Mutex<State> = Mutex::new(State {
    installed: Vec::new(),
    given_up: false,
    late: false,
    staged: Vec::new(),
    not_stopped: None,
    caught: false,
});

/// Patches beside other threads from now on: they are stopped meanwhile, and the caller's
/// starts the hub. The names of the others. No thread may unload an object until everything
/// is patched.
pub fn be_late() -> String {
    let mut state = state();
    (state.late, state.not_stopped) = (true, None);
    drop(state);
    dispatch::start_here_only();
    let own = rustix::thread::gettid().as_raw_nonzero().get().to_string();
    thread_names(Some(&own))
}

/// Why other threads could not be stopped, if that was tried in vain.
pub fn why_not_stopped() -> Option<NotStopped> {
    state().not_stopped
}

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(not(feature = "frida-gum"))]
static ENGINE: relocate::Relocate = relocate::Relocate;
#[cfg(feature = "frida-gum")]
static ENGINE: crate::engine::frida_gum::FridaGum = crate::engine::frida_gum::FridaGum;

/// Gives every object the code again that it had before it was patched. False: not all have it.
/// While the caller is the process's only thread, on its way out of a stub.
pub fn unpatch_all() -> bool {
    let mut whole = true;
    for installed in state().installed.drain(..).rev() {
        // SAFETY: what the objects had where the caller alone runs; the stubs stay, for its way
        // out.
        let written = unsafe { patch::write(installed.text.clone(), &installed.undo) };
        whole &= written.is_ok();
    }
    whole
}

/// Patches libc's sites of thread creation, and those of the other calls that are looked at
/// before there is a thread, as far as these can be.
///
/// # Errors
/// [`ArmError`]; nothing is patched then.
pub fn arm_thread_creation() -> Result<u32, ArmError> {
    let mappings = maps::known().map_err(ArmError::Maps)?.mappings;
    let mut state = state();
    // Another library's constructor may have made a thread, which is then on its way out of
    // just these sites.
    alone(&state, others_at_load()).inspect_err(tell_of_threads)?;
    let mut sites = 0;
    let objects = maps::objects(&mappings);
    for object in objects.iter().filter(|o| o.kind == Kind::Libc) {
        let loaded = Loaded::new(object)?;
        let live = if state.late {
            live_addresses(&mappings)
        } else {
            Vec::new()
        };
        let plan = loaded.plan(Wanted::AtLoad, &live, Cache::open().as_ref(), &[]);
        let mut missed = plan.missed();
        if let Some(&(addr, refusal)) = missed.find(|(addr, _)| makes_threads(&loaded.image, *addr))
        {
            return Err(ArmError::Site(addr.wrapping_add(loaded.bias), refusal));
        }
        sites += install(&mut state, &loaded, &plan, &mappings)?;
    }
    if sites == 0 {
        return Err(ArmError::NoSites);
    }
    commit(&mut state, &mappings)?;
    for installed in &state.installed {
        clean::give_back(&installed.text);
    }
    Ok(sites)
}

/// Nothing is to be patched: calls are caught, from the first thread on. False if they can't
/// be, because of the kernel, or because other threads have begun.
pub fn catch_everything() -> bool {
    let mut state = state();
    if state.late || !catch::is_available() || !thread_creation::watch() {
        return false;
    }
    state.caught = true;
    let listed = maps::known().map(|listed| listed.mappings);
    catch_all_of(&maps::objects(&listed.unwrap_or_default()));
    true
}

/// Calls that sites do not lead to us are to be caught.
fn catch_all_of(objects: &[Object]) {
    let of_libc = objects.iter().filter(|o| o.kind != Kind::Other);
    let texts = of_libc.flat_map(|o| o.mappings.iter().filter(|m| m.exec));
    catch::everything(texts.map(|m| m.start..m.end));
}

/// Writes the jumps of what is staged, all or none, while other threads stand still.
fn commit(state: &mut State, mappings: &[Mapping]) -> Result<(), ArmError> {
    let staged = std::mem::take(&mut state.staged);
    if staged.is_empty() {
        return Ok(());
    }
    let moves = Moves::new(
        staged.iter().flat_map(Installed::windows).collect(),
        staged
            .iter()
            .flat_map(|i| i.moved.iter().copied())
            .collect(),
    );
    let edits: Vec<_> = staged.iter().map(Installed::edits).collect();
    let written = others::stopped(&moves, mappings, || {
        for (n, (installed, edits)) in staged.iter().zip(&edits).enumerate() {
            // SAFETY: other threads stand still, and go on in the stubs where they were in
            // a window; the caller's own addresses are boundaries.
            let outcome = unsafe { patch::write(installed.text.clone(), edits) };
            if let Err(error) = outcome {
                for written in &staged[..n] {
                    // SAFETY: as above. What could be written can be written back.
                    let _ = unsafe { patch::write(written.text.clone(), &written.undo) };
                }
                return Err(error);
            }
        }
        Ok(())
    });
    match written.map_err(ArmError::from).and_then(|r| Ok(r?)) {
        Ok(()) => {
            state.installed.extend(staged);
            Ok(())
        }
        Err(error) => {
            if let ArmError::NotStopped(reason) = error {
                state.not_stopped = Some(reason);
            }
            for installed in staged {
                // SAFETY: no jump leads there.
                unsafe { relocate::forget(installed) };
            }
            Err(error)
        }
    }
}

/// Patches every loaded object. The service behind
/// [`gevent_runtime::wanted::patch_all`].
pub fn patch_all() -> PatchOutcome {
    let begin = Instant::now();
    let mut state = state();
    let mut outcome = PatchOutcome::default();
    if state.given_up {
        return outcome;
    }
    let done = if state.caught {
        alone(&state, others())
    } else {
        patch_everything(&mut state, &mut outcome)
    };
    if state.caught && done.is_ok() {
        outcome.libc_complete = true;
        return outcome;
    }
    match done {
        Ok(()) => {
            outcome.libc_complete = true;
            outcome.sites = state.installed.iter().map(|i| i.sites as u32).sum();
            events::DidPatchAll {
                objects: state.installed.len(),
                sites: outcome.sites as usize,
                refused: outcome.refused as usize,
                duration: begin.elapsed(),
            }
            .emit();
        }
        Err(error) => {
            discard(&mut state);
            give_up(&mut state, &error);
            tell_of_threads(&error);
            events::NotPatched {
                reason: &error.to_string(),
            }
            .emit();
            outcome = PatchOutcome::default();
        }
    }
    outcome
}

/// The event about threads that were there before, if that is the reason.
fn tell_of_threads(error: &ArmError) {
    if let &ArmError::OtherThreads(Some(threads)) = error {
        events::LoadedLate {
            threads,
            names: &thread_names(None),
        }
        .emit();
    }
}

/// Whether no other thread is in the way.
fn alone(state: &State, others: Others) -> Result<(), ArmError> {
    match others {
        Others::None => Ok(()),
        Others::Some(_) if state.late => Ok(()),
        Others::Some(threads) => Err(ArmError::OtherThreads(threads)),
        Others::Unknown => Err(ArmError::Threads),
    }
}

fn patch_everything(state: &mut State, outcome: &mut PatchOutcome) -> Result<(), ArmError> {
    alone(state, others())?;
    // Before glibc 2.34, libpthread may have been loaded since.
    own_libc::find_libc();
    let maps::Listed { mappings, whole } = maps::known().map_err(ArmError::Maps)?;
    let live = live_addresses(&mappings);
    let cache = Cache::open();
    let mut objects = maps::objects(&mappings);
    objects.retain(|o| !o.contains(patch_all as *const () as u64));
    // The objects that decide whether anything is patched come first.
    objects.sort_by_key(|o| o.kind == Kind::Other);
    if !objects.iter().any(|o| o.kind == Kind::Libc) {
        return Err(ArmError::NoLibc);
    }
    if let Some(object) = objects.iter().find(|o| go::is_in(o)) {
        return Err(ArmError::Go(object.path.to_string_lossy().into_owned()));
    }
    // Kept plans are named by the code as it was before thread creation was patched.
    let undo: Vec<_> = state
        .installed
        .iter()
        .flat_map(|i| i.undo.clone())
        .collect();
    let mut told_later = Vec::new();
    // A call that dispatch does not see may wait in the kernel for another guest.
    let can_catch = !state.late && catch::is_available();
    let mut to_catch = false;
    for object in &objects {
        let done = Loaded::new(object).and_then(|loaded| {
            let plan = loaded.plan(Wanted::All, &live, cache.as_ref(), &undo);
            let missed = plan.missed().count() as u32;
            let decides = object.kind != Kind::Other;
            let told = Told::new(&object.path, &loaded, plan, decides);
            told.refusals();
            if decides && let Some(&(addr, refusal)) = told.plan.missed().next() {
                if !can_catch {
                    return Err(ArmError::Site(addr.wrapping_add(loaded.bias), refusal));
                }
                to_catch = true;
            }
            told.begin();
            let sites = install(state, &loaded, &told.plan, &mappings)?;
            if sites == 0 && object.kind == Kind::Libc {
                return Err(ArmError::NoSites);
            }
            if state.late {
                told_later.push((told, sites));
            } else {
                told.end(sites);
            }
            Ok(missed)
        });
        match done {
            Ok(missed) => outcome.refused += missed,
            Err(error) if object.kind != Kind::Other => return Err(error),
            Err(error) => {
                tracing::info!(target: target::PATCH, "left {} unpatched: {error}", object.path.display());
            }
        }
    }
    if outcome.refused > 0 {
        fds::doubt(Doubt::Possible);
    }
    if whole {
        doubt_descriptors(state, &mappings);
    } else {
        fds::doubt(Doubt::Likely);
    }
    commit(state, &mappings)?;
    for (told, sites) in told_later {
        told.end(sites);
    }
    if to_catch {
        catch_all_of(&objects);
    }
    Ok(())
}

/// Looks for what may close descriptors without a site: code that the program has made, and
/// its io_urings.
fn doubt_descriptors(state: &State, mappings: &[Mapping]) {
    let of_ours = |m: &Mapping| {
        let mut all = state.installed.iter();
        all.any(|i| i.region.addr() < m.end && m.start < i.region.addr() + i.region.len())
    };
    let is_made = |m: &Mapping| m.exec && m.path.as_os_str().is_empty() && !of_ours(m);
    if mappings
        .iter()
        .any(|m| m.path.ends_with("anon_inode:[io_uring]"))
    {
        fds::doubt(Doubt::Likely);
    } else if mappings.iter().any(is_made) {
        fds::doubt(Doubt::Possible);
    }
}

/// Gives stubs up that no jump leads to.
fn discard(state: &mut State) {
    for installed in std::mem::take(&mut state.staged) {
        // SAFETY: no jump leads there.
        unsafe { relocate::forget(installed) };
    }
}

/// Takes every patch back, unless another thread may be in one.
fn give_up(state: &mut State, error: &ArmError) {
    state.given_up = true;
    let others = matches!(error, ArmError::OtherThreads(_) | ArmError::Threads);
    if state.late || others {
        // Sites of thread creation and their like, which lead to the kernel.
        return;
    }
    state.installed.retain(|installed| {
        // SAFETY: the same single thread as in `patch_everything`, which is in a
        // stub, and that stays; windows begin at boundaries, so it returns to
        // whole instructions.
        let removed = unsafe { ENGINE.remove(installed) };
        if let Err(error) = &removed {
            tracing::warn!(target: target::PATCH, "a patch could not be taken back: {error}");
        }
        removed.is_err()
    });
}

/// The address behind the site whose stub's `syscall` returns to `resume`.
pub fn site_of(resume: u64) -> Option<u64> {
    let state = state();
    let mut all = state.installed.iter();
    all.find_map(|installed| relocate::site_of(installed, resume))
}

/// Patches an object that the dynamic linker maps right now. The service behind
/// [`gevent_runtime::wanted::on_exec_mapping`].
pub fn on_exec_mapping(made: &ExecMapping) {
    let _room = gevent_runtime::private::room();
    let mapped = made.addr as u64..(made.addr + made.len) as u64;
    let mut state = state();
    if state.given_up || state.caught {
        return;
    }
    // What was patched there before is gone, and so is every use of its stubs.
    let (gone, kept) = std::mem::take(&mut state.installed)
        .into_iter()
        .partition(|i| i.text.start < mapped.end && mapped.start < i.text.end);
    state.installed = kept;
    for installed in gone {
        // SAFETY: its text has been replaced by another mapping.
        unsafe { relocate::forget(installed) };
    }
    if let Err(error) = patch_mapping(&mut state, made, mapped.clone()) {
        fds::doubt(Doubt::Possible);
        tracing::info!(
            target: target::PATCH,
            "left the object opened at {:#x} unpatched: {error}", mapped.start
        );
    }
}

/// What is known of the mapping, and of others: without `/proc` what the call says that made it,
/// since the dynamic linker, whose lock its caller has, cannot be asked.
fn mappings_with(made: &ExecMapping, mapped: &Range<u64>) -> (Vec<Mapping>, bool) {
    if let Ok(mappings) = maps::read()
        && !mappings.is_empty()
    {
        return (mappings, true);
    }
    let alone = Mapping {
        start: mapped.start,
        end: mapped.end.next_multiple_of(PAGE),
        read: made.access & libc::PROT_READ != 0,
        write: made.access & libc::PROT_WRITE != 0,
        exec: made.access & libc::PROT_EXEC != 0,
        offset: made.offset,
        file: (0, 1),
        path: "an object of an unknown name".into(),
    };
    (vec![alone], false)
}

fn patch_mapping(
    state: &mut State,
    made: &ExecMapping,
    mapped: Range<u64>,
) -> Result<(), ArmError> {
    let (mappings, are_kernels) = mappings_with(made, &mapped);
    let mapping = mappings
        .iter()
        .find(|m| m.start <= mapped.start && mapped.start < m.end && m.exec && m.file.1 != 0)
        .ok_or(ArmError::Unmapped)?;
    let file = match are_kernels {
        true => File::map(&mapping.path),
        // SAFETY: whose the descriptor is waits for this.
        false if made.fd >= 0 => File::map_open(unsafe { BorrowedFd::borrow_raw(made.fd) }),
        false => Err(Errno::BADF),
    };
    let file = file.map_err(ArmError::File)?;
    if executable::holds_go(&file.bytes()) {
        // Its code waits in the kernel for what its threads do.
        foreign::objects::note(mapped.clone());
        let object = mapping.path.to_string_lossy().into_owned();
        events::ThreadsStayKernels { object: &object }.emit();
        return Err(ArmError::Go(object));
    }
    let layout = Layout::parse(file.bytes())?;
    let offset = mapping.offset + (mapped.start - mapping.start);
    let load = layout
        .loads
        .iter()
        .find(|l| l.exec && l.offset & !(PAGE - 1) == offset)
        .ok_or(ArmError::Unmapped)?;
    let parts: Option<Vec<_>> = layout
        .loads
        .iter()
        .map(|l| {
            file.bytes()
                .get(l.offset as usize..(l.offset + l.size) as usize)
        })
        .collect();
    let image = Image::new(&layout, &parts.ok_or(ArmError::Unmapped)?)?;
    let loaded = Loaded {
        kind: Kind::Other,
        bias: mapped.start.wrapping_sub(load.addr & !(PAGE - 1)),
        image,
    };
    let plan = loaded.plan(Wanted::All, &[], Cache::open().as_ref(), &[]);
    if !plan.windows.is_empty() && !is_of(&file, mapping) {
        return Err(ArmError::Replaced);
    }
    // Only this segment is mapped yet.
    let here = Plan {
        windows: plan
            .windows
            .into_iter()
            .filter(|w| (load.addr..load.addr + load.size).contains(&w.start))
            .collect(),
        refused: plan.refused,
    };
    let told = Told::new(&mapping.path, &loaded, here, false);
    told.refusals();
    told.begin();
    // Nobody has run there.
    let late = std::mem::take(&mut state.late);
    let sites = install(state, &loaded, &told.plan, &mappings);
    state.late = late;
    told.end(sites?);
    Ok(())
}

/// Whether a file holds what is mapped: another may have come in its place. (Its number need
/// not be the one in the list of mappings, on a file system that is made of others.)
fn is_of(file: &File, mapping: &Mapping) -> bool {
    let len = (mapping.end - mapping.start) as usize;
    let rest = file.bytes().get(mapping.offset as usize..);
    let Some(rest) = rest.filter(|_| mapping.read) else {
        return false;
    };
    let expected = &rest[..rest.len().min(len)];
    let from = std::ptr::with_exposed_provenance::<u8>(mapping.start as usize);
    // SAFETY: just mapped, and as much as the file has; its maker waits.
    let there = unsafe { std::slice::from_raw_parts(from, expected.len()) };
    there == expected
}

/// Patches the windows of `plan`, one installation per executable segment.
fn install(
    state: &mut State,
    loaded: &Loaded<'_>,
    plan: &Plan,
    mappings: &[Mapping],
) -> Result<u32, ArmError> {
    let mut sites = 0;
    for text in loaded.image.texts() {
        let windows: Vec<Window> = plan
            .windows
            .iter()
            .filter(|w| (text.addr..text.end()).contains(&w.start))
            .cloned()
            .collect();
        if windows.is_empty() {
            continue;
        }
        let target = Target {
            bias: loaded.bias,
            text: text.addr.wrapping_add(loaded.bias)..text.end().wrapping_add(loaded.bias),
            entry: entry_of(loaded.kind),
        };
        sites += windows.len() as u32;
        if state.late {
            // SAFETY: the plan is of these bytes (the write compares them).
            let staged = unsafe { ENGINE.stage(&target, &windows, mappings)? };
            state.staged.push(staged);
            continue;
        }
        // SAFETY: the plan is of these bytes (the write compares them), and the
        // callers' conditions hold: one thread, whose return addresses and
        // live addresses are boundaries, or an object that has not run.
        let installed = unsafe { ENGINE.install(&target, &windows, mappings)? };
        state.installed.push(installed);
    }
    Ok(sites)
}

/// libc's own code is baseline x86-64; any other may hold wider registers, if
/// the CPU has them.
fn entry_of(kind: Kind) -> u64 {
    if kind == Kind::Other && arch::init_entry() {
        arch::entry_full as *const () as u64
    } else {
        arch::entry as *const () as u64
    }
}
