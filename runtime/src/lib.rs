//! What a system call of a guest does once it is ours.
//!
//! # The one idea
//! pthreads are not written again. glibc makes the stack, the thread control block
//! and the thread-local storage of a thread; only the `clone3` at the end is caught,
//! and a *guest* is made of what glibc handed to the kernel. glibc's mutexes,
//! conditions, joins, and the locks inside stdio, malloc, the loader and the
//! resolver all end in `futex`: one futex in user space makes every one of them
//! cooperative, with glibc's own semantics.
//!
//! # Words
//! | word | meaning |
//! |---|---|
//! | guest | a thread of the program, run as a coroutine on the stack and TCB libc made for it; the initial thread too, once adopted |
//! | host | our own side: the hub's loop and what it calls, on a TCB of its own |
//! | hub | the scheduler and event loop that all guests share; to the user (`GEVENT_SHIM_HUBS`) a kernel thread that runs guests |
//! | processor | a kernel thread that runs guests, with its host context: one, unless more are asked for |
//! | foreign thread | a kernel thread that is no guest: ours (monitor, pool, may's timer), or the program's own ([`foreign`]) |
//! | site, stub | one `syscall` instruction of the program; the code its patch leads to |
//! | park, wake | a guest leaves the processor; becomes runnable |
//!
//! # The life of a call
//! ```text
//! site ─jmp─▶ stub ─▶ entry (saves registers) ─▶ dispatch ─▶ operation ─▶ hub.park
//!                                                                           │ others run
//! rest of libc ◀─ stub ◀─ resume_frame (loads registers) ◀─ result in rax ◀─┘ wake
//! ```
//! Data flows one way: [`arch`] → [`dispatch`] → [`ops`] → [`hub`] → [`reactor`].
//! Wakes come back through the run queue alone.
//!
//! # Two worlds
//! *Guest mode* is our code on a guest's stack and TCB: from the entry to the
//! operation's end. It allocates nothing, takes no lock of std's or libc's, and
//! touches no `thread_local!`; the futex table, the timers, the run queue and the
//! reactors' submissions are written so that they can be used there. Everything else is
//! *host mode*: a guest asks for it with [`Hub::call`](hub::Hub::call), which switches to
//! the host context. Host mode must never wait for a lock that a guest may hold, because
//! that guest cannot run meanwhile: it uses a heap of our own, makes no thread and opens
//! no library; the [`monitor`] does that for it.
//!
//! While our code runs, the processor's `in_shim` flag is set, and a signal handler of the
//! program is not run but recorded; it runs on its guest's stack when the guest leaves our
//! code ([`signal`]). The thread-local word that tells whose TCB the CPU is on is the
//! first thing [`dispatch`] looks at.
//!
//! With several processors our code still runs on one of them at a time, under one lock
//! ([`hub`]): what is said here and below about one kernel thread holds for its holder.
//!
//! # Adoption
//! Nothing happens before the program makes its first thread. Then, inside that
//! `clone3`: every site is patched ([`wanted`]), may is started so that its worker's
//! context lies on the same kernel thread ([`host`]), the calling thread becomes the
//! initial guest, and the thread it asked for the second. A forked child goes back to the
//! state before, with the host context kept ([`fork`]).
//!
//! # Where things are
//! | file | subject |
//! |---|---|
//! | [`frame`], [`arch`] | a guest's registers at a call; all assembly |
//! | [`syscalls`], [`group`], [`wanted`] | the table of calls; groups; which calls enter |
//! | [`selection`], [`patching`] | what is made cooperative; who is asked and told |
//! | [`dispatch`], [`ops`] | from number to operation; what each call does |
//! | [`catch`] | calls that no patched site makes |
//! | [`lookup`] | the calls inside a look-up of a name |
//! | [`guest`], [`hub`], [`host`], [`monitor`] | records, stacks, life; scheduling; may; preemption |
//! | [`futex`], [`heir`], [`parking`] | the futex table; robust locks of a killed process; who sleeps on it |
//! | [`sharing`] | words that other processes, or the kernel, wake |
//! | [`timer`], [`deadline`] | pending deadlines; clocks that may be set |
//! | [`fd_table`], [`fdinfo`] | the table of descriptors as it would be without ours; what the kernel tells of the process and of a descriptor |
//! | [`reactor`], [`offload`], [`ground`], [`mounts`], [`private`], [`proc_files`] | io_uring, epoll; kernel threads for the rest, and what they stand on; file systems that keep a caller waiting; our descriptors; files of the kernel's that stay open |
//! | [`signal`], [`fork`], [`interrupt`] | signals of guests; fork; calls ended from outside |
//! | [`foreign`] | kernel threads of the program's own beside the hub |
//! | [`proc_view`] | what proc(5) says of threads, to guests |
//! | [`cpu_time`] | how long each guest used the processor |
//! | [`chaos`] | scheduling at random, to find what depends on the order |
//! | [`heap_lock`], [`heap_reserve`], [`owned_lock`] | what a fork holds; what the heap has left; a lock that tells a handler that it is held by whom it interrupted |
//! | [`sandbox`] | filters of system calls that the program installs |
//! | [`trace`], [`probes`] | what guests leave for the events; probe points for tracers |
//! | [`api`] | greenlets and what they wait for: the interface for programs that know of the hub |
//! | [`control`] | answers for who asks from outside |
//! | [`debugger`] | what gdb is told |
//! | [`executable`], [`program_file`], [`preload`], [`exec_memory`] | programs and objects that cannot be served; the file of one about to be started; what such a one is told of the library, and in what memory |
//! | [`objects`], [`vdso`] | symbols of loaded objects, past who interposes them; the kernel's own clock |
//! | [`maps`], [`sharers`] | lines of proc_pid_maps(5); kernel threads on the TCB of a guest |
//! | [`config`], [`raw`], [`errno`], [`blocks`], [`libc_threads`] | settings; words for the kernel; arrays that grow; glibc's thread list |

pub mod api;
pub mod arch;
pub mod blocks;
pub mod catch;
pub mod chaos;
pub mod config;
pub mod control;
pub mod cpu_time;
pub mod deadline;
pub mod debugger;
pub mod dispatch;
pub mod errno;
pub mod exec_memory;
pub mod executable;
pub mod fd_table;
pub mod fdinfo;
pub mod foreign;
pub mod fork;
pub mod frame;
pub mod futex;
pub mod ground;
pub mod group;
pub mod guest;
pub mod heap_lock;
pub mod heap_reserve;
pub mod heir;
pub mod host;
pub mod hub;
pub mod interrupt;
pub mod libc_threads;
pub mod lookup;
pub mod maps;
pub mod monitor;
pub mod mounts;
pub mod objects;
pub mod offload;
pub mod ops;
pub mod owned_lock;
pub mod parking;
pub mod patching;
pub mod preload;
pub mod private;
pub mod probes;
pub mod proc_files;
pub mod proc_view;
pub mod program_file;
pub mod raw;
pub mod reactor;
pub mod sandbox;
pub mod selection;
pub mod sharers;
pub mod sharing;
pub mod signal;
pub mod syscalls;
pub mod timer;
pub mod trace;
pub mod vdso;
pub mod wanted;
