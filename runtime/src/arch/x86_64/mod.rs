//! x86-64 Linux.

mod claim;
mod context;
mod entry;
mod interruptible;
mod keys;
pub mod rare;
mod restorer;
mod signal;
mod slots;
mod syscall;
mod thread;
mod ticks;
mod tls;
mod user;
mod watched;

pub use claim::{claim_flag, is_flag_set};
pub use context::{
    Context, DefaultFloats, call_on, fs_base, init as init_context, on_tcb, prepare_call,
    prepare_frame, switch, switch_from_host,
};
pub use entry::{entry, entry_full, init as init_entry, note_permission, resume_frame};
pub use interruptible::interruptible_syscall;
pub use restorer::kernel_restorer;
pub use signal::{Interrupted, SigFrame, Ucontext, return_address, stack_pointer};
pub use slots::{
    child_slot, find as find_slot, find_or_make as find_or_make_slot, is_slot, thread_slot,
};
pub use syscall::{
    REFUSES, ask_before_calls, is_refused, syscall, syscall_unasked, syscall0, syscall1, syscall2,
    syscall3, syscall4,
};
pub use thread::{spawn_process, spawn_thread};
pub use ticks::ticks;
pub use tls::{
    current_processor, current_word, set_current_word, set_processor_of, set_word_of,
    thread_pointer, word_at, word_distance,
};
pub use user::{compare_exchange, copy, load, read_word, write_word};
pub use watched::watched_syscall;
