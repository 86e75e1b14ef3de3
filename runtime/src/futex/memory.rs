//! The program's memory as the futex operations see it.
#![allow(unsafe_code)]

use crate::arch;
use crate::errno::Errno;

/// What `FUTEX_WAKE_OP` does to the second word.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum AtomicOp {
    /// `word = arg`
    Set,
    /// `word += arg`, wrapping
    Add,
    /// `word |= arg`
    Or,
    /// `word &= !arg`
    AndNot,
    /// `word ^= arg`
    Xor,
}

/// Access to 32-bit futex words by address. Every access is atomic and
/// sequentially consistent.
///
/// Addresses given to the 32-bit operations are multiples of four, but for [`load`](Self::load).
pub trait Memory {
    /// The word at `addr`. `EFAULT` if it can't be read.
    fn load(&self, addr: usize) -> Result<u32, Errno>;

    /// Stores `new` if the word is `current`. Returns the word as it was: the
    /// exchange took place if that is `current`.
    fn compare_exchange(&self, addr: usize, current: u32, new: u32) -> Result<u32, Errno>;

    /// Applies `op` with `arg`. Returns the word as it was.
    fn fetch_op(&self, addr: usize, op: AtomicOp, arg: u32) -> Result<u32, Errno>;

    /// The pointer-sized word at `addr`, which need not be aligned: a link of a
    /// robust list.
    fn load_pointer(&self, addr: usize) -> Result<usize, Errno>;

    /// What the waiters on the word at `addr` are found by: its address, and
    /// [`SHARED`] if other processes may wait there too. As with the kernel's keys
    /// a wake finds those only that waited likewise.
    ///
    /// # Errors
    /// `EINVAL` if misaligned, `EFAULT` if no futex can be there.
    #[inline]
    fn key(&self, addr: usize) -> Result<usize, Errno> {
        check_address(addr)?;
        Ok(addr)
    }

    /// Wakes a waiter of the word that no table of this process has: one of another
    /// process, if there can be any.
    fn wake_others(&self, _addr: usize) {}
}

/// Set in the key of a word that other processes may wait for.
pub const SHARED: usize = 1;

/// The address of the word that a key is of.
pub(super) fn address_of(key: usize) -> usize {
    key & !SHARED
}

/// Refuses what no futex can be at: `EINVAL` if misaligned, `EFAULT` in the
/// kernel's half. Nothing is read, so that a wake of an unmapped address
/// succeeds, as it does in the kernel for private futexes.
#[inline]
fn check_address(addr: usize) -> Result<(), Errno> {
    if !addr.is_multiple_of(4) {
        return Err(Errno::EINVAL);
    }
    if (addr as isize) < 0 {
        return Err(Errno::EFAULT);
    }
    Ok(())
}

/// The address space of this process, and whether the words are futexes of this process
/// alone (`FUTEX_PRIVATE_FLAG`).
///
/// A bad address gives `EFAULT`, whether nothing is mapped there or the word may not be
/// accessed so, and costs nothing as long as it is good. Operations read a word once before
/// they take a lock, so that as a rule no lock is held while a page is fetched.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Direct {
    /// They are: nothing need be there for a wake.
    Private,
    /// Other processes may have the page too, which is looked for.
    Shared,
}

impl Direct {
    /// The kernel finds the waiters by the page, which it looks up for writing.
    #[cold]
    fn look_up(&self, addr: usize) -> Result<(), Errno> {
        let value = self.load(addr)?;
        if self.compare_exchange(addr, value, value).is_ok() {
            return Ok(());
        }
        // It takes one that can only be read if a file is behind it. This moves nobody.
        let nobody = [
            addr as u64,
            libc::FUTEX_REQUEUE as u64,
            0,
            0,
            addr as u64,
            0,
        ];
        // SAFETY: reads nothing.
        let found = unsafe { arch::syscall(libc::SYS_futex as u64, nobody) };
        if found < 0 {
            Err(Errno::EFAULT)
        } else {
            Ok(())
        }
    }
}

impl Memory for Direct {
    #[inline]
    fn key(&self, addr: usize) -> Result<usize, Errno> {
        check_address(addr)?;
        if *self == Direct::Private {
            return Ok(addr);
        }
        self.look_up(addr)?;
        Ok(addr | SHARED)
    }

    #[inline]
    fn load(&self, addr: usize) -> Result<u32, Errno> {
        // SAFETY: the program expects the read of a word it gave to the futex calls.
        unsafe { arch::load(addr as u64) }.ok_or(Errno::EFAULT)
    }

    #[inline]
    fn compare_exchange(&self, addr: usize, current: u32, new: u32) -> Result<u32, Errno> {
        // SAFETY: as in `load`; so it does the change by an operation that makes one.
        unsafe { arch::compare_exchange(addr as u64, current, new) }.ok_or(Errno::EFAULT)
    }

