//! What the events say is what the program did.

mod bad_input;
mod calls;
mod every;
mod harmless;
mod hub;
mod limits;
mod patching;
mod plugins;
mod privileged;
mod probes;
mod program;
mod selection;
mod waits;
