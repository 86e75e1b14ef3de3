//! What a plugin and the library say to each other: the types of `gevent_plugin.h`.

use core::ffi::{c_char, c_int, c_void};

/// The interface that this header declares. A plugin of another one is not loaded.
pub const GEVENT_PLUGIN_ABI: u32 = 1;

/// gevent_plugin_event_t.level: something is wrong.
pub const GEVENT_LEVEL_ERROR: c_int = 1;
/// gevent_plugin_event_t.level: something may not be what was wanted.
pub const GEVENT_LEVEL_WARN: c_int = 2;
/// gevent_plugin_event_t.level: a step that happens once or seldom.
pub const GEVENT_LEVEL_INFO: c_int = 3;
/// gevent_plugin_event_t.level: what happens with each thread.
pub const GEVENT_LEVEL_DEBUG: c_int = 4;
/// gevent_plugin_event_t.level: what happens with each call or site.
pub const GEVENT_LEVEL_TRACE: c_int = 5;

/// gevent_plugin_field_t.kind: words; `number` is 0.
pub const GEVENT_FIELD_TEXT: c_int = 0;
/// gevent_plugin_field_t.kind: a number from 0 to 2^64 - 1. Times are microseconds.
pub const GEVENT_FIELD_UNSIGNED: c_int = 1;
/// gevent_plugin_field_t.kind: a number that may be negative: an int64_t in `number`.
pub const GEVENT_FIELD_SIGNED: c_int = 2;

/// A value of an event.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct gevent_plugin_field_t {
    /// Its name.
    pub name: *const c_char,
    /// One of GEVENT_FIELD_*.
    pub kind: c_int,
    /// The value, if it is a number.
    pub number: u64,
    /// The value in words, also if it is a number.
    pub text: *const c_char,
}

/// Something that happened. All of it is the library's, and gone when the function
/// returns.
#[repr(C)]
pub struct gevent_plugin_event_t {
    /// Bytes of this structure.
    pub size: usize,
    /// The event's name, as "DidPatchGroup".
    pub name: *const c_char,
    /// What it is about, as "gevent::patch".
    pub target: *const c_char,
    /// One of GEVENT_LEVEL_*.
    pub level: c_int,
    /// When it happened: CLOCK_MONOTONIC in nanoseconds.
    pub at: u64,
    /// All of it in one line of English.
    pub text: *const c_char,
    /// Its values.
    pub fields: *const gevent_plugin_field_t,
    /// How many there are.
    pub field_count: usize,
}

/// A system call of a group.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct gevent_plugin_item_t {
    /// The call's name. The library's.
    pub name: *const c_char,
    /// Set it to 0, and the call stays as it is.
    pub wanted: c_int,
}

/// What a plugin is. gevent_plugin_init fills it in; whatever it leaves is null.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct gevent_plugin_t {
    /// Bytes of this structure. The library's.
    pub size: usize,
    /// Which events it is told of: as the value of GEVENT_SHIM_EVENTS; null for all but
    /// calls. The library copies it.
    pub filter: *const c_char,
    /// Given to each of the functions.
    pub data: *mut c_void,
    /// An event happened.
    pub event: Option<unsafe extern "C" fn(data: *mut c_void, event: *const gevent_plugin_event_t)>,
    /// The events told so far are all there are for the moment.
    pub flush: Option<unsafe extern "C" fn(data: *mut c_void)>,
    /// The program is about to be patched: GEVENT_SHIM_PATCH in full. Null: let it be
    /// patched. Else the reason why not, which the library copies; the program runs as it is.
    pub will_patch_all:
        Option<unsafe extern "C" fn(data: *mut c_void, groups: *const c_char) -> *const c_char>,
    /// A group is about to be switched on, with these calls. Null: let it be. Else the reason
    /// why not, which the library copies; all calls of the group stay as they are.
    pub will_patch_group: Option<
        unsafe extern "C" fn(
            data: *mut c_void,
            group: *const c_char,
            items: *mut gevent_plugin_item_t,
            count: usize,
        ) -> *const c_char,
    >,
}
