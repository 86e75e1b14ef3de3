//! What this library's code gets where it asks for libc's functions.
//!
//! std and the crates that the library is made of call libc by name, and the dynamic linker
//! binds a name to the first object that defines it: the program, or another preloaded
//! library. Such a function may take a lock that a guest holds, count what is the
//! library's own, or show it another time. A name may also be absent: glibc has moved
//! functions between its objects and given them new versions, and other libcs lack some.
//! So the build script binds the names in `names.rs` to what is here, within the library
//! alone. A program that links the crate has libc's.
//!
//! | file | subject |
//! |---|---|
//! | [`call`] | `syscall`, through which the others ask the kernel; `errno` |
//! | [`files`], [`directories`], [`sockets`], [`memory`], [`process`], [`signals`], [`time`] | system calls |
//! | [`heap`] | memory of the library's own heap |
//! | [`keys`] | thread-specific keys of std |
//! | [`lookup`] | `getenv`, `dlsym` |
//! | [`real`] | what must be libc's or libgcc_s's own: their addresses, whoever interposes them |
//! | [`tls`] | the thread-local variables of the library |
//!
//! None of them is a cancellation point: a thread is not cancelled inside this library's
//! code but where it says so.

mod call;
mod directories;
mod files;
mod heap;
mod keys;
mod lookup;
mod memory;
#[cfg(test)]
#[allow(dead_code)]
mod names;
mod process;
mod real;
mod signals;
mod sockets;
mod time;
mod tls;

pub(crate) use call::syscall_of_program;
pub(crate) use real::{find_libc, find_unwinder};

/// Gives functions of this module the names to which the build script binds libc's. The
/// functions' own symbols would be exported.
macro_rules! own {
    ($($name:ident)*) => {
        core::arch::global_asm!(
            ".text",
            $(
                concat!(".hidden gevent_shim_own_", stringify!($name)),
                concat!(".globl gevent_shim_own_", stringify!($name)),
                concat!(".type gevent_shim_own_", stringify!($name), ",@function"),
                concat!("gevent_shim_own_", stringify!($name), ":"),
                concat!("jmp {", stringify!($name), "}"),
            )*
            $($name = sym $name,)*
        );
    };
}
use own;

#[cfg(test)]
mod tests {
    use super::names::{OWN, REAL};

    #[test]
    fn a_name_is_bound_once() {
        let mut names = [OWN, REAL].concat();
        names.sort();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
