//! Functions that must be libc's or libgcc_s's own, past whoever interposes them.
//!
//! Each is a jump through a slot. A slot is filled at load ([`find_libc`],
//! [`find_unwinder`]), or else leads to [`bind`], which fills it when the function is first
//! called: of what loading did not find (glibc before 2.34 has libpthread and libdl, which
//! may be loaded later), and in a process that is left alone.
//!
//! The unwinder is the process's libgcc_s, since the frames of the stubs are registered with
//! it, and a thread is cancelled by it. It is opened by name: a library that needed it could
//! not be loaded where it is not installed.
//!
//! # Synchronization
//! A slot is written by whoever finds its function; all who write write the same.
#![allow(unsafe_code)]

use core::arch::global_asm;
use core::ffi::{CStr, c_char, c_int, c_void};
use core::mem::transmute;
use core::sync::atomic::{AtomicPtr, Ordering};

use gevent_runtime::objects::{self, Libc, LoadedSymbols};

use super::call;

/// Whose function it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Libc,
    /// libc's, in libpthread before glibc 2.34; that is loaded for it.
    Threads,
    /// libc's, in libdl before glibc 2.34; that is loaded for it.
    Loader,
    Unwinder,
}

/// What a call does of a function that is nowhere.
#[derive(Debug, Clone, Copy)]
enum Absent {
    /// Returns an error number.
    Error,
    /// Returns -1, with ENOSYS in `errno`.
    Fails,
    /// Returns null, or nothing.
    Null,
    /// Returns _URC_END_OF_STACK.
    EndOfStack,
    /// Never returns.
    Trap,
}

macro_rules! real {
    ($($name:ident $of:ident $absent:ident;)*) => {
        const FUNCTIONS: &[(&CStr, Of, Absent)] = &[
            $((c_name(concat!(stringify!($name), "\0")), Of::$of, Absent::$absent),)*
        ];

        global_asm!(
            ".section .data.gevent_shim_real,\"aw\",@progbits",
            ".balign 8",
            ".hidden gevent_shim_real_slots",
            ".globl gevent_shim_real_slots",
            "gevent_shim_real_slots:",
            $(
                concat!("gevent_shim_slot_", stringify!($name), ":"),
                concat!(".quad gevent_shim_bind_", stringify!($name)),
            )*
            ".text",
            $(
                concat!(".hidden gevent_shim_own_", stringify!($name)),
                concat!(".globl gevent_shim_own_", stringify!($name)),
                concat!(".type gevent_shim_own_", stringify!($name), ",@function"),
                concat!("gevent_shim_own_", stringify!($name), ":"),
                concat!("jmp qword ptr [rip + gevent_shim_slot_", stringify!($name), "]"),
                concat!("gevent_shim_bind_", stringify!($name), ":"),
                concat!("lea r11, [rip + gevent_shim_slot_", stringify!($name), "]"),
                "jmp gevent_shim_bind",
            )*
            // r11 is the slot. The arguments are kept for the function; on return its address
            // is in rax. Eight words and the return address: the stack is as the ABI wants it.
            "gevent_shim_bind:",
            ".cfi_startproc",
            "push rdi",
            "push rsi",
            "push rdx",
            "push rcx",
            "push r8",
            "push r9",
            "push rax",
            ".cfi_adjust_cfa_offset 56",
            "mov rdi, r11",
            "call {bind}",
            "mov r11, rax",
            "pop rax",
            "pop r9",
            "pop r8",
            "pop rcx",
            "pop rdx",
            "pop rsi",
            "pop rdi",
            ".cfi_adjust_cfa_offset -56",
            "jmp r11",
            ".cfi_endproc",
            bind = sym bind,
        );
    };
}

