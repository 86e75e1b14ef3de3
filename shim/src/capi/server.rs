//! Servers in C.

use std::ffi::{CStr, c_char, c_double, c_int, c_void};
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use gevent_runtime::api::foreign::server as foreign;
use gevent_runtime::api::{DatagramServer, Pool, StreamServer};

use super::greenlet::errno;
use super::group::gevent_pool_t;
use super::{call, free, get, give, ok, span, wait, write_text};

/// A function that serves a connection: `socket` is closed when it has returned or was
/// killed.
pub type gevent_connection_t =
    Option<unsafe extern "C-unwind" fn(socket: c_int, argument: *mut c_void)>;

/// A function that serves a datagram of `n` bytes. `socket` is the server's, to answer with;
/// `from` is the sender's struct sockaddr. Both and the bytes are there until it has
/// returned or was killed.
pub type gevent_datagram_t = Option<
    unsafe extern "C-unwind" fn(
        socket: c_int,
        bytes: *const c_void,
        n: usize,
        from: *const c_void,
        from_size: usize,
        argument: *mut c_void,
    ),
>;

enum AnyServer {
    Stream(StreamServer),
    Datagram(DatagramServer),
}

/// Runs the same code for each kind of server.
macro_rules! each {
    ($server:expr, $name:ident => $body:expr) => {
        match $server {
            AnyServer::Stream($name) => $body,
            AnyServer::Datagram($name) => $body,
        }
    };
}

/// What accepts connections or takes datagrams, and a greenlet for each.
pub struct gevent_server_t(AnyServer);

/// Where a server of C is to be.
enum Place {
    At(String),
    On(OwnedFd),
}

impl Place {
    /// # Safety
    /// Null or a string.
    unsafe fn at(address: *const c_char) -> Result<Self, c_int> {
        if address.is_null() {
            return Err(-libc::EINVAL);
        }
        // SAFETY: the caller's contract.
        let text = unsafe { CStr::from_ptr(address) }.to_str();
        text.map(|text| Place::At(text.to_owned()))
            .map_err(|_| -libc::EINVAL)
    }

    /// Takes over a socket of the internet's families, of this type, and if it is of streams
    /// one that listens. With any other the caller keeps it.
    ///
    /// # Safety
    /// The caller's descriptor, of which it is the owner.
    unsafe fn on(socket: RawFd, of_type: c_int) -> Result<Self, c_int> {
        let option = |name| {
            let mut value: c_int = 0;
            let mut size = size_of::<c_int>() as libc::socklen_t;
            // SAFETY: our variables.
            let error = unsafe {
                let value = (&raw mut value).cast();
                libc::getsockopt(socket, libc::SOL_SOCKET, name, value, &mut size)
            };
            match error {
                0 => Ok(value),
                _ => Err(errno(&io::Error::last_os_error())),
            }
        };
        let internet = matches!(option(libc::SO_DOMAIN)?, libc::AF_INET | libc::AF_INET6);
        let listens = of_type != libc::SOCK_STREAM || option(libc::SO_ACCEPTCONN)? != 0;
        if !internet || option(libc::SO_TYPE)? != of_type || !listens {
            return Err(-libc::EINVAL);
        }
        // SAFETY: the caller's contract.
        Ok(Place::On(unsafe { OwnedFd::from_raw_fd(socket) }))
    }
}

/// The pool of a handle; none for null.
///
/// # Safety
/// Null or a live handle.
unsafe fn pool(pool: *const gevent_pool_t) -> Pool {
    // SAFETY: the caller's contract.
    unsafe { pool.as_ref() }.map_or_else(Pool::unbounded, |pool| pool.0.clone())
}

