//! From the process's mappings to patched objects, in the two steps of loading:
//! thread creation first, everything when the first thread is made; and objects
//! that are opened later.
#![allow(unsafe_code)]

use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use gevent_runtime::arch;
use gevent_runtime::dispatch;
use gevent_runtime::probes;
use gevent_runtime::wanted::PatchOutcome;
use patch_events::{Address, events, target};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use tracing::Level;

use crate::arch::may_be_interrupted;
use crate::cache::{self, Cache};
use crate::engine::{Engine, InstallError, Installed, Target, relocate};
use crate::functions::Functions;
use crate::image::{Image, ImageError, Layout};
use crate::maps::{self, Kind, Mapping, Object};
use crate::others::{self, Moves, NotStopped};
use crate::patch::{self, PAGE, WriteError};
use crate::plan::{Plan, Window, plan};
use crate::scan::{Refusal, Wanted, candidates, scan};

/// Why an object, or everything, stays unpatched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArmError {
    /// The list of mappings can't be read.
    #[error("the process's mappings can't be read: {0}")]
    Maps(Errno),
    /// The number of the process's threads can't be read.
    #[error("the number of the process's threads can't be read")]
    Threads,
    /// The process has that many kernel threads, others of which may run in the text.
    #[error("the process has other threads already")]
    OtherThreads(usize),
    /// No libc among the mappings.
    #[error("no libc is mapped")]
    NoLibc,
    /// Not the layout of an ELF object.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The mappings are not those its headers ask for.
    #[error("its text is not mapped as its headers say, readable and executable")]
    Unmapped,
    /// A call that dispatch must see would go past it.
    #[error("the site at {0:#x} {1}")]
    Site(u64, Refusal),
    /// No site found where there must be some.
    #[error("it has no sites")]
    NoSites,
    /// The engine could not patch.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// Its file can't be read.
    #[error("its file can't be read: {0}")]
    File(Errno),
    /// The process has other threads, which can't be stopped.
    #[error(transparent)]
    NotStopped(#[from] NotStopped),
}

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
}

