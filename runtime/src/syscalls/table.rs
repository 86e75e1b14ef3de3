//! The rows of the table, one line a call, in the order of the numbers.
//!
//! Numbers and names are those of the kernel's `syscall_64.tbl`; 471 is the
//! newest (Linux 7.0). A row reads
//!
//! ```text
//! number name group level(Op, parks) restart note;
//! ```
//!
//! with `(Op)` on virtual rows alone and `parks` on those that may park.

use super::{Level, Restart, Syscall};
use crate::group::Group;

/// Makes [`Op`] and [`TABLE`] of the rows.
macro_rules! table {
    ($($nr:literal $name:ident $group:ident $level:ident $(($op:ident $(, $parks:ident)?))?
        $restart:ident $note:expr;)*) => {
        /// An operation of ours: one for each virtual row, numbered from 0.
        #[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Op {
            $($(
                #[doc = concat!("Carries out `", stringify!($name), "`.")]
                $op,
            )?)*
        }

        impl Op {
            /// Every operation, in the order of the numbers of their calls:
            /// `Op::ALL[op as usize] == op`.
            pub const ALL: &'static [Op] = &[$($(Op::$op,)?)*];

            /// The number of the call it carries out.
            pub const fn nr(self) -> u16 {
                match self {
                    $($(Op::$op => $nr,)?)*
                }
            }
        }

        /// Every system call, ascending by number.
        pub static TABLE: &[Syscall] = &[$(Syscall {
            nr: $nr,
            name: stringify!($name),
            group: Group::$group,
            level: Level::$level,
            op: optional!($($op)?),
            parks: flag!($($($parks)?)?),
            restart: Restart::$restart,
            note: $note,
        },)*];
    };
}

macro_rules! optional {
    () => {
        None
    };
    ($op:ident) => {
        Some(Op::$op)
    };
}

macro_rules! flag {
    () => {
        false
    };
    (parks) => {
        true
    };
}

// Reasons and limits that several rows share.
const PATH: &str = "Looks up a path or changes what it names: waits for the disk, and without bound for a network, FUSE or automounted file system.";
const OPEN: &str = "Waits for the other end of a FIFO, for the holder of a lease, for a device's driver, for the path's file system.";
const FD: &str = "Asks the descriptor's file system: waits for the disk, and without bound for a network or FUSE server.";
const READ: &str =
    "Starts reads: waits if the disk's queue is full, or to learn where the blocks are.";
const MOUNT: &str = "Reads the superblock, or asks the server, of the file system.";
const CLOSE: &str = "A last close stops the hub while a socket with `SO_LINGER` sends, or while a network or FUSE server takes what was written.";
const DISK: &str = "Waits until data is on the disk.";
const RANGE: &str = "Reads, copies or frees every page of the range: long if the range is large.";
const NODES: &str = "Copies pages between memory nodes: long if the range is large.";
const OTHER: &str = "Brings in pages of the other process, from a file or swap.";
const QUOTA: &str = "Reads and writes quota files; `Q_SYNC` waits for the disk.";
const SCTP: &str = "`SCTP_SOCKOPT_CONNECTX*` waits for the association of a blocking socket.";
const SHARED: &str = "Concerns the kernel thread, so every guest on the hub.";
const CPU_TIME: &str =
    "The CPU time of a thread is the kernel thread's, so that of every guest on the hub.";
const TID: &str = "Takes a process or kernel thread; `ESRCH` for a guest's tid.";
const DIRTY: &str =
    "Waits while too much of the page cache is dirty, or for a network or FUSE server.";
const VFORK: &str = "With `CLONE_VFORK` the hub stops until the child executes a program or exits.";
const WAKE: &str = "Reaches waiters in the kernel, not guests parked in `futex`.";
const GONE: &str = "`ENOSYS`: the kernel no longer has it, or never had it.";

