//! The form in which an event is declared, and what a declaration gives.

use std::fmt;
use std::time::Duration;

use tracing::Level;
use tracing::field::Value;

/// What is fixed about an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Declaration {
    /// The struct's name, also the name in tracing's metadata.
    pub name: &'static str,
    /// One of [`target`](crate::target).
    pub target: &'static str,
    /// How much it matters.
    pub level: Level,
    /// The names of its fields.
    pub fields: &'static [&'static str],
}

/// An address in the program; shown in hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address(pub u64);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A field's type, as a value tracing can carry.
pub(crate) trait Field {
    fn as_value(&self) -> impl Value + '_;
}

macro_rules! plain_fields {
    ($($ty:ty)*) => {
        $(impl Field for $ty {
            fn as_value(&self) -> impl Value + '_ {
                *self
            }
        })*
    };
}

plain_fields!(usize u64 i32 i64);

impl Field for &str {
    fn as_value(&self) -> impl Value + '_ {
        *self
    }
}

impl Field for Option<&str> {
    fn as_value(&self) -> impl Value + '_ {
        *self
    }
}

impl Field for Option<i32> {
    fn as_value(&self) -> impl Value + '_ {
        *self
    }
}

impl Field for Address {
    fn as_value(&self) -> impl Value + '_ {
        tracing::field::display(self)
    }
}

impl Field for Duration {
    /// Whole microseconds: a number that sinks can add up.
    fn as_value(&self) -> impl Value + '_ {
        u64::try_from(self.as_micros()).unwrap_or(u64::MAX)
    }
}

/// Declares events: for each the struct, its line as `Display`, `emit` and
/// `emit_with`, and its [`Declaration`].
///
/// The text after `=>` is a format string over the fields; words made of
/// several fields follow it as `name = expression`.
macro_rules! events {
    ($(
        $(#[$doc:meta])*
        $target:ident $level:ident $name:ident $(<$life:lifetime>)? {
            $($(#[$field_doc:meta])* $field:ident: $ty:ty,)*
        } => $text:literal $(, $word:ident = $value:expr)*;
    )*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy, PartialEq, Eq)]
            pub struct $name $(<$life>)? {
                $($(#[$field_doc])* pub $field: $ty,)*
            }

            impl $(<$life>)? $name $(<$life>)? {
                /// What is fixed about this event.
                pub const DECLARATION: $crate::Declaration = $crate::Declaration {
                    name: stringify!($name),
                    target: $crate::target::$target,
                    level: ::tracing::Level::$level,
                    fields: &[$(stringify!($field)),*],
                };

                /// Tells this event to whoever listens. Host mode only.
                pub fn emit(&self) {
                    #[allow(unused_imports)]
                    use $crate::declare::Field as _;
                    ::tracing::event!(
                        name: stringify!($name),
                        target: $crate::target::$target,
                        ::tracing::Level::$level,
                        $($field = self.$field.as_value(),)*
                        "{self}"
                    );
                }

                /// Tells the event that `build` makes, and makes it only if
                /// somebody listens. Host mode only.
                pub fn emit_with(build: impl FnOnce() -> Self) {
                    let enabled = ::tracing::event_enabled!(
                        target: $crate::target::$target,
                        ::tracing::Level::$level
                    );
                    if enabled {
                        build().emit();
                    }
                }
            }

            impl $(<$life>)? ::std::fmt::Display for $name $(<$life>)? {
                fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                    // A text need not have every field in it.
                    #[allow(unused_variables)]
                    let Self { $($field),* } = self;
                    write!(f, $text $(, $word = $value)*)
                }
            }
        )*

        /// Every event, in the order of declaration.
        pub const ALL: &[$crate::Declaration] = &[$($name::DECLARATION),*];
    };
}
pub(crate) use events;

/// A number and what it counts, in the singular for one.
pub(crate) struct Count(pub usize, pub &'static str);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0 == 1 { "" } else { "s" };
        write!(f, "{} {}{plural}", self.0, self.1)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tracing::level_filters::LevelFilter;
    use tracing_subscriber::filter::Targets;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    thread_local! {
        static LOOKED_AT: Cell<u32> = const { Cell::new(0) };
    }

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Probe;

    impl Field for Probe {
        fn as_value(&self) -> impl Value + '_ {
            LOOKED_AT.set(LOOKED_AT.get() + 1);
            0u64
        }
    }

    impl fmt::Display for Probe {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            LOOKED_AT.set(LOOKED_AT.get() + 1);
            f.write_str("probe")
        }
    }

    mod declared {
        use super::Probe;

        crate::declare::events! {
            /// An event that knows whether it was looked at.
            HUB INFO Probed {
                /// Counts.
                probe: Probe,
            } => "{probe}";
        }
    }
    use declared::Probed;

    /// How often a field was looked at, and whether one was built, while a
    /// subscriber with this level for the hub's target listens.
    fn looked_at(level: Option<LevelFilter>) -> (u32, bool) {
        LOOKED_AT.set(0);
        let mut built = false;
        let mut emit = || {
            Probed { probe: Probe }.emit();
            Probed::emit_with(|| {
                built = true;
                Probed { probe: Probe }
            });
        };
        match level {
            None => emit(),
            Some(level) => {
                let filter = Targets::new().with_target(crate::target::HUB, level);
                let layer = tracing_subscriber::fmt::layer().with_writer(std::io::sink);
                let subscriber = tracing_subscriber::registry().with(filter).with(layer);
                tracing::subscriber::with_default(subscriber, emit);
            }
        }
        (LOOKED_AT.get(), built)
    }

    #[test]
    fn a_disabled_event_builds_nothing() {
        assert_eq!(looked_at(None), (0, false));
        assert_eq!(looked_at(Some(LevelFilter::OFF)), (0, false));
        assert_eq!(looked_at(Some(LevelFilter::WARN)), (0, false));
        let (looks, built) = looked_at(Some(LevelFilter::INFO));
        assert!(looks > 0 && built, "the probe works");
    }

    #[test]
    fn a_declaration_says_what_was_declared() {
        assert_eq!(
            declared::ALL,
            [Declaration {
                name: "Probed",
                target: "gevent::hub",
                level: Level::INFO,
                fields: &["probe"],
            }]
        );
    }
}