static STATE: Mutex<State> = Mutex::new(State {
    installed: Vec::new(),
    given_up: false,
    late: false,
    staged: Vec::new(),
    not_stopped: None,
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

/// Patches libc's sites of thread creation.
///
/// # Errors
/// [`ArmError`]; nothing is patched then.
pub fn arm_thread_creation() -> Result<u32, ArmError> {
    let mappings = maps::read().map_err(ArmError::Maps)?;
    let mut state = state();
    let mut sites = 0;
    let objects = maps::objects(&mappings);
    for object in objects.iter().filter(|o| o.kind == Kind::Libc) {
        let loaded = Loaded::new(object)?;
        let live = if state.late {
            live_addresses(&mappings)
        } else {
            Vec::new()
        };
        let plan = loaded.plan(Wanted::ThreadCreation, &live, Cache::open().as_ref());
        if let Some(&(addr, refusal)) = plan.missed().next() {
            return Err(ArmError::Site(addr.wrapping_add(loaded.bias), refusal));
        }
        sites += install(&mut state, &loaded, &plan, &mappings)?;
    }
    if sites == 0 {
        return Err(ArmError::NoSites);
    }
    commit(&mut state, &mappings)?;
    Ok(sites)
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
    match patch_everything(&mut state, &mut outcome) {
        Ok(()) => {
            outcome.libc_complete = true;
            outcome.sites = state.installed.iter().map(|i| i.undo.len() as u32).sum();
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
            give_up(&mut state);
            if let ArmError::OtherThreads(threads) = error {
                events::LoadedLate {
                    threads,
                    names: &thread_names(None),
                }
                .emit();
            }
            events::NotPatched {
                reason: &error.to_string(),
            }
            .emit();
            outcome = PatchOutcome::default();
        }
    }
    outcome
}

fn patch_everything(state: &mut State, outcome: &mut PatchOutcome) -> Result<(), ArmError> {
    match threads() {
        Some(1) => {}
        Some(_) if state.late => {}
        Some(threads) => return Err(ArmError::OtherThreads(threads)),
        None => return Err(ArmError::Threads),
    }
    let mappings = maps::read().map_err(ArmError::Maps)?;
    let live = live_addresses(&mappings);
    let cache = Cache::open();
    let mut objects = maps::objects(&mappings);
    objects.retain(|o| !o.contains(patch_all as *const () as u64));
    // The objects that decide whether anything is patched come first.
    objects.sort_by_key(|o| o.kind == Kind::Other);
    if !objects.iter().any(|o| o.kind == Kind::Libc) {
        return Err(ArmError::NoLibc);
    }
    let mut told_later = Vec::new();
    for object in &objects {
        let done = Loaded::new(object).and_then(|loaded| {
            let plan = loaded.plan(Wanted::All, &live, cache.as_ref());
            let missed = plan.missed().count() as u32;
            let told = Told::new(&object.path, &loaded, plan);
            told.refusals();
            if object.kind != Kind::Other
                && let Some(&(addr, refusal)) = told.plan.missed().next()
            {
                return Err(ArmError::Site(addr.wrapping_add(loaded.bias), refusal));
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
    commit(state, &mappings)?;
    for (told, sites) in told_later {
        told.end(sites);
    }
    Ok(())
}

/// Gives stubs up that no jump leads to.
fn discard(state: &mut State) {
    for installed in std::mem::take(&mut state.staged) {
        // SAFETY: no jump leads there.
        unsafe { relocate::forget(installed) };
    }
}

/// Takes every patch back, unless another thread may be in one.
fn give_up(state: &mut State) {
    state.given_up = true;
    if state.late {
        // Sites of thread creation, which lead to the kernel.
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
pub fn on_exec_mapping(addr: usize, len: usize) {
    let mapped = addr as u64..(addr + len) as u64;
    let mut state = state();
    if state.given_up {
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
    if let Err(error) = patch_mapping(&mut state, mapped) {
        tracing::info!(
            target: target::PATCH,
            "left the object opened at {addr:#x} unpatched: {error}"
        );
    }
}

fn patch_mapping(state: &mut State, mapped: Range<u64>) -> Result<(), ArmError> {
    let mappings = maps::read().map_err(ArmError::Maps)?;
    let mapping = mappings
        .iter()
        .find(|m| m.start <= mapped.start && mapped.start < m.end && m.exec && m.file.1 != 0)
        .ok_or(ArmError::Unmapped)?;
    let file = File::map(&mapping.path).map_err(ArmError::File)?;
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
    let plan = loaded.plan(Wanted::All, &[], Cache::open().as_ref());
    // Only this segment is mapped yet.
    let here = Plan {
        windows: plan
            .windows
            .into_iter()
            .filter(|w| (load.addr..load.addr + load.size).contains(&w.start))
            .collect(),
        refused: plan.refused,
    };
    let told = Told::new(&mapping.path, &loaded, here);
    told.refusals();
    told.begin();
    // Nobody has run there.
    let late = std::mem::take(&mut state.late);
    let sites = install(state, &loaded, &told.plan, &mappings);
    state.late = late;
    told.end(sites?);
    Ok(())
}

/// What is told of one object.
struct Told {
    path: String,
    bias: u64,
    plan: Plan,
    /// The names of its functions, if anybody is to be told them.
    functions: Functions,
}

impl Told {
    fn new(path: &Path, loaded: &Loaded<'_>, plan: Plan) -> Told {
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
        }
    }

    fn symbol(&self, site: u64) -> Option<&str> {
        self.functions.at(site).map(|(_, name)| name)
    }

    fn refusals(&self) {
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

    fn begin(&self) {
        if !self.plan.windows.is_empty() {
            events::WillPatchObject {
                object: &self.path,
                sites: self.plan.windows.len(),
            }
            .emit();
        }
    }

    /// That many sites now lead to us.
    fn end(&self, sites: u32) {
        let sites = sites as usize;
        for window in self.plan.windows.iter().take(sites) {
            let address = window.site.wrapping_add(self.bias);
            probes::patch(address);
            events::DidPatchSite::emit_with(|| events::DidPatchSite {
                object: &self.path,
                address: Address(address),
                symbol: self.symbol(window.site),
                mechanism: "jump to a stub",
            });
        }
        let missed = self.plan.missed().count();
        if missed > 0 {
            events::SitesRefused {
                object: &self.path,
                count: missed,
            }
            .emit();
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

/// An object that is loaded, as bytes.
struct Loaded<'a> {
    kind: Kind,
    bias: u64,
    image: Image<'a>,
}

impl Loaded<'_> {
    /// Of an object whose mappings are complete.
    fn new(object: &Object) -> Result<Self, ArmError> {
        let first = &object.mappings[0];
        if !first.read {
            return Err(ArmError::Unmapped);
        }
        // SAFETY: the mapping is readable, and is not unmapped while we look:
        // this is the only thread, or `be_late`'s contract.
        let header = unsafe { memory(first.start, first.end - first.start) };
        let layout = Layout::parse(header)?;
        let base = layout
            .loads
            .iter()
            .find(|l| l.offset & !(PAGE - 1) == 0)
            .ok_or(ArmError::Unmapped)?;
        let bias = first.start.wrapping_sub(base.addr & !(PAGE - 1));
        let mut parts: Vec<&[u8]> = Vec::new();
        for load in &layout.loads {
            let start = load.addr.wrapping_add(bias);
            let end = start.wrapping_add(load.size);
            let fits = |m: &Mapping| m.read && !m.write && m.exec == load.exec;
            let covered = object
                .mappings
                .iter()
                .any(|m| fits(m) && m.start <= start && end <= m.end);
            if load.exec && !covered {
                return Err(ArmError::Unmapped);
            }
            parts.push(if covered {
                // SAFETY: as above, and nothing writes there: our own edits come
                // after the last use of the plan's input.
                unsafe { memory(start, load.size) }
            } else {
                &[]
            });
        }
        let image = Image::new(&layout, &parts)?;
        Ok(Self {
            kind: object.kind,
            bias,
            image,
        })
    }

    fn plan(&self, wanted: Wanted, live: &[u64], cache: Option<&Cache>) -> Plan {
        let found = candidates(&self.image, wanted);
        if found.is_empty() {
            return Plan::default();
        }
        let bytes = |start, end| self.image.get(start, end - start);
        let cache = cache.zip(self.image.build_id);
        let kept = cache
            .and_then(|(cache, id)| cache.load(id, wanted))
            .filter(|plan| cache::fits(plan, &found, |start, len| self.image.get(start, len)));
        let general = kept.unwrap_or_else(|| {
            let general = plan(&scan(&self.image, &found, &[]), bytes);
            if let Some((cache, id)) = cache
                && let Err(error) = cache.store(id, wanted, &general)
            {
                tracing::debug!(target: target::PATCH, "a plan could not be kept: {error}");
            }
            general
        });
        let live: Vec<u64> = live.iter().map(|a| a.wrapping_sub(self.bias)).collect();
        let hit = |w: &Window| live.iter().any(|&a| w.start < a && a < w.end);
        if general.windows.iter().any(hit) {
            return plan(&scan(&self.image, &found, &live), bytes);
        }
        general
    }
}

/// # Safety
/// The bytes must be mapped, readable and unchanged for as long as the slice is
/// used.
unsafe fn memory<'a>(start: u64, len: u64) -> &'a [u8] {
    // SAFETY: the caller's contract.
    unsafe {
        std::slice::from_raw_parts(
            std::ptr::with_exposed_provenance(start as usize),
            len as usize,
        )
    }
}

/// Bytes of a stack that are looked at; a stack within a larger mapping ends
/// somewhere before.
const STACK_MAX: u64 = 64 << 20;

/// Where contexts on the calling thread's stack go on that a signal has interrupted: the
/// only addresses that may lie inside a window, since none has a call in it. Scanned from
/// here to the end of the mapping that holds the stack, or as far as a stack reaches.
#[inline(never)]
fn live_addresses(mappings: &[Mapping]) -> Vec<u64> {
    let here = std::hint::black_box([0u64; 1]);
    let from = (here.as_ptr() as u64).next_multiple_of(8);
    let texts: Vec<_> = mappings
        .iter()
        .filter(|m| m.exec)
        .map(|m| m.start..m.end)
        .collect();
    let Some(stack) = mappings.iter().find(|m| m.start <= from && from < m.end) else {
        return Vec::new();
    };
    (from..stack.end.min(from + STACK_MAX).saturating_sub(16))
        .step_by(8)
        .map(|at| {
            let words: *const [u64; 3] = std::ptr::with_exposed_provenance(at as usize);
            // SAFETY: within the mapping of this thread's own stack, above its
            // stack pointer.
            unsafe { words.read_volatile() }
        })
        .filter(|words| texts.iter().any(|t| t.contains(&words[0])))
        .filter(|&words| may_be_interrupted(words))
        .map(|[ip, ..]| ip)
        .collect()
}

/// Number of kernel threads of this process.
pub(crate) fn threads() -> Option<usize> {
    let status = maps::read_file(Path::new("/proc/self/status")).ok()?;
    let line = status
        .split(|&b| b == b'\n')
        .find_map(|l| l.strip_prefix(b"Threads:"))?;
    std::str::from_utf8(line).ok()?.trim().parse().ok()
}

/// Names of the kernel threads of this process, as a list, without that of one.
fn thread_names(but: Option<&str>) -> String {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else {
        return String::from("their names can't be read");
    };
    let other = |task: &std::fs::DirEntry| but.is_none_or(|but| task.file_name() != but);
    let name = |task: std::fs::DirEntry| maps::read_file(&task.path().join("comm")).ok();
    let names: Vec<_> = tasks
        .flatten()
        .filter(other)
        .filter_map(name)
        .map(|name| String::from_utf8_lossy(&name).trim_end().to_owned())
        .collect();
    names.join(", ")
}

/// A file mapped for reading.
struct File {
    start: *mut std::ffi::c_void,
    len: usize,
}

impl File {
    fn map(path: &Path) -> Result<Self, Errno> {
        let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let len = rustix::fs::fstat(&fd)?.st_size as usize;
        if len == 0 {
            return Err(Errno::NOEXEC);
        }
        // SAFETY: a new private mapping of our own.
        let start = unsafe {
            mmap(
                std::ptr::null_mut(),
                len,
                ProtFlags::READ,
                MapFlags::PRIVATE,
                &fd,
                0,
            )?
        };
        Ok(Self { start, len })
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: mapped until drop. The file may change under a private
        // mapping, as it may under the dynamic linker's; what is written is
        // compared with memory first.
        unsafe { std::slice::from_raw_parts(self.start.cast(), self.len) }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: mapped by `map`; the slice borrows `self`.
        let _ = unsafe { munmap(self.start, self.len) };
    }
}

impl From<WriteError> for ArmError {
    fn from(error: WriteError) -> Self {
        Self::Install(error.into())
    }
}
