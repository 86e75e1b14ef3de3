//! Libraries that are told of events and may object: `GEVENT_SHIM_PLUGINS`.
//!
//! A plugin is loaded by the constructor of this library, before anything is patched, and
//! listens beside the others as a [`Subscriber`]; `include/gevent_plugin.h` says what it
//! may do. Never in a privileged program: the constructor stops before it comes here.
//!
//! # A plugin that is of no use
//! If one of them can't be loaded, nothing is patched, and one line says why: who names a
//! plugin may count on its objections.
//!
//! # A plugin that crashes
//! Its constructors and its init are first run in a child that shares nothing with this
//! process but what it had open, with the standard streams at `/dev/null`. Only when the
//! child has come through is the plugin loaded here. A handler in this process could leave
//! such a crash behind, but not the locks that were held there, the loader's among them.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fmt;
use std::io;
use std::mem::transmute;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use gevent_runtime::arch;
use gevent_runtime::config::settings::PLUGINS;
use gevent_runtime::raw;
use patch_events::{Event, Filter, InstallError, Subscriber, Value};

use crate::capi::plugin::{
    GEVENT_FIELD_SIGNED, GEVENT_FIELD_TEXT, GEVENT_FIELD_UNSIGNED, GEVENT_LEVEL_DEBUG,
    GEVENT_LEVEL_ERROR, GEVENT_LEVEL_INFO, GEVENT_LEVEL_TRACE, GEVENT_LEVEL_WARN,
    GEVENT_PLUGIN_ABI, gevent_plugin_event_t, gevent_plugin_field_t, gevent_plugin_item_t,
    gevent_plugin_t,
};

/// How long a plugin's init may take, in milliseconds.
const PATIENCE: i32 = 10_000;

/// What the plugin exports.
const ABI: &CStr = c"gevent_plugin_abi";
const INIT: &CStr = c"gevent_plugin_init";

type Init = unsafe extern "C" fn(*mut gevent_plugin_t) -> c_int;

