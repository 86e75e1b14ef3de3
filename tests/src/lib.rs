//! The native-oracle harness: what a program does bare is what it must do preloaded.
//!
//! A *guest program* is one small source file in `guests/`, about one subject, that prints only text
//! that does not depend on timing. [`guest`] finds them, [`compile`] compiles them, [`mode`] says how one is
//! started (bare, or preloaded with a given event loop), [`run`] runs it in a process group of its
//! own with a time limit, and [`oracle`] compares what came out. The drivers in `drivers/` make one
//! named test of every program and event loop; `real` does the same for programs nobody wrote for us,
//! `systems` for both in the root directories of other systems ([`root`]).
//!
//! A guest program that fails bare is a defect of the test, and is reported as one.

pub mod compile;
pub mod guest;
pub mod library;
pub mod mode;
pub mod oracle;
pub mod root;
pub mod run;
pub mod scenarios;
pub mod server;
pub mod serving;
pub mod subject;
pub mod trials;
