//! The events of patching, of the hub and of its guests, each declared once.
//!
//! An event is a plain struct of [`events`]; its `emit` sends it through
//! `tracing` under one of the [`target`]s, with its fields as typed values and
//! its one English line as the message. While nobody listens an `emit` is one
//! load and a branch, and no field is looked at; `emit_with` also spares
//! making the struct.
//!
//! [`install()`] makes this process listen: to what a [`Filter`] lets pass, on a
//! [`Target`], in a [`Format`]; [`listen()`] adds a [`Subscriber`]. They are called when
//! the user asks for events and not otherwise, so that a silent start does none of
//! their work.
//!
//! Emitting allocates and uses thread-local storage: it is for host mode and for
//! start-up. A guest, or a signal handler, leaves a [`Record`] in the ring of
//! [`channel`], from which the drain thread makes the event. Nothing here calls C
//! stdio or takes a lock of std's streams: an event may be told while a parked guest
//! holds those.

pub mod channel;
mod declare;
mod destination;
mod event;
pub mod events;
mod filter;
mod format;
mod install;
mod listen;
pub mod numbers;
mod sink;
pub mod stderr;
mod subscriber;
pub mod target;

pub use channel::{Record, WORDS};
pub use declare::{Address, Declaration};
pub use destination::{FILE_VARIABLE, InvalidPath, PathTemplate, Target};
pub use event::{Event, Value};
pub use filter::{FILTER_VARIABLE, Filter, InvalidFilter};
pub use format::{Format, UnknownFormat};
pub use install::{InstallError, ask_all, ask_group, install, listen};
pub use listen::{filter, set_filter, wants};
pub use sink::{Write, write_directly};
pub use subscriber::Subscriber;
