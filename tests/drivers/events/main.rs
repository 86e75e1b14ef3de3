//! What the events say is what the program did.

mod calls;
mod every;
mod hub;
mod patching;
mod plugins;
mod probes;
mod program;
mod selection;
mod waits;
