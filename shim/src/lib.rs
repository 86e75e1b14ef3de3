//! The preloaded library: finds and patches the sites of a program.