/// A plugin that can't be loaded. Displays as one line that names the setting.
#[derive(Debug)]
pub struct PluginError {
    path: String,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    /// It could not be tried.
    Trial(io::Error),
    /// It ended the child in which it was tried, by a signal or with an exit status.
    Crashed(c_int),
    Exited(c_int),
    /// Its init had not returned after [`PATIENCE`].
    Hangs,
    /// What the dynamic linker says.
    Loader(String),
    /// It does not export what a plugin must.
    Symbol(&'static CStr),
    /// It was built for another interface.
    Abi(u32),
    /// Its init failed with that errno.
    Init(c_int),
    /// It asks for events that there are none of.
    Filter(String),
    /// Nobody can listen.
    Listen(InstallError),
}

impl fmt::Display for PluginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PLUGINS}: cannot use \"{}\": ", self.path)?;
        match &self.cause {
            Cause::Trial(error) => write!(f, "it cannot be tried: {error}"),
            Cause::Crashed(signal) => {
                write!(f, "it crashes when it is loaded, with signal {signal}")
            }
            Cause::Exited(status) => {
                write!(
                    f,
                    "it ends the program when it is loaded, with status {status}"
                )
            }
            Cause::Hangs => write!(f, "it is not loaded after {} s", PATIENCE / 1000),
            Cause::Loader(line) => f.write_str(line),
            Cause::Symbol(name) => write!(f, "it has no symbol {}", name.to_string_lossy()),
            Cause::Abi(abi) => write!(
                f,
                "it was built for interface {abi}, this library has {GEVENT_PLUGIN_ABI}"
            ),
            Cause::Init(errno) => {
                let error = io::Error::from_raw_os_error(errno.saturating_abs());
                write!(f, "its gevent_plugin_init failed: {error}")
            }
            Cause::Filter(text) => {
                write!(f, "its filter \"{text}\" names no events")
            }
            Cause::Listen(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for PluginError {}

/// Loads a plugin, which listens from now on. At start-up, with the process's only thread.
///
/// # Errors
/// [`PluginError`]; it does not listen then.
pub fn load(path: &Path) -> Result<(), PluginError> {
    let shown = path.as_os_str().as_bytes().escape_ascii().to_string();
    let failed = |cause| PluginError {
        path: shown.clone(),
        cause,
    };
    let name = CString::new(path.as_os_str().as_bytes())
        .map_err(|error| failed(Cause::Trial(error.into())))?;
    try_in_child(&name).map_err(failed)?;
    let (listener, filter) = open(&name).map_err(failed)?;
    patch_events::listen(&filter, Box::new(listener)).map_err(|error| failed(Cause::Listen(error)))
}

/// Loads the plugin and runs its init.
fn open(path: &CStr) -> Result<(Plugin, Filter), Cause> {
    let file_name = Path::new(std::ffi::OsStr::from_bytes(path.to_bytes())).file_name();
    let name = file_name.unwrap_or_default().to_string_lossy().into_owned();
    // SAFETY: a C string; running its constructors is what the user asks for. The symbols
    // are of the types that the header gives them, and dlerror's text is copied at once.
    unsafe {
        let library = libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
        if library.is_null() {
            return Err(Cause::Loader(loader_error()));
        }
        let symbol = |name: &'static CStr| {
            let at = libc::dlsym(library, name.as_ptr());
            if at.is_null() {
                Err(Cause::Symbol(name))
            } else {
                Ok(at)
            }
        };
        let abi = *symbol(ABI)?.cast::<u32>();
        if abi != GEVENT_PLUGIN_ABI {
            return Err(Cause::Abi(abi));
        }
        let init = transmute::<*mut c_void, Init>(symbol(INIT)?);
        let mut plugin = gevent_plugin_t {
            size: size_of::<gevent_plugin_t>(),
            filter: core::ptr::null(),
            data: core::ptr::null_mut(),
            event: None,
            flush: None,
            will_patch_all: None,
            will_patch_group: None,
        };
        match init(&mut plugin) {
            0 => {}
            errno => return Err(Cause::Init(errno)),
        }
        let filter = if plugin.filter.is_null() {
            Filter::usual()
        } else {
            let text = CStr::from_ptr(plugin.filter).to_string_lossy();
            text.parse()
                .map_err(|_| Cause::Filter(text.escape_default().to_string()))?
        };
        Ok((Plugin { name, plugin }, filter))
    }
}

/// dlerror(3), in one line.
fn loader_error() -> String {
    // SAFETY: null or a string that stays until the next call of this thread.
    let text = unsafe {
        let text = libc::dlerror();
        if text.is_null() {
            return "the dynamic linker does not say why".to_owned();
        }
        CStr::from_ptr(text).to_bytes()
    };
    text.escape_ascii().to_string()
}

/// Whether the process that does it comes through loading the plugin.
///
/// It is a child by the call itself, not by libc's fork: without handlers of pthread_atfork,
/// with the loader's lock held by the same owner, and with no signal to this process at its
/// end.
fn try_in_child(path: &CStr) -> Result<(), Cause> {
    let mut pidfd: c_int = -1;
    let flags = (libc::CLONE_PIDFD | libc::CLONE_UNTRACED) as u64;
    // SAFETY: the child has a copy of all memory and its own copy of this stack; the
    // kernel writes the descriptor's number.
    let pid = unsafe {
        arch::syscall(
            libc::SYS_clone as u64,
            [flags, 0, &raw mut pidfd as u64, 0, 0, 0],
        )
    };
    match pid {
        0 => be_tried(path),
        1.. => {}
        _ => return Err(Cause::Trial(io::Error::from_raw_os_error(-pid as i32))),
    }
    // A kernel before Linux 5.2 gives none, and then waiting has no end.
    // SAFETY: new, and nobody else's.
    let pidfd = (pidfd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(pidfd) });
    let hangs = pidfd.is_some_and(|pidfd| !ends_in_time(&pidfd));
    if hangs {
        // SAFETY: our child, which has not been waited for.
        unsafe { libc::kill(pid as i32, libc::SIGKILL) };
    }
    let mut status = 0;
    loop {
        // SAFETY: our child; it has no signal at its end, so __WALL.
        let waited = unsafe { libc::waitpid(pid as i32, &mut status, libc::__WALL) };
        if waited == pid as i32 {
            break;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(Cause::Trial(error));
        }
    }
    if hangs {
        Err(Cause::Hangs)
    } else if libc::WIFSIGNALED(status) {
        Err(Cause::Crashed(libc::WTERMSIG(status)))
    } else {
        match libc::WEXITSTATUS(status) {
            CAME_THROUGH => Ok(()),
            status => Err(Cause::Exited(status)),
        }
    }
}

/// The exit status of a child that came to its end.
const CAME_THROUGH: c_int = 101;

/// The child's whole life.
fn be_tried(path: &CStr) -> ! {
    // SAFETY: the only thread of this process. What fails leaves a stream where it was, or
    // a dump of the crash.
    unsafe {
        let none = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        libc::setrlimit(libc::RLIMIT_CORE, &none);
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
        for stream in 0..3 {
            libc::dup2(null, stream);
        }
    }
    // Why it can't be loaded is found out again by the process that can say so.
    let _ = open(path);
    loop {
        // SAFETY: ends the process, without handlers of atexit and destructors.
        unsafe {
            arch::syscall(
                libc::SYS_exit_group as u64,
                [CAME_THROUGH as u64, 0, 0, 0, 0, 0],
            )
        };
    }
}

