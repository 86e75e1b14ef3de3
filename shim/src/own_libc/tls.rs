//! Where the thread-local variables of this library are.
//!
//! The compiler asks `__tls_get_addr` of the dynamic linker, for code that may be in a library
//! whose variables are made when a thread first uses them. This library's are part of every
//! thread's static block: one of them is read by the other way (initial exec), for
//! which the linker sets DF_STATIC_TLS. So where a variable is follows from where that one is.
#![allow(unsafe_code)]

use core::arch::global_asm;

// In: rdi, the address of the variable's tls_index (module, offset). Out: rax.
global_asm!(
    ".section .tbss.gevent_shim_tls_anchor,\"awT\",@nobits",
    ".balign 8",
    ".hidden gevent_shim_tls_anchor",
    ".globl gevent_shim_tls_anchor",
    ".type gevent_shim_tls_anchor,@object",
    ".size gevent_shim_tls_anchor, 8",
    "gevent_shim_tls_anchor: .zero 8",
    ".text",
    ".hidden gevent_shim_own___tls_get_addr",
    ".globl gevent_shim_own___tls_get_addr",
    ".type gevent_shim_own___tls_get_addr,@function",
    "gevent_shim_own___tls_get_addr:",
    // The anchor's offset from the thread pointer, less its offset in the block, is the
    // block's.
    "movq gevent_shim_tls_anchor@GOTTPOFF(%rip), %rax",
    "subq $gevent_shim_tls_anchor@DTPOFF, %rax",
    "addq %fs:0, %rax",
    "addq 8(%rdi), %rax",
    "ret",
    ".size gevent_shim_own___tls_get_addr, . - gevent_shim_own___tls_get_addr",
    options(att_syntax),
);