/// Makes a server in a pool: `bind` makes a socket at an address, `make` a server on one.
///
/// # Safety
/// As the functions below: null or a live handle of a pool, and a place for the server.
unsafe fn server<S: From<OwnedFd>>(
    place: Result<Place, c_int>,
    bind: impl FnOnce(String) -> io::Result<S>,
    in_pool: *const gevent_pool_t,
    make: impl FnOnce(S, Pool) -> io::Result<AnyServer>,
    out: *mut *mut gevent_server_t,
) -> c_int {
    let socket = match ok!(place) {
        Place::At(address) => bind(address),
        Place::On(socket) => Ok(S::from(socket)),
    };
    // SAFETY: null or the caller's handle.
    let pool = unsafe { pool(in_pool) };
    match socket.and_then(|socket| make(socket, pool)) {
        // SAFETY: the caller's place.
        Ok(server) => unsafe { give(out, gevent_server_t(server)) },
        Err(error) => address_error(&error),
    }
}

/// Connections or datagrams that are taken before other greenlets run: 0 for as many as
/// there are at first.
macro_rules! with_max_accept {
    ($server:expr, $max_accept:expr) => {
        match $max_accept {
            0 => $server,
            most => $server.max_accept(most),
        }
    };
}

/// As the functions below.
unsafe fn stream_server(
    place: impl FnOnce() -> Result<Place, c_int>,
    in_pool: *const gevent_pool_t,
    max_accept: usize,
    handle: gevent_connection_t,
    argument: *mut c_void,
    out: *mut *mut gevent_server_t,
) -> c_int {
    let (Some(handle), false) = (handle, out.is_null()) else {
        return -libc::EINVAL;
    };
    let make = |listener, pool| {
        // SAFETY: the caller's function and argument.
        let server = unsafe { foreign::stream_server(listener, handle, argument) }?.pool(pool);
        Ok(AnyServer::Stream(with_max_accept!(server, max_accept)))
    };
    // SAFETY: the caller's own arguments.
    unsafe { server(place(), TcpListener::bind::<String>, in_pool, make, out) }
}

/// As the functions below.
unsafe fn datagram_server(
    place: impl FnOnce() -> Result<Place, c_int>,
    in_pool: *const gevent_pool_t,
    max_accept: usize,
    handle: gevent_datagram_t,
    argument: *mut c_void,
    out: *mut *mut gevent_server_t,
) -> c_int {
    let (Some(handle), false) = (handle, out.is_null()) else {
        return -libc::EINVAL;
    };
    let make = |socket, pool| {
        // SAFETY: the caller's function and argument.
        let server = unsafe { foreign::datagram_server(socket, handle, argument) }?.pool(pool);
        Ok(AnyServer::Datagram(with_max_accept!(server, max_accept)))
    };
    // SAFETY: the caller's own arguments.
    unsafe { server(place(), UdpSocket::bind::<String>, in_pool, make, out) }
}

/// What std says without an errno is about the address.
fn address_error(error: &io::Error) -> c_int {
    -error.raw_os_error().unwrap_or(libc::EINVAL)
}

/// Makes a server of TCP connections at `address` (a host, a colon and a port; port 0 is one
/// that is free), which calls `handle(socket, argument)` in a greenlet for each, in `pool`
/// (while it is full none is accepted; null: no limit). `max_accept` connections (0: 100)
/// are accepted before other greenlets run. 0, -EINVAL, or the error of bind. Any thread;
/// a name is looked up meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_stream_server_new(
    address: *const c_char,
    pool: *const gevent_pool_t,
    max_accept: usize,
    handle: gevent_connection_t,
    argument: *mut c_void,
    out: *mut *mut gevent_server_t,
) -> c_int {
    call(|| {
        // SAFETY: the caller's own arguments.
        unsafe {
            let place = || Place::at(address);
            stream_server(place, pool, max_accept, handle, argument, out)
        }
    })
}

/// As gevent_stream_server_new, on a socket of the family AF_INET or AF_INET6 that listens.
/// With 0 as the result it is the server's, is made non-blocking, and is closed with it.
/// 0, or -EINVAL for another socket, or -EBADF or -ENOTSOCK. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_stream_server_on(
    listener: c_int,
    pool: *const gevent_pool_t,
    max_accept: usize,
    handle: gevent_connection_t,
    argument: *mut c_void,
    out: *mut *mut gevent_server_t,
) -> c_int {
    call(|| {
        // SAFETY: the caller's own arguments.
        unsafe {
            let place = || Place::on(listener, libc::SOCK_STREAM);
            stream_server(place, pool, max_accept, handle, argument, out)
        }
    })
}

