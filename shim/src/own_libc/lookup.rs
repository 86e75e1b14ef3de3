//! `getenv` and `dlsym`, as far as this library's code needs them.
#![allow(unsafe_code)]

use core::ffi::{CStr, c_char, c_void};
use core::ptr;

use gevent_runtime::objects;

use super::own;
use super::real;

own! { dlsym getenv }

unsafe extern "C" {
    /// environ(7).
    static environ: *const *const c_char;
}

/// Bytes of stack for a thread that std makes of the size it makes them: may's two. The program's
/// own setting is not for them.
const STACK_SETTING: &[u8] = b"RUST_MIN_STACK";
const STACK: &CStr = c"229376";

unsafe extern "C" fn getenv(name: *const c_char) -> *const c_char {
    // SAFETY: the caller's string.
    if unsafe { CStr::from_ptr(name) }.to_bytes() == STACK_SETTING {
        return STACK.as_ptr();
    }
    // SAFETY: the caller's string; the environment is an array of strings with a null at
    // its end, or null, and std reads it under a lock of its own.
    unsafe {
        let name = CStr::from_ptr(name).to_bytes();
        let mut entry = environ;
        while !entry.is_null() && !(*entry).is_null() {
            let rest = CStr::from_ptr(*entry).to_bytes().strip_prefix(name);
            if rest.is_some_and(|rest| rest.first() == Some(&b'=')) {
                return (*entry).add(name.len() + 1);
            }
            entry = entry.add(1);
        }
    }
    ptr::null()
}

/// std asks for libc's own symbols by RTLD_DEFAULT; objects that were opened by handle are
/// the dynamic linker's.
unsafe extern "C" fn dlsym(object: *mut c_void, name: *const c_char) -> *mut c_void {
    // SAFETY: the caller's string.
    let name = unsafe { CStr::from_ptr(name) };
    if object == libc::RTLD_DEFAULT {
        return objects::find_in_libc(name).unwrap_or(ptr::null_mut());
    }
    // SAFETY: the caller's contract.
    unsafe { real::symbol_of(object, name) }
}