    fn fetch_op(&self, addr: usize, op: AtomicOp, arg: u32) -> Result<u32, Errno> {
        let mut old = self.load(addr)?;
        loop {
            let new = match op {
                AtomicOp::Set => arg,
                AtomicOp::Add => old.wrapping_add(arg),
                AtomicOp::Or => old | arg,
                AtomicOp::AndNot => old & !arg,
                AtomicOp::Xor => old ^ arg,
            };
            match self.compare_exchange(addr, old, new)? {
                seen if seen == old => return Ok(old),
                seen => old = seen,
            }
        }
    }

    fn load_pointer(&self, addr: usize) -> Result<usize, Errno> {
        // SAFETY: as in `load`, of a list it gave to the kernel.
        unsafe { arch::read_word(addr as u64) }
            .map(|word| word as usize)
            .ok_or(Errno::EFAULT)
    }
}

/// Linux maps nothing below this address for an ordinary process
/// (`vm.mmap_min_addr`), and user addresses have the top bit clear.
const FIRST_ADDRESS: usize = 4096;

/// Refuses addresses that can't be the program's on any configuration.
fn plausible(addr: usize) -> Result<(), Errno> {
    if addr < FIRST_ADDRESS || addr as isize <= 0 {
        return Err(Errno::EFAULT);
    }
    Ok(())
}

/// The address space of this process, where an address is first read by the
/// kernel (`process_vm_readv`), so that an unmapped one gives `EFAULT` even where
/// faults are blocked, as at the end of a thread.
///
/// Costs a system call an access: for the walk of a robust list, whose pointers
/// the program may have left in any state. Where a sandbox forbids the call,
/// accesses are direct.
#[derive(Copy, Clone, Debug, Default)]
pub struct Checked;

impl Checked {
    fn probe(&self, addr: usize, len: usize) -> Result<(), Errno> {
        plausible(addr)?;
        let mut copy = [0u8; size_of::<usize>()];
        let local = [copy.as_mut_ptr() as usize, len];
        let remote = [addr, len];
        // SAFETY: both vectors hold one iovec (a pointer and a length); the
        // local one describes `copy`, at least `len` bytes. getpid has no
        // arguments.
        let got = unsafe {
            let pid = arch::syscall0(libc::SYS_getpid);
            arch::syscall(
                libc::SYS_process_vm_readv as u64,
                [
                    pid as u64,
                    local.as_ptr() as u64,
                    1,
                    remote.as_ptr() as u64,
                    1,
                    0,
                ],
            )
        };
        if got == Errno::EFAULT.to_ret() || (got >= 0 && got < len as i64) {
            return Err(Errno::EFAULT);
        }
        Ok(())
    }
}

impl Memory for Checked {
    fn load(&self, addr: usize) -> Result<u32, Errno> {
        self.probe(addr, size_of::<u32>())?;
        Direct::Private.load(addr)
    }

    fn compare_exchange(&self, addr: usize, current: u32, new: u32) -> Result<u32, Errno> {
        self.probe(addr, size_of::<u32>())?;
        Direct::Private.compare_exchange(addr, current, new)
    }

    fn fetch_op(&self, addr: usize, op: AtomicOp, arg: u32) -> Result<u32, Errno> {
        self.probe(addr, size_of::<u32>())?;
        Direct::Private.fetch_op(addr, op, arg)
    }

    fn load_pointer(&self, addr: usize) -> Result<usize, Errno> {
        self.probe(addr, size_of::<usize>())?;
        Direct::Private.load_pointer(addr)
    }
}

/// [`Checked`] memory that other processes may share.
#[derive(Copy, Clone, Debug, Default)]
pub struct Shared;

impl Memory for Shared {
    fn key(&self, addr: usize) -> Result<usize, Errno> {
        check_address(addr)?;
        Ok(addr | SHARED)
    }

    fn load(&self, addr: usize) -> Result<u32, Errno> {
        Checked.load(addr)
    }

    fn compare_exchange(&self, addr: usize, current: u32, new: u32) -> Result<u32, Errno> {
        Checked.compare_exchange(addr, current, new)
    }

    fn fetch_op(&self, addr: usize, op: AtomicOp, arg: u32) -> Result<u32, Errno> {
        Checked.fetch_op(addr, op, arg)
    }

    fn load_pointer(&self, addr: usize) -> Result<usize, Errno> {
        Checked.load_pointer(addr)
    }

    fn wake_others(&self, addr: usize) {
        // SAFETY: a wake reads no memory.
        unsafe { arch::syscall3(libc::SYS_futex, addr as u64, libc::FUTEX_WAKE as u64, 1) };
    }
}
