//! Sockets: the system calls of libc's functions.
#![allow(unsafe_code)]

use core::ffi::{c_int, c_void};
use core::ptr;

use libc::{sockaddr, socklen_t};

use super::own;

own! {
    accept4 bind connect getsockname getsockopt listen recv recvfrom send sendto setsockopt socket
}

unsafe extern "C" fn accept4(
    fd: c_int,
    address: *mut sockaddr,
    length: *mut socklen_t,
    flags: c_int,
) -> c_int {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_accept4, fd, address, length, flags) as c_int }
}

unsafe extern "C" fn bind(fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_bind, fd, address, length) as c_int }
}

unsafe extern "C" fn connect(fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_connect, fd, address, length) as c_int }
}

unsafe extern "C" fn getsockname(
    fd: c_int,
    address: *mut sockaddr,
    length: *mut socklen_t,
) -> c_int {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_getsockname, fd, address, length) as c_int }
}

unsafe extern "C" fn getsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    to: *mut c_void,
    length: *mut socklen_t,
) -> c_int {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_getsockopt, fd, level, name, to, length) as c_int }
}

unsafe extern "C" fn listen(fd: c_int, backlog: c_int) -> c_int {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_listen, fd, backlog) as c_int }
}

unsafe extern "C" fn recv(fd: c_int, to: *mut c_void, size: usize, flags: c_int) -> isize {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe {
        libc::syscall(
            libc::SYS_recvfrom,
            fd,
            to,
            size,
            flags,
            ptr::null_mut::<c_void>(),
            ptr::null_mut::<c_void>(),
        ) as isize
    }
}

unsafe extern "C" fn recvfrom(
    fd: c_int,
    to: *mut c_void,
    size: usize,
    flags: c_int,
    address: *mut sockaddr,
    length: *mut socklen_t,
) -> isize {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_recvfrom, fd, to, size, flags, address, length) as isize }
}

unsafe extern "C" fn send(fd: c_int, from: *const c_void, size: usize, flags: c_int) -> isize {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe {
        libc::syscall(
            libc::SYS_sendto,
            fd,
            from,
            size,
            flags,
            ptr::null_mut::<c_void>(),
            0usize,
        ) as isize
    }
}

unsafe extern "C" fn sendto(
    fd: c_int,
    from: *const c_void,
    size: usize,
    flags: c_int,
    address: *const sockaddr,
    length: socklen_t,
) -> isize {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_sendto, fd, from, size, flags, address, length) as isize }
}

unsafe extern "C" fn setsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    from: *const c_void,
    length: socklen_t,
) -> c_int {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_setsockopt, fd, level, name, from, length) as c_int }
}

unsafe extern "C" fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int {
    // SAFETY: the caller's contract, which is that of the system call.
    unsafe { libc::syscall(libc::SYS_socket, domain, kind, protocol) as c_int }
}