/// Makes a server of UDP datagrams at `address` (as for gevent_stream_server_new), which
/// calls `handle` in a greenlet for each, in `pool` (null: no limit). `max_accept` datagrams
/// (0: 100) are taken before other greenlets run. 0, -EINVAL, or the error of bind. Any
/// thread; a name is looked up meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_datagram_server_new(
    address: *const c_char,
    pool: *const gevent_pool_t,
    max_accept: usize,
    handle: gevent_datagram_t,
    argument: *mut c_void,
    out: *mut *mut gevent_server_t,
) -> c_int {
    call(|| {
        // SAFETY: the caller's own arguments.
        unsafe {
            let place = || Place::at(address);
            datagram_server(place, pool, max_accept, handle, argument, out)
        }
    })
}

/// As gevent_datagram_server_new, on a socket of the type SOCK_DGRAM, as for
/// gevent_stream_server_on. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_datagram_server_on(
    socket: c_int,
    pool: *const gevent_pool_t,
    max_accept: usize,
    handle: gevent_datagram_t,
    argument: *mut c_void,
    out: *mut *mut gevent_server_t,
) -> c_int {
    call(|| {
        // SAFETY: the caller's own arguments.
        unsafe {
            let place = || Place::on(socket, libc::SOCK_DGRAM);
            datagram_server(place, pool, max_accept, handle, argument, out)
        }
    })
}

/// Writes the server's address and port, as text, cut to `size` bytes with its end, and
/// returns its length, or the error of getsockname. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_server_address(
    server: *const gevent_server_t,
    buffer: *mut c_char,
    size: usize,
) -> c_int {
    call(
        || match each!(get!(server), server => server.local_addr()) {
            // SAFETY: the caller's buffer of that size.
            Ok(address) => unsafe { write_text(&address.to_string(), buffer, size) },
            Err(error) => address_error(&error),
        },
    )
}

/// The server's port, or the error of getsockname. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_server_port(server: *const gevent_server_t) -> c_int {
    call(
        || match each!(get!(server), server => server.local_addr()) {
            Ok(address) => address.port().into(),
            Err(error) => address_error(&error),
        },
    )
}

/// Begins to serve, in a greenlet. A second time nothing happens. 0, or the error of making
/// a pipe or a thread. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_server_start(server: *const gevent_server_t) -> c_int {
    call(|| match each!(get!(server), server => server.start()) {
        Ok(()) => 0,
        Err(error) => errno(&error),
    })
}

/// Starts, and serves until another greenlet or thread stops it. 0, an error of starting, or
/// of accept or recvfrom. A wait. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn gevent_server_serve_forever(
    server: *const gevent_server_t,
) -> c_int {
    wait(
        || match each!(get!(server), server => server.serve_forever()) {
            Ok(()) => 0,
            Err(error) => errno(&error),
        },
    )
}

/// Accepts no more, lets what is being served go on for `seconds` at most, and kills what is
/// left then, waiting a second at most for that. 0 if nothing was left, or -ETIMEDOUT. It
/// may be started again. A wait. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn gevent_server_stop(
    server: *const gevent_server_t,
    seconds: c_double,
) -> c_int {
    wait(|| {
        let timeout = ok!(span(seconds));
        if each!(get!(server), server => server.stop_within(timeout)) {
            0
        } else {
            -libc::ETIMEDOUT
        }
    })
}

/// Frees a server: it accepts no more, and what is being served goes on. Any thread, the
/// last that uses the handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gevent_server_free(server: *mut gevent_server_t) {
    // SAFETY: the caller's handle.
    unsafe { free(server) };
}
