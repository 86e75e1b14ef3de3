//! What the engine needs of the processor beyond decoding and encoding.
//!
//! Every target offers the same names.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod x86_64;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub use x86_64::*;

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
compile_error!("gevent-shim has no port to this target yet: add it under shim/src/arch");