real! {
    __register_atfork Libc Error;
    __res_init Libc Error;
    __xpg_strerror_r Libc Error;
    abort Libc Trap;
    dladdr Loader Null;
    dlerror Loader Null;
    dlopen Loader Null;
    exit Libc Trap;
    fork Libc Fails;
    freeaddrinfo Libc Null;
    gai_strerror Libc Null;
    gnu_get_libc_version Libc Null;
    pthread_attr_destroy Libc Error;
    pthread_attr_getguardsize Libc Error;
    pthread_attr_getstack Libc Error;
    pthread_attr_init Libc Error;
    pthread_attr_setdetachstate Libc Error;
    pthread_attr_setstacksize Libc Error;
    pthread_cancel Libc Error;
    pthread_create Threads Error;
    pthread_detach Threads Error;
    pthread_getattr_default_np Libc Error;
    pthread_getattr_np Libc Error;
    pthread_getspecific Libc Null;
    pthread_join Libc Error;
    pthread_key_create Threads Error;
    pthread_key_delete Libc Error;
    pthread_setattr_default_np Libc Error;
    pthread_setcancelstate Libc Error;
    pthread_setspecific Libc Error;
    pthread_testcancel Libc Null;
    sigaction Libc Fails;
    sysconf Libc Fails;
    _Unwind_Backtrace Unwinder EndOfStack;
    _Unwind_DeleteException Unwinder Null;
    _Unwind_FindEnclosingFunction Unwinder Null;
    _Unwind_GetCFA Unwinder Null;
    _Unwind_GetDataRelBase Unwinder Null;
    _Unwind_GetIP Unwinder Null;
    _Unwind_GetIPInfo Unwinder Null;
    _Unwind_GetLanguageSpecificData Unwinder Null;
    _Unwind_GetRegionStart Unwinder Null;
    _Unwind_GetTextRelBase Unwinder Null;
    _Unwind_RaiseException Unwinder EndOfStack;
    _Unwind_Resume Unwinder Trap;
    _Unwind_SetGR Unwinder Null;
    _Unwind_SetIP Unwinder Null;
    __deregister_frame Unwinder Null;
    __register_frame Unwinder Null;
}

const fn c_name(name: &'static str) -> &'static CStr {
    match CStr::from_bytes_with_nul(name.as_bytes()) {
        Ok(name) => name,
        Err(_) => panic!("a name ends with its one null"),
    }
}

fn slots() -> &'static [AtomicPtr<c_void>; FUNCTIONS.len()] {
    unsafe extern "C" {
        static gevent_shim_real_slots: [AtomicPtr<c_void>; FUNCTIONS.len()];
    }
    // SAFETY: the words above, one for each function.
    unsafe { &gevent_shim_real_slots }
}

/// Finds libc's functions. False: the process has another libc than glibc, or one that is
/// not whole.
pub(crate) fn find_libc() -> bool {
    let Some(libc) = Libc::loaded() else {
        return false;
    };
    let Some(syscall) = libc.find(c"syscall") else {
        return false;
    };
    // SAFETY: libc's function of that name.
    unsafe { call::lead_to(syscall) };
    for ((name, of, _), slot) in FUNCTIONS.iter().zip(slots()) {
        if *of != Of::Unwinder
            && let Some(found) = libc.find(name)
        {
            slot.store(found, Ordering::Relaxed);
        }
    }
    true
}

/// Finds the process's unwinder, and has it loaded if it is not. False: there is none.
pub(crate) fn find_unwinder() -> bool {
    let Some(unwinder) = unwinder() else {
        return false;
    };
    let mut complete = true;
    for ((name, of, _), slot) in FUNCTIONS.iter().zip(slots()) {
        if *of == Of::Unwinder {
            match unwinder.find(name) {
                Some(found) => slot.store(found, Ordering::Relaxed),
                None => complete = false,
            }
        }
    }
    complete
}

/// The symbols of the process's libgcc_s, which is never unloaded from here on.
fn unwinder() -> Option<LoadedSymbols<'static>> {
    const NAME: &CStr = c"libgcc_s.so.1";
    if !open(NAME) {
        return None;
    }
    objects::each(|object| {
        let symbols = object.symbols()?;
        // SAFETY: it was opened and is never closed; only the lifetime changes.
        let symbols = unsafe { transmute::<LoadedSymbols<'_>, LoadedSymbols<'static>>(symbols) };
        (symbols.soname() == Some(NAME.to_bytes())).then_some(symbols)
    })
}

