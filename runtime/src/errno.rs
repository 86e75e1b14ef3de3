//! The kernel's error numbers, as our operations hand them to a guest.

/// An error number as in `errno(3)`: positive.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Errno(pub i32);

macro_rules! errnos {
    ($($name:ident)*) => {
        impl Errno {
            $(
                #[doc = concat!("`", stringify!($name), "` of `errno(3)`.")]
                pub const $name: Errno = Errno(libc::$name);
            )*
        }
    };
}

errnos! { EPERM ESRCH EINTR EAGAIN EFAULT EINVAL EDEADLK ENOSYS ETIMEDOUT }

impl Errno {
    /// The value a failed system call leaves in its result register.
    #[inline]
    pub const fn to_ret(self) -> i64 {
        -(self.0 as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::Errno;

    #[test]
    fn is_negated_for_the_guest() {
        assert_eq!(Errno::EAGAIN.to_ret(), -11);
        assert_eq!(Errno::ETIMEDOUT.to_ret(), -110);
    }
}
