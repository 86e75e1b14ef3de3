//! What the events say is what the program did.

mod calls;
mod hub;
mod limits;
mod probes;
mod program;
mod selection;
