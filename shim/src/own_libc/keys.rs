//! Thread-specific keys of std, which are none of libc's.
//!
//! libc has 1,024 of them, and all are the program's: std takes one where a thread of its own
//! begins, and aborts if there is none. The values are thread-local variables of the library.
//! Destructors are called for threads that have a record of the interface for programs that
//! know of the hub, behind that; the library's own threads never end.
#![allow(unsafe_code)]

use core::arch::global_asm;
use core::cell::Cell;
use core::ffi::{c_int, c_void};
use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering};
use std::sync::OnceLock;

use gevent_runtime::api::{at_thread_end, call_behind_records};
use libc::pthread_key_t;

/// A key's destructor.
type Destructor = unsafe extern "C" fn(*mut c_void);

/// How many keys std may have: it makes one, and a second one if the first was 0.
const KEYS: usize = 4;

/// The number of the first one, above all of libc's.
const FIRST: pthread_key_t = 1 << 20;

/// POSIX's number of rounds in which destructors may set values again.
const ROUNDS: usize = 4;

static MADE: AtomicU32 = AtomicU32::new(0);
static DESTRUCTORS: [OnceLock<Destructor>; KEYS] = [const { OnceLock::new() }; KEYS];

thread_local! {
    static VALUES: [Cell<*mut c_void>; KEYS] = const { [const { Cell::new(ptr::null_mut()) }; KEYS] };
}

macro_rules! keys {
    ($($name:ident)*) => {
        global_asm!(
            ".text",
            $(
                concat!(".hidden gevent_shim_std_", stringify!($name)),
                concat!(".globl gevent_shim_std_", stringify!($name)),
                concat!(".type gevent_shim_std_", stringify!($name), ",@function"),
                concat!("gevent_shim_std_", stringify!($name), ":"),
                concat!("jmp {", stringify!($name), "}"),
            )*
            $($name = sym $name,)*
        );
    };
}

keys! { pthread_getspecific pthread_key_create pthread_key_delete pthread_setspecific }

/// libc's own, which [`super::real`] finds.
mod real {
    use super::{Destructor, c_int, c_void, pthread_key_t};

    unsafe extern "C" {
        #[link_name = "gevent_shim_own_pthread_getspecific"]
        pub fn get(key: pthread_key_t) -> *mut c_void;
        #[link_name = "gevent_shim_own_pthread_key_create"]
        pub fn create(key: *mut pthread_key_t, destructor: Option<Destructor>) -> c_int;
        #[link_name = "gevent_shim_own_pthread_key_delete"]
        pub fn delete(key: pthread_key_t) -> c_int;
        #[link_name = "gevent_shim_own_pthread_setspecific"]
        pub fn set(key: pthread_key_t, value: *const c_void) -> c_int;
    }
}

/// The place of a key of ours.
fn place(key: pthread_key_t) -> Option<usize> {
    let place = key.wrapping_sub(FIRST) as usize;
    (place < KEYS).then_some(place)
}

unsafe extern "C" fn pthread_key_create(
    key: *mut pthread_key_t,
    destructor: Option<Destructor>,
) -> c_int {
    // The key of the records is libc's: its destructor is to be called by libc.
    let of_records =
        destructor.is_some_and(|one| ptr::fn_addr_eq(one, at_thread_end as Destructor));
    let taken = |made: u32| ((made as usize) < KEYS).then_some(made + 1);
    let made = MADE.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken);
    let (false, Ok(made)) = (of_records, made) else {
        // SAFETY: the caller's own call.
        return unsafe { real::create(key, destructor) };
    };
    if let Some(destructor) = destructor {
        // The place was nobody's.
        let _ = DESTRUCTORS[made as usize].set(destructor);
        call_behind_records(destroy);
    }
    // SAFETY: the caller's variable.
    unsafe { key.write(FIRST + made) };
    0
}

unsafe extern "C" fn pthread_key_delete(key: pthread_key_t) -> c_int {
    match place(key) {
        // It is not given again.
        Some(_) => 0,
        // SAFETY: the caller's own call.
        None => unsafe { real::delete(key) },
    }
}

unsafe extern "C" fn pthread_getspecific(key: pthread_key_t) -> *mut c_void {
    match place(key) {
        Some(place) => VALUES.with(|values| values[place].get()),
        // SAFETY: the caller's own call.
        None => unsafe { real::get(key) },
    }
}

unsafe extern "C" fn pthread_setspecific(key: pthread_key_t, value: *const c_void) -> c_int {
    match place(key) {
        Some(place) => {
            VALUES.with(|values| values[place].set(value.cast_mut()));
            0
        }
        // SAFETY: the caller's own call.
        None => unsafe { real::set(key, value) },
    }
}

/// The calling thread ends: calls the destructors of its values.
fn destroy() {
    for _ in 0..ROUNDS {
        let mut any = false;
        for (place, destructor) in DESTRUCTORS.iter().enumerate() {
            let value = VALUES.with(|values| values[place].replace(ptr::null_mut()));
            if let (Some(destructor), false) = (destructor.get(), value.is_null()) {
                any = true;
                // SAFETY: the value that was set for this key, once.
                unsafe { destructor(value) };
            }
        }
        if !any {
            return;
        }
    }
}