table! {
    0 read Os Virtual(Read, parks) SocketTimeout "";
    1 write Os Virtual(Write, parks) SocketTimeout "";
    2 open File MayBlock OnSaRestart OPEN;
    3 close Os Virtual(Close) Never CLOSE;
    4 stat File MayBlock Uninterrupted PATH;
    5 fstat File MayBlock Uninterrupted FD;
    6 lstat File MayBlock Uninterrupted PATH;
    7 poll Select Virtual(Poll, parks) RestartBlock "";
    8 lseek File MayBlock Uninterrupted FD;
    9 mmap Sys Virtual(Mmap) Uninterrupted "`MAP_POPULATE` and a locked address space read the whole range and stop the hub.";
    10 mprotect Sys Virtual(Mprotect) Uninterrupted "";
    11 munmap Sys Virtual(Munmap) Uninterrupted "";
    12 brk Sys Native Uninterrupted "";
    13 rt_sigaction Signal Virtual(RtSigaction) Uninterrupted "";
    14 rt_sigprocmask Signal Virtual(RtSigprocmask) Uninterrupted "";
    15 rt_sigreturn Signal Native Uninterrupted "";
    16 ioctl Os Virtual(Ioctl) OnSaRestart "`tcdrain` and `TCSETSW` wait for a terminal; drivers wait as they please (`TIOCMIWAIT`, `SG_IO`, `KVM_RUN`, `BLKDISCARD`, `FIFREEZE`).";
    17 pread64 Os Virtual(Pread64, parks) OnSaRestart "";
    18 pwrite64 Os MayBlock OnSaRestart DIRTY;
    19 readv Os Virtual(Readv, parks) SocketTimeout "";
    20 writev Os Virtual(Writev, parks) SocketTimeout "";
    21 access File MayBlock Uninterrupted PATH;
    22 pipe Os Native Uninterrupted "";
    23 select Select Virtual(Select, parks) NoHandler "";
    24 sched_yield Thread Virtual(SchedYield, parks) Uninterrupted "";
    25 mremap Sys Native Uninterrupted "";
    26 msync File MayBlock Uninterrupted DISK;
    27 mincore Sys Native Uninterrupted "";
    28 madvise Sys MayBlock Uninterrupted RANGE;
    29 shmget Sys Native Uninterrupted "";
    30 shmat Sys Virtual(Shmat) Uninterrupted "";
    31 shmctl Sys Native Uninterrupted "";
    32 dup Os Native Uninterrupted "";
    33 dup2 Os Virtual(Dup2) Uninterrupted CLOSE;
    34 pause Signal Virtual(Pause, parks) NoHandler "";
    35 nanosleep Time Virtual(Nanosleep, parks) RestartBlock "";
    36 getitimer Time Native Uninterrupted "";
    37 alarm Time Native Uninterrupted "";
    38 setitimer Time Native Uninterrupted "";
    39 getpid Sys Native Uninterrupted "";
    40 sendfile Os MayBlock OnSaRestart "Waits to read the source and to write the target.";
    41 socket Socket Native Uninterrupted "";
    42 connect Socket Virtual(Connect, parks) SocketTimeout "";
    43 accept Socket Virtual(Accept, parks) SocketTimeout "";
    44 sendto Socket Virtual(Sendto, parks) SocketTimeout "";
    45 recvfrom Socket Virtual(Recvfrom, parks) SocketTimeout "";
    46 sendmsg Socket Virtual(Sendmsg, parks) SocketTimeout "";
    47 recvmsg Socket Virtual(Recvmsg, parks) SocketTimeout "";
    48 shutdown Socket Native Uninterrupted "";
    49 bind Socket MayBlock Uninterrupted "An `AF_UNIX` path is made in its file system.";
    50 listen Socket Native Uninterrupted "";
    51 getsockname Socket Native Uninterrupted "";
    52 getpeername Socket Native Uninterrupted "";
    53 socketpair Socket Native Uninterrupted "";
    54 setsockopt Socket Virtual(Setsockopt) SocketTimeout SCTP;
    55 getsockopt Socket MayBlock SocketTimeout SCTP;
    56 clone Thread Virtual(Clone) Always VFORK;
    // gevent has os.fork in its os group; here one group has the whole life of a child.
    57 fork Subprocess Virtual(Fork) Always "";
    58 vfork Subprocess Virtual(Vfork) Always "The hub stops until the child executes a program or exits.";
    59 execve Subprocess Virtual(Execve) Always "";
    60 exit Thread Virtual(Exit, parks) Uninterrupted "";
    61 wait4 Subprocess Virtual(Wait4, parks) OnSaRestart "";
    62 kill Signal Native Uninterrupted "";
    63 uname Sys Native Uninterrupted "";
    64 semget Queue Native Uninterrupted "";
    65 semop Queue MayBlock Never "Waits until the semaphores allow it.";
    66 semctl Queue Native Uninterrupted "";
    67 shmdt Sys Native Uninterrupted "";
    68 msgget Queue Native Uninterrupted "";
    69 msgsnd Queue MayBlock NoHandler "Waits for room in the queue.";
    70 msgrcv Queue MayBlock NoHandler "Waits for a message.";
    71 msgctl Queue Native Uninterrupted "";
    72 fcntl Os Virtual(Fcntl) OnSaRestart "`F_SETLKW` and `F_OFD_SETLKW` wait for a lock, any lock for a network or FUSE server.";
    73 flock File MayBlock OnSaRestart "Waits for the lock.";
    74 fsync File MayBlock Uninterrupted DISK;
    75 fdatasync File MayBlock Uninterrupted DISK;
    76 truncate File MayBlock Uninterrupted PATH;
    77 ftruncate File MayBlock Uninterrupted FD;
    78 getdents File MayBlock Uninterrupted FD;
    79 getcwd File Native Uninterrupted "";
    80 chdir File MayBlock Uninterrupted PATH;
    81 fchdir File MayBlock Uninterrupted FD;
    82 rename File MayBlock Uninterrupted PATH;
    83 mkdir File MayBlock Uninterrupted PATH;
    84 rmdir File MayBlock Uninterrupted PATH;
    85 creat File MayBlock OnSaRestart OPEN;
    86 link File MayBlock Uninterrupted PATH;
    87 unlink File MayBlock Uninterrupted PATH;
    88 symlink File MayBlock Uninterrupted PATH;
    89 readlink File MayBlock Uninterrupted PATH;
    90 chmod File MayBlock Uninterrupted PATH;
    91 fchmod File MayBlock Uninterrupted FD;
    92 chown File MayBlock Uninterrupted PATH;
    93 fchown File MayBlock Uninterrupted FD;
    94 lchown File MayBlock Uninterrupted PATH;
    95 umask File Native Uninterrupted "";
    96 gettimeofday Time Native Uninterrupted "";
    97 getrlimit Sys Native Uninterrupted "";
    98 getrusage Sys Native Uninterrupted CPU_TIME;
    99 sysinfo Sys Native Uninterrupted "";
    100 times Time Native Uninterrupted "";
    101 ptrace Subprocess Native Always "";
    102 getuid Sys Native Uninterrupted "";
    103 syslog Sys MayBlock OnSaRestart "`SYSLOG_ACTION_READ` waits for a message of the kernel.";
    104 getgid Sys Native Uninterrupted "";
    105 setuid Sys Native Uninterrupted SHARED;
    106 setgid Sys Native Uninterrupted SHARED;
    107 geteuid Sys Native Uninterrupted "";
    108 getegid Sys Native Uninterrupted "";
    109 setpgid Subprocess Native Uninterrupted "";
    110 getppid Sys Native Uninterrupted "";
    111 getpgrp Sys Native Uninterrupted "";
    112 setsid Subprocess Native Uninterrupted "";
    113 setreuid Sys Native Uninterrupted SHARED;
    114 setregid Sys Native Uninterrupted SHARED;
    115 getgroups Sys Native Uninterrupted "";
    116 setgroups Sys Native Uninterrupted SHARED;
    117 setresuid Sys Native Uninterrupted SHARED;
    118 getresuid Sys Native Uninterrupted "";
    119 setresgid Sys Native Uninterrupted SHARED;
    120 getresgid Sys Native Uninterrupted "";
    121 getpgid Sys Native Uninterrupted "";
    122 setfsuid Sys Native Uninterrupted SHARED;
    123 setfsgid Sys Native Uninterrupted SHARED;
    124 getsid Sys Native Uninterrupted "";
    125 capget Sys Native Uninterrupted TID;
    126 capset Sys Native Uninterrupted SHARED;
    127 rt_sigpending Signal Virtual(RtSigpending) Uninterrupted "";
    128 rt_sigtimedwait Signal Virtual(RtSigtimedwait, parks) Never "";
    129 rt_sigqueueinfo Signal Native Uninterrupted "";
    130 rt_sigsuspend Signal Virtual(RtSigsuspend, parks) NoHandler "";
    131 sigaltstack Signal Virtual(Sigaltstack) Uninterrupted "";
    132 utime File MayBlock Uninterrupted PATH;
    133 mknod File MayBlock Uninterrupted PATH;
    134 uselib File MayBlock Uninterrupted PATH;
    135 personality Sys Native Uninterrupted SHARED;
    136 ustat File MayBlock Uninterrupted FD;
    137 statfs File MayBlock Uninterrupted PATH;
    138 fstatfs File MayBlock Uninterrupted FD;
    139 sysfs File Native Uninterrupted "";
    140 getpriority Thread Virtual(Getpriority) Uninterrupted "";
    141 setpriority Thread Virtual(Setpriority) Uninterrupted "";
    142 sched_setparam Thread Virtual(SchedSetparam) Uninterrupted "";
    143 sched_getparam Thread Virtual(SchedGetparam) Uninterrupted "";
    144 sched_setscheduler Thread Virtual(SchedSetscheduler) Uninterrupted "";
    145 sched_getscheduler Thread Virtual(SchedGetscheduler) Uninterrupted "";
    146 sched_get_priority_max Thread Native Uninterrupted "";
    147 sched_get_priority_min Thread Native Uninterrupted "";
    148 sched_rr_get_interval Thread Native Uninterrupted TID;
    149 mlock Sys MayBlock Uninterrupted RANGE;
    150 munlock Sys Native Uninterrupted "";
    151 mlockall Sys MayBlock Uninterrupted RANGE;
    152 munlockall Sys Native Uninterrupted "";
    153 vhangup Sys Native Uninterrupted "";
    154 modify_ldt Sys Native Uninterrupted "";
    155 pivot_root File MayBlock Uninterrupted PATH;
    156 _sysctl Sys Native Uninterrupted GONE;
    157 prctl Thread Virtual(Prctl) Uninterrupted "";
    158 arch_prctl Thread Native Uninterrupted SHARED;
    159 adjtimex Time Native Uninterrupted "";
    160 setrlimit Sys Native Uninterrupted "";
    161 chroot File MayBlock Uninterrupted PATH;
    162 sync File MayBlock Uninterrupted DISK;
    163 acct File MayBlock Uninterrupted PATH;
    164 settimeofday Time Native Uninterrupted "";
    165 mount File MayBlock Uninterrupted MOUNT;
    166 umount2 File MayBlock Uninterrupted "Writes the file system back; waits without bound for a network or FUSE server.";
    167 swapon File MayBlock Uninterrupted "Reads the swap area's header and discards its old data.";
    168 swapoff File MayBlock Never "Reads everything in that swap area back.";
    169 reboot Sys MayBlock Uninterrupted "Waits for every device to shut down.";
    170 sethostname Sys Native Uninterrupted "";
    171 setdomainname Sys Native Uninterrupted "";
    172 iopl Sys Native Uninterrupted SHARED;
    173 ioperm Sys Native Uninterrupted SHARED;
    174 create_module Sys Native Uninterrupted GONE;
    175 init_module Sys MayBlock OnSaRestart "Runs the module's initialisation.";
    176 delete_module Sys MayBlock Never "Runs the module's exit.";
    177 get_kernel_syms Sys Native Uninterrupted GONE;
    178 query_module Sys Native Uninterrupted GONE;
    179 quotactl File MayBlock Uninterrupted QUOTA;
    180 nfsservctl File Native Uninterrupted GONE;
    181 getpmsg Sys Native Uninterrupted GONE;
    182 putpmsg Sys Native Uninterrupted GONE;
    183 afs_syscall Sys Native Uninterrupted GONE;
    184 tuxcall Sys Native Uninterrupted GONE;
    185 security Sys Native Uninterrupted GONE;
    186 gettid Thread Virtual(Gettid) Uninterrupted "";
    187 readahead File MayBlock Uninterrupted READ;
    188 setxattr File MayBlock Uninterrupted PATH;
    189 lsetxattr File MayBlock Uninterrupted PATH;
    190 fsetxattr File MayBlock Uninterrupted FD;
    191 getxattr File MayBlock Uninterrupted PATH;
    192 lgetxattr File MayBlock Uninterrupted PATH;
    193 fgetxattr File MayBlock Uninterrupted FD;
    194 listxattr File MayBlock Uninterrupted PATH;
    195 llistxattr File MayBlock Uninterrupted PATH;
    196 flistxattr File MayBlock Uninterrupted FD;
    197 removexattr File MayBlock Uninterrupted PATH;
    198 lremovexattr File MayBlock Uninterrupted PATH;
    199 fremovexattr File MayBlock Uninterrupted FD;
    // tkill, tgkill and rt_tgsigqueueinfo name a guest by its tid: they belong to threads,
    // and must work on guests even where signals are left alone.
    200 tkill Thread Virtual(Tkill) Uninterrupted "";
    201 time Time Native Uninterrupted "";
    202 futex Thread Virtual(Futex, parks) FutexTimeout "";
    203 sched_setaffinity Thread Virtual(SchedSetaffinity) Uninterrupted "";
    204 sched_getaffinity Thread Virtual(SchedGetaffinity) Uninterrupted "";
    205 set_thread_area Thread Native Uninterrupted GONE;
    206 io_setup File Native Uninterrupted "";
    207 io_destroy File MayBlock Uninterrupted "Waits for the context's unfinished requests.";
    208 io_getevents File MayBlock Never "Waits for `min_nr` completions, up to its time-out.";
    209 io_submit File MayBlock Uninterrupted "Runs what the file system can't do asynchronously at once: a whole read or write at worst.";
    210 io_cancel File Native Uninterrupted "";
    211 get_thread_area Thread Native Uninterrupted GONE;
    212 lookup_dcookie File Native Uninterrupted GONE;
    213 epoll_create Select Native Uninterrupted "";
    214 epoll_ctl_old Select Native Uninterrupted GONE;
    215 epoll_wait_old Select Native Uninterrupted GONE;
    216 remap_file_pages Sys MayBlock Uninterrupted RANGE;
    217 getdents64 File MayBlock Uninterrupted FD;
    218 set_tid_address Thread Virtual(SetTidAddress) Uninterrupted "";
    219 restart_syscall Signal MayBlock RestartBlock "Goes on with an interrupted sleep or wait; made by the kernel, for calls that already run in it.";
    220 semtimedop Queue MayBlock Never "Waits until the semaphores allow it, up to its time-out.";
    221 fadvise64 File MayBlock Uninterrupted READ;
    222 timer_create Signal Virtual(TimerCreate) Uninterrupted "";
    223 timer_settime Time Native Uninterrupted "";
    224 timer_gettime Time Native Uninterrupted "";
    225 timer_getoverrun Time Native Uninterrupted "";
    226 timer_delete Signal Virtual(TimerDelete) Uninterrupted "";
    227 clock_settime Time Native Uninterrupted "";
    228 clock_gettime Time Native Uninterrupted CPU_TIME;
    229 clock_getres Time Native Uninterrupted "";
    230 clock_nanosleep Time Virtual(ClockNanosleep, parks) RestartBlock "";
    231 exit_group Thread Virtual(ExitGroup) Uninterrupted "";
    232 epoll_wait Select Virtual(EpollWait, parks) Never "";
    233 epoll_ctl Select Native Uninterrupted "";
    234 tgkill Thread Virtual(Tgkill) Uninterrupted "";
    235 utimes File MayBlock Uninterrupted PATH;
    236 vserver Sys Native Uninterrupted GONE;
    237 mbind Sys MayBlock Uninterrupted NODES;
    238 set_mempolicy Sys Native Uninterrupted SHARED;
    239 get_mempolicy Sys Native Uninterrupted "";
    240 mq_open Queue Native Uninterrupted "";
    241 mq_unlink Queue Native Uninterrupted "";
    242 mq_timedsend Queue MayBlock OnSaRestart "Waits for room in the queue, up to its time-out.";
    243 mq_timedreceive Queue MayBlock OnSaRestart "Waits for a message, up to its time-out.";
    244 mq_notify Queue Native Uninterrupted "";
    245 mq_getsetattr Queue Native Uninterrupted "";
    246 kexec_load Sys MayBlock Uninterrupted "Copies a whole kernel.";
    247 waitid Subprocess Virtual(Waitid, parks) OnSaRestart "";
    248 add_key Sys MayBlock OnSaRestart "Trusted and encrypted keys wait for the TPM or for another key's construction.";
    249 request_key Sys MayBlock OnSaRestart "Waits for a program of user space to make the key.";
    250 keyctl Sys MayBlock OnSaRestart "Waits for a key under construction, for the TPM, for a public-key operation.";
    251 ioprio_set Thread Native Uninterrupted TID;
    252 ioprio_get Thread Native Uninterrupted TID;
    253 inotify_init File Native Uninterrupted "";
    254 inotify_add_watch File MayBlock Uninterrupted PATH;
    255 inotify_rm_watch File Native Uninterrupted "";
    256 migrate_pages Sys MayBlock Uninterrupted NODES;
    257 openat File MayBlock OnSaRestart OPEN;
    258 mkdirat File MayBlock Uninterrupted PATH;
    259 mknodat File MayBlock Uninterrupted PATH;
    260 fchownat File MayBlock Uninterrupted PATH;
    261 futimesat File MayBlock Uninterrupted PATH;
    262 newfstatat File MayBlock Uninterrupted PATH;
    263 unlinkat File MayBlock Uninterrupted PATH;
    264 renameat File MayBlock Uninterrupted PATH;
    265 linkat File MayBlock Uninterrupted PATH;
    266 symlinkat File MayBlock Uninterrupted PATH;
    267 readlinkat File MayBlock Uninterrupted PATH;
    268 fchmodat File MayBlock Uninterrupted PATH;
    269 faccessat File MayBlock Uninterrupted PATH;
    270 pselect6 Select Virtual(Pselect6, parks) NoHandler "";
    271 ppoll Select Virtual(Ppoll, parks) NoHandler "";
    272 unshare Sys MayBlock Uninterrupted "Sets up new namespaces (`CLONE_NEWNET`: a network stack), for every guest on the hub.";
    273 set_robust_list Thread Virtual(SetRobustList) Uninterrupted "";
    274 get_robust_list Thread Virtual(GetRobustList) Uninterrupted "";
    275 splice Os MayBlock OnSaRestart "Waits for data in the source and for room in the target.";
    276 tee Os MayBlock OnSaRestart "Waits for data in one pipe and for room in the other.";
    277 sync_file_range File MayBlock Uninterrupted DISK;
    278 vmsplice Os MayBlock OnSaRestart "Waits for room or for data in the pipe.";
    279 move_pages Sys MayBlock Uninterrupted NODES;
    280 utimensat File MayBlock Uninterrupted PATH;
    281 epoll_pwait Select Virtual(EpollPwait, parks) Never "";
    282 signalfd Signal Native Uninterrupted "";
    283 timerfd_create Time Native Uninterrupted "";
    284 eventfd Os Native Uninterrupted "";
    285 fallocate File MayBlock Never "Allocates or zeroes blocks: long if the range is large.";
    286 timerfd_settime Time Native Uninterrupted "";
    287 timerfd_gettime Time Native Uninterrupted "";
    288 accept4 Socket Virtual(Accept4, parks) SocketTimeout "";
    289 signalfd4 Signal Native Uninterrupted "";
    290 eventfd2 Os Native Uninterrupted "";
    291 epoll_create1 Select Native Uninterrupted "";
    292 dup3 Os Virtual(Dup3) Uninterrupted CLOSE;
    293 pipe2 Os Native Uninterrupted "";
    294 inotify_init1 File Native Uninterrupted "";
    295 preadv Os Virtual(Preadv, parks) OnSaRestart "";
    296 pwritev Os MayBlock OnSaRestart DIRTY;
    297 rt_tgsigqueueinfo Thread Virtual(RtTgsigqueueinfo) Uninterrupted "";
    298 perf_event_open Sys Native Uninterrupted SHARED;
    299 recvmmsg Socket Virtual(Recvmmsg, parks) SocketTimeout "";
    300 fanotify_init File Native Uninterrupted "";
    301 fanotify_mark File MayBlock Uninterrupted PATH;
    302 prlimit64 Sys Native Uninterrupted TID;
    303 name_to_handle_at File MayBlock Uninterrupted PATH;
    304 open_by_handle_at File MayBlock OnSaRestart OPEN;
    305 clock_adjtime Time Native Uninterrupted "";
    306 syncfs File MayBlock Uninterrupted DISK;
    307 sendmmsg Socket Virtual(Sendmmsg, parks) SocketTimeout "";
    308 setns Sys Native Uninterrupted SHARED;
    309 getcpu Sys Native Uninterrupted "";
    310 process_vm_readv Sys MayBlock Uninterrupted OTHER;
    311 process_vm_writev Sys MayBlock Uninterrupted OTHER;
    312 kcmp Sys Native Uninterrupted TID;
    313 finit_module Sys MayBlock OnSaRestart "Reads the module and runs its initialisation.";
    314 sched_setattr Thread Virtual(SchedSetattr) Uninterrupted "";
    315 sched_getattr Thread Virtual(SchedGetattr) Uninterrupted "";
    316 renameat2 File MayBlock Uninterrupted PATH;
    317 seccomp Sys Native Uninterrupted SHARED;
    318 getrandom Sys MayBlock OnSaRestart "Waits while the kernel's generator isn't seeded yet, shortly after boot.";
    319 memfd_create File Native Uninterrupted "";
    320 kexec_file_load Sys MayBlock Uninterrupted "Reads and copies a whole kernel.";
    321 bpf Sys MayBlock Uninterrupted "The verifier of `BPF_PROG_LOAD` and the runs of `BPF_PROG_TEST_RUN` may take seconds.";
    322 execveat Subprocess Virtual(Execveat) Always "";
    323 userfaultfd Sys Native Uninterrupted "";
    324 membarrier Thread MayBlock Uninterrupted "`MEMBARRIER_CMD_GLOBAL` and registrations wait for an RCU grace period, tens of milliseconds.";
    325 mlock2 Sys MayBlock Uninterrupted RANGE;
    326 copy_file_range File MayBlock Uninterrupted "Copies the range, in the kernel or on a server: long if it is large.";
    327 preadv2 Os Virtual(Preadv2, parks) SocketTimeout "";
    328 pwritev2 Os Virtual(Pwritev2, parks) SocketTimeout "";
    329 pkey_mprotect Sys Native Uninterrupted "";
    330 pkey_alloc Sys Native Uninterrupted "";
    331 pkey_free Sys Native Uninterrupted "";
    332 statx File MayBlock Uninterrupted PATH;
    333 io_pgetevents File MayBlock NoHandler "Waits for `min_nr` completions, up to its time-out.";
    334 rseq Thread Virtual(Rseq) Uninterrupted "";
    335 uretprobe Sys Native Uninterrupted "";
    336 uprobe Sys Native Uninterrupted "";
    // The kernel leaves 337 to 423 unused.
    424 pidfd_send_signal Signal Native Uninterrupted "";
    425 io_uring_setup Os Virtual(IoUringSetup) Uninterrupted "";
    426 io_uring_enter Os Virtual(IoUringEnter, parks) Never "With a registered ring (`IORING_ENTER_REGISTERED_RING`), a registered or absolute time-out or a minimal wait, the hub stops until the completions are there.";
    427 io_uring_register Os MayBlock Never "Waits for requests that use what is unregistered, and with `IORING_REGISTER_SYNC_CANCEL` for cancelled ones.";
    428 open_tree File MayBlock Uninterrupted PATH;
    429 move_mount File MayBlock Uninterrupted PATH;
    430 fsopen File Native Uninterrupted "";
    431 fsconfig File MayBlock Uninterrupted MOUNT;
    432 fsmount File Native Uninterrupted "";
    433 fspick File MayBlock Uninterrupted PATH;
    434 pidfd_open Subprocess Native Uninterrupted TID;
    435 clone3 Thread Virtual(Clone3) Always VFORK;
    436 close_range Os Virtual(CloseRange) Uninterrupted CLOSE;
    437 openat2 File MayBlock OnSaRestart OPEN;
    438 pidfd_getfd Os Native Uninterrupted "";
    439 faccessat2 File MayBlock Uninterrupted PATH;
    440 process_madvise Sys MayBlock Uninterrupted RANGE;
    441 epoll_pwait2 Select Virtual(EpollPwait2, parks) Never "";
    442 mount_setattr File MayBlock Uninterrupted PATH;
    443 quotactl_fd File MayBlock Uninterrupted QUOTA;
    444 landlock_create_ruleset Sys Native Uninterrupted "";
    445 landlock_add_rule Sys Native Uninterrupted "";
    446 landlock_restrict_self Sys Native Uninterrupted SHARED;
    447 memfd_secret File Native Uninterrupted "";
    448 process_mrelease Sys MayBlock Uninterrupted "Frees the memory of a killed process: long if that is large.";
    449 futex_waitv Thread Virtual(FutexWaitv, parks) OnSaRestart "";
    450 set_mempolicy_home_node Sys Native Uninterrupted "";
    451 cachestat File Native Uninterrupted "";
    452 fchmodat2 File MayBlock Uninterrupted PATH;
    453 map_shadow_stack Sys Native Uninterrupted "";
    454 futex_wake Thread Native Uninterrupted WAKE;
    455 futex_wait Thread MayBlock OnSaRestart "Waits in the kernel, where guests that wake through `futex` don't reach it.";
    456 futex_requeue Thread Native Uninterrupted WAKE;
    457 statmount File Native Uninterrupted "";
    458 listmount File Native Uninterrupted "";
    459 lsm_get_self_attr Sys Native Uninterrupted "";
    460 lsm_set_self_attr Sys Native Uninterrupted SHARED;
    461 lsm_list_modules Sys Native Uninterrupted "";
    462 mseal Sys Native Uninterrupted "";
    463 setxattrat File MayBlock Uninterrupted PATH;
    464 getxattrat File MayBlock Uninterrupted PATH;
    465 listxattrat File MayBlock Uninterrupted PATH;
    466 removexattrat File MayBlock Uninterrupted PATH;
    467 open_tree_attr File MayBlock Uninterrupted PATH;
    468 file_getattr File MayBlock Uninterrupted PATH;
    469 file_setattr File MayBlock Uninterrupted PATH;
    470 listns Sys Native Uninterrupted "";
    471 rseq_slice_yield Thread Native Uninterrupted "";
}
