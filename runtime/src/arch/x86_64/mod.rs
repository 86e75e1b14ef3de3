//! x86-64 Linux.

mod context;
mod entry;
mod signal;
mod syscall;
mod tls;

pub use context::{
    Context, call_on, fs_base, init as init_context, prepare_call, prepare_frame, switch,
};
pub use entry::{entry, entry_full, init as init_entry, resume_frame};
pub use signal::{
    Interrupted, SigFrame, Ucontext, copy, kernel_restorer, read_word, stack_pointer, write_word,
};
pub use syscall::{syscall, syscall0, syscall1, syscall2, syscall3, syscall4};
pub use tls::{current_word, set_current_word, set_word_of, word_of};
