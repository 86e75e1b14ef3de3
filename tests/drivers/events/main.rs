//! What the events say is what the program did.

mod calls;
mod hub;
mod probes;
mod program;
mod selection;