type Open = unsafe extern "C-unwind" fn(*const c_char, c_int) -> *mut c_void;

/// Has the dynamic linker load an object that the program did not need, for this library
/// alone.
fn open(name: &CStr) -> bool {
    /// glibc's own mark of an object that is opened while the program runs (__RTLD_DLOPEN).
    const OPENED: c_int = c_int::MIN;
    let Some(libc) = Libc::loaded() else {
        return false;
    };
    // libc.so.6 has the second before 2.34 alone.
    let (open, flags) = match libc.find(c"dlopen") {
        Some(open) => (Some(open), libc::RTLD_NOW),
        None => (libc.find(c"__libc_dlopen_mode"), libc::RTLD_NOW | OPENED),
    };
    // SAFETY: null or libc's functions of this type.
    let Some(open) = open.map(|open| unsafe { transmute::<*mut c_void, Open>(open) }) else {
        return false;
    };
    // SAFETY: a string. What is opened are parts of libc and its unwinder.
    unsafe { !open(name.as_ptr(), flags).is_null() }
}

/// Where a symbol of an object is that `dlopen` returned.
///
/// # Safety
/// As dlsym(3) with a handle.
pub(super) unsafe fn symbol_of(object: *mut c_void, name: &CStr) -> *mut c_void {
    type Symbol = unsafe extern "C" fn(*mut c_void, *const c_char) -> *mut c_void;
    let Some(dlsym) = find(c"dlsym", Of::Loader) else {
        return core::ptr::null_mut();
    };
    // SAFETY: libc's function of this type; the caller's contract.
    unsafe { transmute::<*mut c_void, Symbol>(dlsym)(object, name.as_ptr()) }
}

/// Where a function is, which may have something loaded.
fn find(name: &CStr, of: Of) -> Option<*mut c_void> {
    if of == Of::Unwinder {
        return unwinder()?.find(name);
    }
    let own = bind as *const () as u64;
    let Some(libc) = Libc::loaded() else {
        return objects::find_next(own, name);
    };
    let with = |object| {
        open(object);
        Libc::loaded()?.find(name)
    };
    libc.find(name).or_else(|| match of {
        Of::Threads => with(c"libpthread.so.0"),
        Of::Loader => with(c"libdl.so.2"),
        Of::Libc | Of::Unwinder => None,
    })
}

/// The address of the function of a slot.
unsafe extern "C" fn bind(slot: &'static AtomicPtr<c_void>) -> *const c_void {
    let slots = slots();
    let index = (slot.as_ptr() as usize - slots.as_ptr() as usize) / size_of_val(slot);
    let (name, of, absent) = FUNCTIONS[index];
    if let Some(found) = find(name, of) {
        slot.store(found, Ordering::Relaxed);
        return found;
    }
    match absent {
        Absent::Error => error as *const c_void,
        Absent::Fails => fails as *const c_void,
        Absent::Null => null as *const c_void,
        Absent::EndOfStack => end_of_stack as *const c_void,
        Absent::Trap => trap as *const c_void,
    }
}

extern "C" fn error() -> isize {
    libc::ENOSYS as isize
}

extern "C" fn fails() -> isize {
    call::set_errno(libc::ENOSYS);
    -1
}

extern "C" fn null() -> isize {
    0
}

extern "C" fn end_of_stack() -> isize {
    5
}

extern "C" fn trap() -> ! {
    loop {
        // SAFETY: ends the process, as the functions that lead here do.
        unsafe { gevent_runtime::arch::syscall(libc::SYS_exit_group as u64, [127, 0, 0, 0, 0, 0]) };
    }
}

#[cfg(test)]
mod tests {
    use super::super::names;
    use super::*;

    #[test]
    fn every_function_is_one_that_is_bound() {
        let found: Vec<_> = FUNCTIONS.iter().map(|f| f.0.to_str().unwrap()).collect();
        assert_eq!(found, names::REAL);
    }

    #[test]
    fn glibc_and_its_unwinder_are_found() {
        assert!(find_libc() && find_unwinder());
    }
}
