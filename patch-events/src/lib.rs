//! The events of patching, of the hub and of its guests, each declared once.
//!
//! An event is a plain struct of [`events`]; its `emit` sends it through
//! `tracing` under one of the [`target`]s, with its fields as typed values and
//! its one English line as the message. While nobody listens an `emit` is one
//! load and a branch, and no field is looked at; `emit_with` also spares
//! making the struct.
//!
//! [`install`] makes this process listen: to what a [`Filter`] lets pass, on a
//! [`Target`]. It is called when the user asks for events and not otherwise,
//! so that a silent start does none of its work.
//!
//! The crate has no call into C stdio and takes no lock of std's streams: an
//! event may be told while a parked guest holds those. It does allocate and
//! use thread-local storage, so events are for host mode and for start-up,
//! never for guest mode or a signal handler.

mod declare;
mod destination;
pub mod events;
mod filter;
mod format;
mod install;
mod sink;
pub mod target;

pub use declare::{Address, Declaration};
pub use destination::{FILE_VARIABLE, InvalidPath, PathTemplate, Target};
pub use filter::{FILTER_VARIABLE, Filter, InvalidFilter};
pub use install::{InstallError, install};
pub use sink::{Write, write_directly};