fn ends_in_time(pidfd: &OwnedFd) -> bool {
    let begin = raw::now();
    loop {
        let spent = ((raw::now() - begin) / 1_000_000) as i32;
        let mut poll = libc::pollfd {
            fd: pidfd.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one entry of ours.
        match unsafe { libc::poll(&mut poll, 1, (PATIENCE - spent).max(0)) } {
            0 => return false,
            1.. => return true,
            _ if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            // Waiting for it shows what became of it.
            _ => return true,
        }
    }
}

/// A loaded plugin. It stays loaded until the process ends.
struct Plugin {
    /// The name of its file.
    name: String,
    plugin: gevent_plugin_t,
}

// SAFETY: the header says that its functions may be called by any thread, one at a time.
unsafe impl Send for Plugin {}

/// Text without what would end it early.
fn c_text(text: &str) -> CString {
    let bytes = text.bytes().filter(|byte| *byte != 0);
    CString::new(bytes.collect::<Vec<_>>()).unwrap_or_default()
}

fn level(level: tracing::Level) -> c_int {
    match level {
        tracing::Level::ERROR => GEVENT_LEVEL_ERROR,
        tracing::Level::WARN => GEVENT_LEVEL_WARN,
        tracing::Level::INFO => GEVENT_LEVEL_INFO,
        tracing::Level::DEBUG => GEVENT_LEVEL_DEBUG,
        tracing::Level::TRACE => GEVENT_LEVEL_TRACE,
    }
}

impl Plugin {
    /// What it says against something; `None`: nothing.
    ///
    /// # Safety
    /// `reason` must be null or a string.
    unsafe fn objection(&self, reason: *const c_char) -> Result<(), String> {
        if reason.is_null() {
            return Ok(());
        }
        // SAFETY: the caller's contract.
        let reason = unsafe { CStr::from_ptr(reason) };
        Err(format!("{}: {}", self.name, reason.to_string_lossy()))
    }
}

impl Subscriber for Plugin {
    fn event(&mut self, event: &Event) {
        let Some(tell) = self.plugin.event else {
            return;
        };
        let texts: Vec<_> = event
            .fields
            .iter()
            .map(|(name, value)| (c_text(name), c_text(&value.to_string())))
            .collect();
        let fields: Vec<_> = event
            .fields
            .iter()
            .zip(&texts)
            .map(|((_, value), (name, text))| {
                let (kind, number) = match value {
                    Value::U64(number) => (GEVENT_FIELD_UNSIGNED, *number),
                    Value::I64(number) => (GEVENT_FIELD_SIGNED, *number as u64),
                    Value::Bool(yes) => (GEVENT_FIELD_UNSIGNED, u64::from(*yes)),
                    Value::Text(_) => (GEVENT_FIELD_TEXT, 0),
                };
                gevent_plugin_field_t {
                    name: name.as_ptr(),
                    kind,
                    number,
                    text: text.as_ptr(),
                }
            })
            .collect();
        let (name, target, text) = (
            c_text(event.name),
            c_text(event.target),
            c_text(&event.text),
        );
        let told = gevent_plugin_event_t {
            size: size_of::<gevent_plugin_event_t>(),
            name: name.as_ptr(),
            target: target.as_ptr(),
            level: level(event.level),
            at: event.at,
            text: text.as_ptr(),
            fields: fields.as_ptr(),
            field_count: fields.len(),
        };
        // SAFETY: the plugin's function, with what the header promises.
        unsafe { tell(self.plugin.data, &told) };
    }

    fn flush(&mut self) {
        if let Some(flush) = self.plugin.flush {
            // SAFETY: as above.
            unsafe { flush(self.plugin.data) };
        }
    }

    fn will_patch_all(&mut self, groups: &str) -> Result<(), String> {
        let Some(ask) = self.plugin.will_patch_all else {
            return Ok(());
        };
        let groups = c_text(groups);
        // SAFETY: as above; it answers with null or a string.
        unsafe { self.objection(ask(self.plugin.data, groups.as_ptr())) }
    }

    fn will_patch_group(
        &mut self,
        group: &str,
        items: &mut [(&'static str, bool)],
    ) -> Result<(), String> {
        let Some(ask) = self.plugin.will_patch_group else {
            return Ok(());
        };
        let group = c_text(group);
        let names: Vec<_> = items.iter().map(|(name, _)| c_text(name)).collect();
        let mut shown: Vec<_> = items
            .iter()
            .zip(&names)
            .map(|((_, wanted), name)| gevent_plugin_item_t {
                name: name.as_ptr(),
                wanted: c_int::from(*wanted),
            })
            .collect();
        // SAFETY: as above.
        let answer = unsafe {
            let (first, count) = (shown.as_mut_ptr(), shown.len());
            self.objection(ask(self.plugin.data, group.as_ptr(), first, count))
        };
        for ((_, wanted), shown) in items.iter_mut().zip(shown) {
            // What another plugin has left out stays out.
            *wanted &= shown.wanted != 0;
        }
        answer
    }
}
