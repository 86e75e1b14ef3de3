//! The preloaded library: finds and patches the sites of a program.
//!
//! A *site* is one `syscall` instruction in the text of libc, of the dynamic
//! linker or of any other loaded object. Patching leads it to the runtime:
//!
//! ```text
//! site ─jmp─▶ stub ─wanted?─▶ entry ─▶ dispatch ─▶ … ─▶ stub ─jmp─▶ behind the site
//!                └─not wanted: syscall ─────────────────┘
//! ```
//!
//! # When
//! `init` runs at load and patches only libc's sites of `clone` and `clone3`, and of what
//! else must be known before there is a thread: `execve` and `execveat`, which may lead to a
//! program that this library cannot be [preloaded](gevent_runtime::preload) into, and `prctl`
//! and `syscall`, which may install a filter. So a program that makes no thread pays for these
//! and for one search of libc's text. When the first thread is made, the runtime's dispatch calls
//! [`arm::patch_all`] for everything else, while the process has one kernel
//! thread; objects opened later are patched when the dynamic linker maps their
//! text, before it runs.
//!
//! # How
//! | step | file | |
//! |---|---|---|
//! | find | [`maps`], `loader_maps`, [`image`] | what is mapped, and its bytes |
//! | scan | [`scan`], [`unwind`] | sites and boundaries; pure |
//! | plan | [`plan`], [`cache`] | windows, rooms for their jumps, or typed refusals; pure, kept between runs |
//! | stub | [`trampoline`], [`cfi`] | code and unwind tables; pure |
//! | write | [`engine`], [`patch`] | the only file that writes code |
//! | stop | [`others`] | threads that were there already, while it is written |
//!
//! [`arm`] runs them in order and knows what is patched; [`backtrace`] names where a
//! thread is; `plugin` loads who is told and may object.
//!
//! # What it asks of other libraries
//! Nothing that another library may interpose, and no symbol that glibc 2.28 has not:
//! [`own_libc`].
//!
//! # What is never patched
//! The return from a signal handler; this library itself; the kernel's own pages.
//! Calls that return twice (`vfork`, `clone`) are sites like others: the
//! runtime answers them by running the stub's `syscall` with the caller's
//! registers, so both of their returns go on in the stub as they would have
//! behind the site, on whichever stack they are.
//!
//! # If it can't be done
//! libc and its family are patched as a whole or not at all. Where text can't be
//! written, or a site of thread creation is refused, every call of the program's threads is
//! [caught](gevent_runtime::catch) instead, from its first one on ([`thread_creation`]); without
//! that, where any other site of libc's is refused, or with another thread in the process,
//! everything is left as it was, and the program runs bare. In any other object a refused site is
//! counted and goes to the kernel as before, unless the user asks for such calls to be
//! [caught](gevent_runtime::catch).

mod alloc;
pub mod arch;
pub mod arm;
pub mod backtrace;
pub mod cache;
pub mod capi;
pub mod cfi;
mod debugger;
pub mod engine;
pub mod functions;
pub mod guide;
pub mod image;
mod init;
mod kernel;
mod loader_maps;
pub mod lookups;
pub mod maps;
pub mod monkey;
pub mod others;
pub mod own_libc;
pub mod patch;
pub mod plan;
mod plugin;
mod program;
pub mod query;
mod reserve;
pub mod scan;
pub mod symbols;
pub mod thread_creation;
mod thread_exit;
pub mod trampoline;
pub mod unwind;

pub use gevent_runtime::api::*;
pub use gevent_runtime::{group::Group as PatchGroup, group::GroupSet, local};
