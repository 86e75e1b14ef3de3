//! The kernel's clock, as the kernel counts it: the function of its own page (vdso(7)).
//!
//! libc's `clock_gettime` is what the program sees, and another library may have made that
//! another time than the kernel's, slow, or a call that takes a lock. A deadline is awaited
//! by the kernel's clock, whoever computed it.
//!
//! # Synchronization
//! Where the function is is written by whoever asks first; all who write write the same.
#![allow(unsafe_code)]

use core::ffi::{c_int, c_void};
use core::mem::transmute;
use core::ptr;
use core::slice;
use core::sync::atomic::{AtomicPtr, Ordering};

use libc::{Elf64_Ehdr, Elf64_Phdr, clockid_t, timespec};

use crate::arch::syscall2;
use crate::objects::symbols::{Image, Symbols, dynamic_of};

type GetTime = unsafe extern "C" fn(clockid_t, *mut timespec) -> c_int;

/// The function; null before somebody has looked for it, [`NONE`] where there is none.
static GET_TIME: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

const NONE: *mut c_void = ptr::dangling_mut();

/// clock_gettime(2) as the kernel answers it: 0, or `-errno`.
#[inline]
pub fn clock_gettime(clock: clockid_t, to: &mut timespec) -> i64 {
    let mut at = GET_TIME.load(Ordering::Relaxed);
    if at.is_null() {
        at = look_for();
    }
    if at == NONE {
        // SAFETY: the kernel writes to `to`.
        return unsafe { syscall2(libc::SYS_clock_gettime, clock as u64, to as *mut _ as u64) };
    }
    // SAFETY: the kernel's function of this type; it writes to `to`, and returns as the
    // system call does.
    unsafe { transmute::<*mut c_void, GetTime>(at)(clock, to).into() }
}

#[cold]
fn look_for() -> *mut c_void {
    let found = find().unwrap_or(NONE);
    GET_TIME.store(found, Ordering::Relaxed);
    found
}

fn find() -> Option<*mut c_void> {
    // SAFETY: getauxval has no preconditions. The kernel gives the address of a whole ELF
    // object that stays mapped.
    unsafe {
        let at = libc::getauxval(libc::AT_SYSINFO_EHDR) as usize;
        let head = ptr::with_exposed_provenance::<Elf64_Ehdr>(at).as_ref()?;
        let headers = ptr::with_exposed_provenance::<Elf64_Phdr>(at + head.e_phoff as usize);
        let headers = slice::from_raw_parts(headers, head.e_phnum.into());
        let load = headers.iter().find(|h| h.p_type == libc::PT_LOAD)?;
        let bias = (at as u64)
            .wrapping_add(load.p_offset)
            .wrapping_sub(load.p_vaddr);
        let bytes = slice::from_raw_parts(ptr::with_exposed_provenance(at), load.p_memsz as usize);
        let image = Image::new([(load.p_vaddr, bytes)]);
        let symbols = Symbols::new(image, dynamic_of(headers)?, bias)?;
        let symbol = symbols.find(b"__vdso_clock_gettime")?;
        let function = bias.wrapping_add(symbol.address) as usize;
        Some(ptr::with_exposed_provenance_mut(function))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_time_of_the_system_call() {
        assert_ne!(look_for(), NONE);
        for clock in [libc::CLOCK_REALTIME, libc::CLOCK_MONOTONIC] {
            let mut times = [timespec {
                tv_sec: 0,
                tv_nsec: 0,
            }; 3];
            for (n, to) in times.iter_mut().enumerate() {
                let ret = if n == 1 {
                    // SAFETY: the kernel writes to `to`.
                    unsafe { syscall2(libc::SYS_clock_gettime, clock as u64, to as *mut _ as u64) }
                } else {
                    clock_gettime(clock, to)
                };
                assert_eq!(ret, 0);
            }
            let ns = times.map(|t| t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64);
            // The real-time clock may be set meanwhile, but not by a minute.
            assert!(
                ns[2].abs_diff(ns[1]) < 60_000_000_000 && ns[1].abs_diff(ns[0]) < 60_000_000_000
            );
        }
        let mut to = timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        assert_eq!(clock_gettime(1000, &mut to), -i64::from(libc::EINVAL));
    }
}
