//! Programs that the library cannot serve, and input that it cannot use: they run as without it.
//!
//! `LD_PRELOAD` is set for whole trees of processes, so each program is run four ways: itself
//! preloaded, as the child of a preloaded shell, as the child of a guest, and by `gevent-shim
//! run`. What it prints and how it ends is compared with a run without the library.

mod bad_input;
mod children;
mod go;
mod support;
