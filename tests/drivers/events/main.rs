//! What the events say is what the program did.

mod calls;
mod hub;
mod program;
mod selection;
