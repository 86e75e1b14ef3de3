//! libc's functions that look names up, interposed so that the calls inside a look-up are known
//! as its own: see [`gevent_runtime::lookup`].
//!
//! Nothing here allocates or locks before or after libc's function but on the hub's side: the
//! caller may be preempted anywhere. The functions are of the ABI that unwinds, for a thread
//! may be cancelled inside.
#![allow(unsafe_code)]

use core::ffi::{CStr, c_char, c_int, c_void};
use core::mem::transmute;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use gevent_runtime::lookup::{self, NAMES};
use libc::{addrinfo, hostent, sockaddr, sockaddr_in, sockaddr_in6, socklen_t};

use crate::symbols;

/// libc's own function of a name.
///
/// Synchronization: written by whoever comes first, always with the same value, which
/// does not change; relaxed.
struct Real(AtomicPtr<c_void>);

impl Real {
    const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    fn get(&self, name: &'static CStr) -> *mut c_void {
        let known = self.0.load(Ordering::Relaxed);
        if !known.is_null() {
            return known;
        }
        let found = symbols::next(name);
        self.0.store(found, Ordering::Relaxed);
        found
    }
}

static REAL: [Real; NAMES.len()] = [const { Real::new() }; NAMES.len()];

/// Defines each function: libc's own between the marks of a look-up. After `of` stands what is
/// looked up, after `else` what a libc without the function answers.
macro_rules! interpose {
    ($(fn $name:ident($($argument:ident: $type:ty),*) -> $result:ty, of $subject:expr, else $absent:expr;)*) => {
        $(
            #[doc = concat!(stringify!($name), "(3).\n\n# Safety\nAs libc's.")]
            #[unsafe(no_mangle)]
            pub unsafe extern "C-unwind" fn $name($($argument: $type),*) -> $result {
                type Function = unsafe extern "C-unwind" fn($($type),*) -> $result;
                const NAME: &str = stringify!($name);
                let place = &REAL[const { place_of(NAME) }];
                let real = place.get(const { c_name(concat!(stringify!($name), "\0")) });
                // SAFETY: null, or libc's function of this type.
                let Some(real) = (unsafe { transmute::<*mut c_void, Option<Function>>(real) }) else {
                    return $absent;
                };
                let lookup = lookup::enter();
                // SAFETY: the caller's contract.
                let result = unsafe { real($($argument),*) };
                if let Some(lookup) = lookup {
                    // SAFETY: libc has read the same arguments.
                    lookup.leave(NAME, || unsafe { $subject });
                }
                result
            }
        )*

        /// Looks libc's functions up, while that may still take locks.
        pub(crate) fn init() {
            $(
                let place = &REAL[const { place_of(stringify!($name)) }];
                place.get(const { c_name(concat!(stringify!($name), "\0")) });
            )*
        }

        /// Every function here is one of the runtime's list, and the other way round.
        const _: () = assert!([$(stringify!($name)),*].len() == NAMES.len());
    };
}

interpose! {
    fn getaddrinfo(
        node: *const c_char,
        service: *const c_char,
        hints: *const addrinfo,
        found: *mut *mut addrinfo
    ) -> c_int,
        of if node.is_null() { text(service) } else { text(node) },
        else libc::EAI_FAIL;

    fn getnameinfo(
        address: *const sockaddr,
        length: socklen_t,
        host: *mut c_char,
        host_room: socklen_t,
        service: *mut c_char,
        service_room: socklen_t,
        flags: c_int
    ) -> c_int,
        of socket_address(address, length),
        else libc::EAI_FAIL;

    fn gethostbyname(name: *const c_char) -> *mut hostent,
        of text(name),
        else ptr::null_mut();

    fn gethostbyname2(name: *const c_char, family: c_int) -> *mut hostent,
        of text(name),
        else ptr::null_mut();

    fn gethostbyaddr(bytes: *const c_void, length: socklen_t, family: c_int) -> *mut hostent,
        of address(bytes, length, family),
        else ptr::null_mut();

    fn gethostbyname_r(
        name: *const c_char,
        entry: *mut hostent,
        buffer: *mut c_char,
        room: usize,
        found: *mut *mut hostent,
        error: *mut c_int
    ) -> c_int,
        of text(name),
        else libc::ENOSYS;

    fn gethostbyname2_r(
        name: *const c_char,
        family: c_int,
        entry: *mut hostent,
        buffer: *mut c_char,
        room: usize,
        found: *mut *mut hostent,
        error: *mut c_int
    ) -> c_int,
        of text(name),
        else libc::ENOSYS;

    fn gethostbyaddr_r(
        bytes: *const c_void,
        length: socklen_t,
        family: c_int,
        entry: *mut hostent,
        buffer: *mut c_char,
        room: usize,
        found: *mut *mut hostent,
        error: *mut c_int
    ) -> c_int,
        of address(bytes, length, family),
        else libc::ENOSYS;
}

const fn c_name(name: &'static str) -> &'static CStr {
    match CStr::from_bytes_with_nul(name.as_bytes()) {
        Ok(name) => name,
        Err(_) => panic!("a name ends with its one null"),
    }
}

/// The index of one of [`NAMES`].
const fn place_of(name: &str) -> usize {
    let mut at = 0;
    while at < NAMES.len() {
        let (a, b) = (NAMES[at].as_bytes(), name.as_bytes());
        let mut i = 0;
        while i < a.len() && i < b.len() && a[i] == b[i] {
            i += 1;
        }
        if i == a.len() && i == b.len() {
            return at;
        }
        at += 1;
    }
    panic!("no such function")
}

/// # Safety
/// Null or a string.
unsafe fn text(string: *const c_char) -> String {
    if string.is_null() {
        return "nothing".to_owned();
    }
    // SAFETY: the caller's contract.
    unsafe { CStr::from_ptr(string) }
        .to_string_lossy()
        .into_owned()
}

/// # Safety
/// Null, or as many bytes as `length` says.
unsafe fn address(bytes: *const c_void, length: socklen_t, family: c_int) -> String {
    let address: IpAddr = match (family, length) {
        _ if bytes.is_null() => return "nothing".to_owned(),
        // SAFETY: the length is that of the bytes.
        (libc::AF_INET, 4) => Ipv4Addr::from(unsafe { bytes.cast::<[u8; 4]>().read() }).into(),
        // SAFETY: as above.
        (libc::AF_INET6, 16) => Ipv6Addr::from(unsafe { bytes.cast::<[u8; 16]>().read() }).into(),
        _ => return format!("an address of family {family}"),
    };
    address.to_string()
}

/// # Safety
/// Null, or as many bytes as `length` says.
unsafe fn socket_address(socket: *const sockaddr, length: socklen_t) -> String {
    if socket.is_null() || (length as usize) < size_of::<libc::sa_family_t>() {
        return "nothing".to_owned();
    }
    // SAFETY: the length covers the family, and each read what it says below.
    unsafe {
        let family = c_int::from(socket.cast::<libc::sa_family_t>().read_unaligned());
        let length = length as usize;
        if family == libc::AF_INET && length >= size_of::<sockaddr_in>() {
            let ip = &raw const (*socket.cast::<sockaddr_in>()).sin_addr;
            address(ip.cast(), 4, family)
        } else if family == libc::AF_INET6 && length >= size_of::<sockaddr_in6>() {
            let ip = &raw const (*socket.cast::<sockaddr_in6>()).sin6_addr;
            address(ip.cast(), 16, family)
        } else {
            format!("an address of family {family}")
        }
    }
}
