//! Which modules of CPython's test-suite are run, and how.

/// One module.
pub struct Module {
    /// Its name.
    pub name: &'static str,
    /// When it is run.
    pub set: Set,
    /// Whether a thread waits beside it from the start.
    ///
    /// Without, a module's first thread makes its process one with guests, and what came before
    /// goes on in it.
    pub beside_a_thread: bool,
    /// Cases that are left out bare and preloaded, with the reason; `*` stands for anything.
    pub left_out: &'static [(&'static str, &'static str)],
}

/// When a module is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    /// Always.
    Quick,
    /// When asked for: it takes minutes, or little of it reaches what the library does.
    Full,
}

const fn module(name: &'static str, set: Set, beside_a_thread: bool) -> Module {
    Module {
        name,
        set,
        beside_a_thread,
        left_out: &[],
    }
}

/// Makes the process one with guests by itself.
const fn quick(name: &'static str) -> Module {
    module(name, Set::Quick, false)
}

const fn quick_beside(name: &'static str) -> Module {
    module(name, Set::Quick, true)
}

const fn full(name: &'static str) -> Module {
    module(name, Set::Full, false)
}

const fn full_beside(name: &'static str) -> Module {
    module(name, Set::Full, true)
}

const fn without(mut module: Module, cases: &'static [(&'static str, &'static str)]) -> Module {
    module.left_out = cases;
    module
}

/// The modules. The long ones come first in each set, so that none is waited for at the end.
pub const MODULES: &[Module] = &[
    quick("test_signal"),
    quick_beside("test_subprocess"),
    without(
        quick_beside("test_socket"),
        &[(
            "*VSOCK*",
            "hangs bare on a machine that has vsock and no peer",
        )],
    ),
    quick("test_faulthandler"),
    quick_beside("test_selectors"),
    quick_beside("test_ssl"),
    quick("test_threading"),
    quick_beside("test_poll"),
    quick("test_ftplib"),
    quick("test_queue"),
    quick_beside("test_poplib"),
    quick("test_threadsignals"),
    quick_beside("test_eintr"),
    quick_beside("test_wait4"),
    quick_beside("test_fork1"),
    quick_beside("test_os"),
    quick_beside("test_posix"),
    quick_beside("test_select"),
    quick("test_asyncore"),
    quick("test_httpservers"),
    quick_beside("test_time"),
    quick_beside("test_popen"),
    quick("test_socketserver"),
    quick("test_thread"),
    quick("test_threading_local"),
    quick_beside("test_epoll"),
    quick_beside("test_fcntl"),
    quick_beside("test_fileio"),
    quick_beside("test_mmap"),
    quick_beside("test_pty"),
    full("test_asyncio"),
    full("test_concurrent_futures"),
    full("test_multiprocessing_spawn"),
    full("test_multiprocessing_forkserver"),
    full("test_multiprocessing_fork"),
    full_beside("test_io"),
    full("test_imaplib"),
    full("test_xmlrpc"),
    full("test_logging"),
    full_beside("test_largefile"),
    full_beside("test_bz2"),
    full_beside("test_lzma"),
    full_beside("test_zipfile"),
    full_beside("test_tarfile"),
    full_beside("test_wait3"),
    full_beside("test_weakref"),
    full_beside("test_pickle"),
    full_beside("test_exceptions"),
    full_beside("test_mailbox"),
    full_beside("test_pathlib"),
    full_beside("test_shelve"),
    full_beside("test_pdb"),
    full_beside("test_gc"),
    full_beside("test_context"),
    full_beside("test_contextlib"),
    full_beside("test_crypt"),
    full_beside("test_ctypes"),
    full_beside("test_functools"),
    full_beside("test_hashlib"),
    full_beside("test_import"),
    full_beside("test_openpty"),
    full_beside("test_readline"),
    full_beside("test_repl"),
    full_beside("test_resource"),
    full_beside("test_shutil"),
    full_beside("test_sys"),
    full_beside("test_sys_settrace"),
    full_beside("test_syslog"),
    full_beside("test_tempfile"),
    full_beside("test_tracemalloc"),
    full("test_asynchat"),
    full("test_docxmlrpc"),
    full("test_nntplib"),
    full("test_sched"),
    full("test_smtplib"),
    full("test_telnetlib"),
    full("test_threadedtempfile"),
    full("test_urllib2_localnet"),
    full("test_wsgiref"),
];
