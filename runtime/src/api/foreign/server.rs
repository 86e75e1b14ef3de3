//! Servers whose handlers are functions of C.
//!
//! A handler runs as a greenlet of C does, so a kill cancels it and its cleanup handlers
//! run. What it was given lives until the greenlet has ended, however it did: a link drops
//! it, since a cancellation drops nothing of ours.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io;
use std::mem;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;

use super::super::pool::Pool;
use super::super::server::{DatagramServer, StreamServer};
use super::super::sync::Arc;
use super::{Builder, Function, spawn_in};

/// A function of C that serves a connection: the socket, which is closed when it has
/// returned or was killed, and its own argument.
pub type OnConnection = unsafe extern "C-unwind" fn(socket: i32, argument: *mut c_void);

/// A function of C that serves a datagram: the server's socket, the bytes and their number,
/// the sender's `struct sockaddr` and its size, and its own argument. What is pointed to
/// is there until it has returned or was killed.
pub type OnDatagram = unsafe extern "C-unwind" fn(
    socket: i32,
    bytes: *const c_void,
    n: usize,
    from: *const c_void,
    from_size: usize,
    argument: *mut c_void,
);

/// A handler's own argument.
#[derive(Clone, Copy)]
struct Argument(*mut c_void);

// SAFETY: who passes it promises that.
unsafe impl Send for Argument {}
// SAFETY: as above.
unsafe impl Sync for Argument {}

struct Connection {
    handle: OnConnection,
    argument: Argument,
    stream: TcpStream,
}

/// Nothing of this frame has a destructor: a cancellation may unwind through it.
unsafe extern "C-unwind" fn connection(job: *mut c_void) -> *mut c_void {
    // SAFETY: the job lives until the greenlet has ended.
    unsafe {
        let job = &*job.cast::<Connection>();
        (job.handle)(job.stream.as_raw_fd(), job.argument.0);
    }
    std::ptr::null_mut()
}

struct Datagram {
    handle: OnDatagram,
    argument: Argument,
    socket: Arc<UdpSocket>,
    bytes: Vec<u8>,
    from: libc::sockaddr_storage,
    from_size: usize,
}

/// As [`connection`].
unsafe extern "C-unwind" fn datagram(job: *mut c_void) -> *mut c_void {
    // SAFETY: the job lives until the greenlet has ended.
    unsafe {
        let job = &*job.cast::<Datagram>();
        (job.handle)(
            job.socket.as_raw_fd(),
            job.bytes.as_ptr().cast(),
            job.bytes.len(),
            (&raw const job.from).cast(),
            job.from_size,
            job.argument.0,
        );
    }
    std::ptr::null_mut()
}

/// A job that a greenlet uses and its link drops.
struct Lent<J>(*mut J);

// SAFETY: the greenlet is over when the link runs.
unsafe impl<J: Send> Send for Lent<J> {}

impl<J> Drop for Lent<J> {
    fn drop(&mut self) {
        // SAFETY: the box of `start`; nobody else drops it.
        drop(unsafe { Box::from_raw(self.0) });
    }
}

/// Spawns `function` with `job` in the pool.
fn start<J: Send + 'static>(pool: &Pool, function: Function, job: J) -> io::Result<()> {
    let lent = Lent(Box::into_raw(Box::new(job)));
    // SAFETY: the function takes this job, which is dropped after the greenlet's end. Who
    // made the server answers for the handler.
    let spawned = unsafe { spawn_in(pool, Builder::new(), None, function, lent.0.cast()) }?;
    if let Some(spawned) = spawned {
        spawned.greenlet.link(move |_| drop(lent));
    }
    Ok(())
}

/// A [`StreamServer`] with a handler of C.
///
/// # Errors
/// As [`StreamServer::new`].
///
/// # Safety
/// The handler must take a socket and the argument, on several threads at once, and leave
/// in no other way than by returning, `pthread_exit` or a cancellation.
pub unsafe fn stream_server(
    listener: TcpListener,
    handle: OnConnection,
    argument: *mut c_void,
) -> io::Result<StreamServer> {
    let argument = Argument(argument);
    StreamServer::serving(listener, move |pool, (stream, _)| {
        // The whole of it, with its promise.
        let argument = { argument };
        let job = Connection {
            handle,
            argument,
            stream,
        };
        start(pool, connection, job)
    })
}

/// A [`DatagramServer`] with a handler of C.
///
/// # Errors
/// As [`DatagramServer::new`].
///
/// # Safety
/// As for [`stream_server`].
pub unsafe fn datagram_server(
    socket: UdpSocket,
    handle: OnDatagram,
    argument: *mut c_void,
) -> io::Result<DatagramServer> {
    let argument = Argument(argument);
    DatagramServer::serving(socket, move |pool, (socket, bytes, from)| {
        let argument = { argument };
        let (from, from_size) = address_of_c(from);
        let job = Datagram {
            handle,
            argument,
            socket,
            bytes,
            from,
            from_size,
        };
        start(pool, datagram, job)
    })
}

/// An address as C has it, and its size in bytes.
fn address_of_c(address: SocketAddr) -> (libc::sockaddr_storage, usize) {
    // SAFETY: bytes of 0 are a storage without an address.
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let place = &raw mut storage;
    match address {
        SocketAddr::V4(v4) => {
            let of_c = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(v4.ip().octets()),
                },
                sin_zero: [0; 8],
            };
            // SAFETY: a storage has room for every address, and its alignment.
            unsafe { place.cast::<libc::sockaddr_in>().write(of_c) };
            (storage, size_of::<libc::sockaddr_in>())
        }
        SocketAddr::V6(v6) => {
            let of_c = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr {
                    s6_addr: v6.ip().octets(),
                },
                sin6_scope_id: v6.scope_id(),
            };
            // SAFETY: as above.
            unsafe { place.cast::<libc::sockaddr_in6>().write(of_c) };
            (storage, size_of::<libc::sockaddr_in6>())
        }
    }
}
