//! The program's arrays of buffers, as readv(2), writev(2) and the messages of sockets
//! have them.
//!
//! They are read as the kernel reads them: where that faults the kernel is left to
//! say so.
#![allow(unsafe_code)]

use crate::raw;

/// Most buffers of one call (UIO_MAXIOV).
const MOST: usize = 1024;

/// Most bytes of one call (MAX_RW_COUNT); the kernel leaves the rest for another.
pub const MOST_BYTES: usize = 0x7fff_f000;

/// An array of buffers.
#[derive(Clone, Copy)]
pub struct Buffers {
    at: u64,
    count: usize,
    total: usize,
}

/// What is left of an array after some bytes: the rest of one buffer, or whole buffers.
/// No copy of the array is needed.
pub enum Rest {
    /// The rest of one.
    Part(libc::iovec),
    /// Buffers of the program's own array.
    Whole(Buffers),
}

impl Rest {
    /// Address and length of the array to hand to the kernel.
    pub fn array(&self) -> (*const libc::iovec, usize) {
        match self {
            Rest::Part(part) => (&raw const *part, 1),
            Rest::Whole(buffers) => buffers.array(),
        }
    }
}

impl Buffers {
    /// The array at an address the program gave. `None`: the kernel refuses it.
    pub fn of(at: u64, count: usize) -> Option<Self> {
        if count > MOST {
            return None;
        }
        let mut buffers = Buffers {
            at,
            count,
            total: 0,
        };
        for i in 0..count {
            buffers.total = buffers.total.saturating_add(buffers.get(i)?.iov_len);
        }
        buffers.total = buffers.total.min(MOST_BYTES);
        Some(buffers)
    }

    /// One buffer, which stays where it is while the value is used.
    pub fn one(buffer: &libc::iovec) -> Self {
        Buffers {
            at: &raw const *buffer as u64,
            count: 1,
            total: buffer.iov_len.min(MOST_BYTES),
        }
    }

    /// Address and length of the array to hand to the kernel.
    pub fn array(&self) -> (*const libc::iovec, usize) {
        (self.at as *const libc::iovec, self.count)
    }

    /// Number of buffers.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Bytes that one call moves at most.
    pub fn total(&self) -> usize {
        self.total
    }

    /// The i-th buffer; `None` if it cannot be read.
    pub fn get(&self, i: usize) -> Option<libc::iovec> {
        let at = self.at.wrapping_add((i * size_of::<libc::iovec>()) as u64);
        // SAFETY: the program's own array, which the kernel would read; two words.
        unsafe { raw::get(at) }.ok()
    }

    /// What is left after `done` bytes.
    pub fn rest(&self, done: usize) -> Rest {
        let mut skipped = 0usize;
        for i in 0..self.count {
            let Some(buffer) = self.get(i) else {
                break;
            };
            if done < skipped + buffer.iov_len {
                let inside = done - skipped;
                if inside == 0 {
                    return Rest::Whole(Buffers {
                        at: self.at + (i * size_of::<libc::iovec>()) as u64,
                        count: self.count - i,
                        total: self.total - done,
                    });
                }
                return Rest::Part(libc::iovec {
                    iov_base: buffer.iov_base.wrapping_byte_add(inside),
                    iov_len: (buffer.iov_len - inside).min(self.total - done),
                });
            }
            skipped += buffer.iov_len;
        }
        Rest::Part(libc::iovec {
            iov_base: core::ptr::null_mut(),
            iov_len: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(rest: &Rest) -> Vec<usize> {
        let (array, count) = rest.array();
        // SAFETY: an array of this test, or the part in `rest`.
        unsafe { core::slice::from_raw_parts(array, count) }
            .iter()
            .map(|buffer| buffer.iov_len)
            .collect()
    }

    #[test]
    fn the_rest_begins_where_the_bytes_ended() {
        let mut bytes = [0u8; 30];
        let base = bytes.as_mut_ptr();
        let array = [(0, 10), (10, 0), (10, 20)].map(|(at, len)| libc::iovec {
            iov_base: base.wrapping_add(at).cast(),
            iov_len: len,
        });
        let buffers = Buffers::of(array.as_ptr() as u64, 3).unwrap();
        assert_eq!(buffers.total(), 30);
        assert_eq!(lengths(&buffers.rest(0)), [10, 0, 20]);
        assert_eq!(lengths(&buffers.rest(4)), [6]);
        assert_eq!(lengths(&buffers.rest(10)), [20]);
        assert_eq!(lengths(&buffers.rest(29)), [1]);
        assert_eq!(lengths(&buffers.rest(30)), [0]);
    }

    #[test]
    fn one_call_moves_no_more_than_the_kernel_does() {
        let huge = libc::iovec {
            iov_base: core::ptr::null_mut(),
            iov_len: usize::MAX,
        };
        let array = [huge, huge];
        let buffers = Buffers::of(array.as_ptr() as u64, 2).unwrap();
        assert_eq!(buffers.total(), MOST_BYTES);
        assert!(Buffers::of(array.as_ptr() as u64, MOST + 1).is_none());
    }
}
