//! The rows of the table, one line a call, in the order of the numbers.
//!
//! Numbers and names are those of the kernel's `syscall_64.tbl`; 471 is the
//! newest (Linux 7.0). A row reads
//!
//! ```text
//! number name group level(Op, parks) restart note;
//! ```
//!
//! with `(Op)` on virtual rows and `parks` on those of them that may park. Offloaded rows
//! have `[When]`, or an `(Op)` that decides; all of them may park.

use super::{How, Level, Restart, Syscall};
use crate::group::Group;

/// Makes [`Op`] and [`TABLE`] of the rows.
macro_rules! table {
    ($($nr:literal $name:ident $group:ident $level:ident $([$how:ident])?
        $(($op:ident $(, $parks:ident)?))? $restart:ident $note:expr;)*) => {
        /// An operation of ours: one for each row that names one, numbered from 0.
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
            op: optional!(Op $($op)?),
            how: optional!(How $($how)?),
            parks: matches!(Level::$level, Level::Offloaded) || flag!($($($parks)?)?),
            restart: Restart::$restart,
            note: $note,
        },)*];
    };
}

macro_rules! optional {
    ($of:ident) => {
        None
    };
    ($of:ident $value:ident) => {
        Some($of::$value)
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
const PATH: &str = "Handed over on network, FUSE and automounted file systems and where the path is not cached; a local one keeps its kernel thread while its disk is read.";
const OPEN: &str = "A FIFO's open and those on slow file systems are handed over; one that waits for the holder of a lease or the driver of a device keeps its kernel thread.";
const FD: &str = "Handed over on network and FUSE file systems; a local one keeps its kernel thread while its disk is read.";
const DUP: &str = "If the number was the last of a socket with `SO_LINGER`, the call keeps its kernel thread while that sends.";
const ADVICE: &str =
    "Handed over where pages are read, moved or written, and from 32 MiB where they are freed.";
const OTHER: &str = "Brings in pages of the other process, from a file or swap.";
const SHARED: &str =
    "Concerns the kernel thread, so every guest on the hub, and what is handed over for them.";
const ARCH_PRCTL: &str = "`ARCH_SHSTK_ENABLE` fails with `EOPNOTSUPP`, as without shadow stacks; `ARCH_SET_FS` and `ARCH_SET_CPUID` concern the kernel thread.";
const CPU_TIME: &str = "The CPU time of a guest is what the hub counts, without its own work between guests; a program that calls the vDSO past libc gets the kernel thread's.";
const RUSAGE: &str = "Of `RUSAGE_THREAD`, the two times are the guest's, divided as the kernel thread's are, and the rest is the kernel thread's.";
const CPU_TIMER: &str = "A timer by the CPU time of one thread counts the kernel thread's, so that of every guest on the hub; with several hubs it counts the process's.";
const DIRTY: &str = "Synchronous and direct writes, and those to network and FUSE file systems, are handed over; others keep their kernel thread while too much of the page cache is dirty.";
const VFORK: &str = "With `CLONE_VFORK` the call keeps its kernel thread until the child executes a program or exits.";
const GONE: &str = "`ENOSYS`: the kernel no longer has it, or never had it.";

table! {
    0 read Os Virtual(Read, parks) SocketTimeout "";
    1 write Os Virtual(Write, parks) SocketTimeout "";
    2 open File Offloaded(Open) OnSaRestart OPEN;
    3 close Os Virtual(Close, parks) Never "A close that waits (a socket with `SO_LINGER`, a file of a network or FUSE server) is handed over.";
    4 stat File Offloaded[Path] Uninterrupted PATH;
    5 fstat File Offloaded[Descriptor] Uninterrupted FD;
    6 lstat File Offloaded[Path] Uninterrupted PATH;
    7 poll Select Virtual(Poll, parks) RestartBlock "";
    8 lseek File Offloaded[Descriptor] Uninterrupted FD;
    9 mmap Sys Offloaded(Mmap) Uninterrupted "Handed over with `MAP_POPULATE` and `MAP_LOCKED`; a locked address space reads the whole range and keeps the kernel thread.";
    10 mprotect Sys Virtual(Mprotect) Uninterrupted "";
    11 munmap Sys Virtual(Munmap) Uninterrupted "";
    12 brk Sys Native Uninterrupted "";
    13 rt_sigaction Signal Virtual(RtSigaction) Uninterrupted "";
    14 rt_sigprocmask Signal Virtual(RtSigprocmask) Uninterrupted "";
    15 rt_sigreturn Signal Native Uninterrupted "";
    16 ioctl Os Virtual(Ioctl) OnSaRestart "`tcdrain` and `TCSETSW` wait for a terminal; drivers wait as they please (`TIOCMIWAIT`, `SG_IO`, `KVM_RUN`, `BLKDISCARD`, `FIFREEZE`).";
    17 pread64 Os Virtual(Pread64, parks) OnSaRestart "";
    18 pwrite64 Os Offloaded(Pwrite64) OnSaRestart DIRTY;
    19 readv Os Virtual(Readv, parks) SocketTimeout "";
    20 writev Os Virtual(Writev, parks) SocketTimeout "";
    21 access File Offloaded[Path] Uninterrupted PATH;
    22 pipe Os Native Uninterrupted "";
    23 select Select Virtual(Select, parks) NoHandler "";
    24 sched_yield Thread Virtual(SchedYield, parks) Uninterrupted "";
    25 mremap Sys Virtual(Mremap) Uninterrupted "";
    26 msync File Offloaded(Msync) Uninterrupted "";
    27 mincore Sys Native Uninterrupted "";
    28 madvise Sys Offloaded(Madvise) Uninterrupted ADVICE;
    29 shmget Sys Native Uninterrupted "";
    30 shmat Sys Virtual(Shmat) Uninterrupted "";
    31 shmctl Sys Native Uninterrupted "";
    32 dup Os Virtual(Dup) Uninterrupted "";
    33 dup2 Os Virtual(Dup2) Uninterrupted DUP;
    34 pause Signal Virtual(Pause, parks) NoHandler "";
    35 nanosleep Time Virtual(Nanosleep, parks) RestartBlock "";
    36 getitimer Time Native Uninterrupted "";
    37 alarm Time Native Uninterrupted "";
    38 setitimer Time Native Uninterrupted "";
    39 getpid Sys Native Uninterrupted "";
    40 sendfile Os Virtual(Sendfile, parks) OnSaRestart "Stops the hub while the source is read from its disk.";
    41 socket Socket Virtual(Socket) Uninterrupted "";
    42 connect Socket Virtual(Connect, parks) SocketTimeout "";
    43 accept Socket Virtual(Accept, parks) SocketTimeout "";
    44 sendto Socket Virtual(Sendto, parks) SocketTimeout "";
    45 recvfrom Socket Virtual(Recvfrom, parks) SocketTimeout "";
    46 sendmsg Socket Virtual(Sendmsg, parks) SocketTimeout "";
    47 recvmsg Socket Virtual(Recvmsg, parks) SocketTimeout "";
    48 shutdown Socket Native Uninterrupted "";
    49 bind Socket Offloaded[Paths] Uninterrupted "While a network or FUSE file system is mounted: an `AF_UNIX` path may be on it.";
    50 listen Socket Native Uninterrupted "";
    51 getsockname Socket Native Uninterrupted "";
    52 getpeername Socket Native Uninterrupted "";
    53 socketpair Socket Native Uninterrupted "";
    54 setsockopt Socket Offloaded(Setsockopt) SocketTimeout "";
    55 getsockopt Socket Offloaded(Getsockopt) SocketTimeout "";
    56 clone Thread Virtual(Clone) Always VFORK;
    // gevent has os.fork in its os group; here one group has the whole life of a child.
    57 fork Subprocess Virtual(Fork) Always "";
    58 vfork Subprocess Virtual(Vfork) Always "Keeps its kernel thread until the child executes a program or exits.";
    59 execve Subprocess Virtual(Execve) Always "";
    60 exit Thread Virtual(Exit, parks) Uninterrupted "";
    61 wait4 Subprocess Virtual(Wait4, parks) OnSaRestart "";
    62 kill Signal Virtual(Kill) Uninterrupted "";
    63 uname Sys Native Uninterrupted "";
    64 semget Queue Native Uninterrupted "";
    65 semop Queue Offloaded(Semop) Never "";
    66 semctl Queue Native Uninterrupted "";
    67 shmdt Sys Virtual(Shmdt) Uninterrupted "";
    68 msgget Queue Native Uninterrupted "";
    69 msgsnd Queue Offloaded(Msgsnd) NoHandler "";
    70 msgrcv Queue Offloaded(Msgrcv) NoHandler "";
    71 msgctl Queue Native Uninterrupted "";
    72 fcntl Os Virtual(Fcntl, parks) OnSaRestart "`F_GETLK`, `F_SETLK` and leases ask the server of a network file system. A thread that owns a descriptor (`F_SETOWN_EX`) is known by the number it was set for, not by duplicates of that.";
    73 flock File Offloaded(Flock) OnSaRestart "";
    74 fsync File Offloaded[Always] Uninterrupted "";
    75 fdatasync File Offloaded[Always] Uninterrupted "";
    76 truncate File Offloaded[Always] Uninterrupted "";
    77 ftruncate File Offloaded[Always] Uninterrupted "";
    78 getdents File Offloaded[Descriptor] Uninterrupted FD;
    79 getcwd File Native Uninterrupted "";
    80 chdir File Offloaded[Path] Uninterrupted PATH;
    81 fchdir File Offloaded[Descriptor] Uninterrupted FD;
    82 rename File Offloaded[Always] Uninterrupted "";
    83 mkdir File Offloaded[Path] Uninterrupted PATH;
    84 rmdir File Offloaded[Path] Uninterrupted PATH;
    85 creat File Offloaded(Creat) OnSaRestart OPEN;
    86 link File Offloaded[Paths] Uninterrupted PATH;
    87 unlink File Offloaded[Always] Uninterrupted "";
    88 symlink File Offloaded[Paths] Uninterrupted PATH;
    89 readlink File Offloaded[Path] Uninterrupted PATH;
    90 chmod File Offloaded[Path] Uninterrupted PATH;
    91 fchmod File Offloaded[Descriptor] Uninterrupted FD;
    92 chown File Offloaded[Path] Uninterrupted PATH;
    93 fchown File Offloaded[Descriptor] Uninterrupted FD;
    94 lchown File Offloaded[Path] Uninterrupted PATH;
    95 umask File Native Uninterrupted "";
    96 gettimeofday Time Native Uninterrupted "";
    97 getrlimit Sys Virtual(Getrlimit) Uninterrupted "";
    98 getrusage Thread Virtual(Getrusage) Uninterrupted RUSAGE;
    99 sysinfo Sys Native Uninterrupted "";
    100 times Time Native Uninterrupted "";
    101 ptrace Subprocess Virtual(Ptrace) Always "With several hubs the caller stays on one: a tracer is a kernel thread.";
    102 getuid Sys Native Uninterrupted "";
    103 syslog Sys Offloaded[Always] OnSaRestart "";
    104 getgid Sys Native Uninterrupted "";
    105 setuid Sys Virtual(Setuid) Uninterrupted SHARED;
    106 setgid Sys Virtual(Setgid) Uninterrupted SHARED;
    107 geteuid Sys Native Uninterrupted "";
    108 getegid Sys Native Uninterrupted "";
    109 setpgid Subprocess Virtual(Setpgid) Uninterrupted "";
    110 getppid Sys Native Uninterrupted "";
    111 getpgrp Sys Native Uninterrupted "";
    112 setsid Subprocess Native Uninterrupted "";
    113 setreuid Sys Virtual(Setreuid) Uninterrupted SHARED;
    114 setregid Sys Virtual(Setregid) Uninterrupted SHARED;
    115 getgroups Sys Native Uninterrupted "";
    116 setgroups Sys Virtual(Setgroups) Uninterrupted SHARED;
    117 setresuid Sys Virtual(Setresuid) Uninterrupted SHARED;
    118 getresuid Sys Native Uninterrupted "";
    119 setresgid Sys Virtual(Setresgid) Uninterrupted SHARED;
    120 getresgid Sys Native Uninterrupted "";
    121 getpgid Sys Virtual(Getpgid) Uninterrupted "";
    122 setfsuid Sys Virtual(Setfsuid) Uninterrupted SHARED;
    123 setfsgid Sys Virtual(Setfsgid) Uninterrupted SHARED;
    124 getsid Sys Virtual(Getsid) Uninterrupted "";
    125 capget Sys Virtual(Capget) Uninterrupted "";
    126 capset Sys Virtual(Capset) Uninterrupted SHARED;
    127 rt_sigpending Signal Virtual(RtSigpending) Uninterrupted "";
    128 rt_sigtimedwait Signal Virtual(RtSigtimedwait, parks) Never "";
    129 rt_sigqueueinfo Signal Virtual(RtSigqueueinfo) Uninterrupted "";
    130 rt_sigsuspend Signal Virtual(RtSigsuspend, parks) NoHandler "";
    131 sigaltstack Signal Virtual(Sigaltstack) Uninterrupted "";
    132 utime File Offloaded[Path] Uninterrupted PATH;
    133 mknod File Offloaded[Path] Uninterrupted PATH;
    134 uselib File Offloaded[Path] Uninterrupted PATH;
    135 personality Sys Native Uninterrupted SHARED;
    136 ustat File Offloaded[Always] Uninterrupted "";
    137 statfs File Offloaded[Path] Uninterrupted PATH;
    138 fstatfs File Offloaded[Descriptor] Uninterrupted FD;
    139 sysfs File Native Uninterrupted "";
    140 getpriority Thread Virtual(Getpriority) Uninterrupted "";
    141 setpriority Thread Virtual(Setpriority) Uninterrupted "";
    142 sched_setparam Thread Virtual(SchedSetparam) Uninterrupted "";
    143 sched_getparam Thread Virtual(SchedGetparam) Uninterrupted "";
    144 sched_setscheduler Thread Virtual(SchedSetscheduler) Uninterrupted "";
    145 sched_getscheduler Thread Virtual(SchedGetscheduler) Uninterrupted "";
    146 sched_get_priority_max Thread Native Uninterrupted "";
    147 sched_get_priority_min Thread Native Uninterrupted "";
    148 sched_rr_get_interval Thread Virtual(SchedRrGetInterval) Uninterrupted "";
    149 mlock Sys Offloaded[Always] Uninterrupted "";
    150 munlock Sys Native Uninterrupted "";
    151 mlockall Sys Offloaded(Mlockall) Uninterrupted "The stacks of threads are not locked.";
    152 munlockall Sys Native Uninterrupted "";
    153 vhangup Sys Native Uninterrupted "";
    154 modify_ldt Sys Native Uninterrupted "";
    155 pivot_root File Offloaded(PivotRoot) Uninterrupted "";
    156 _sysctl Sys Native Uninterrupted GONE;
    157 prctl Thread Virtual(Prctl) Uninterrupted "";
    158 arch_prctl Thread Virtual(ArchPrctl) Uninterrupted ARCH_PRCTL;
    159 adjtimex Time Native Uninterrupted "";
    160 setrlimit Sys Virtual(Setrlimit) Uninterrupted "";
    161 chroot File Offloaded[Path] Uninterrupted PATH;
    162 sync File Offloaded[Always] Uninterrupted "";
    163 acct File Offloaded[Always] Uninterrupted "";
    164 settimeofday Time Native Uninterrupted "";
    165 mount File Offloaded(Mount) Uninterrupted "";
    166 umount2 File Offloaded(Umount2) Uninterrupted "";
    167 swapon File Offloaded[Always] Uninterrupted "";
    168 swapoff File Offloaded[Always] Never "";
    169 reboot Sys MayBlock Uninterrupted "Waits for every device to shut down.";
    170 sethostname Sys Native Uninterrupted "";
    171 setdomainname Sys Native Uninterrupted "";
    172 iopl Sys Native Uninterrupted SHARED;
    173 ioperm Sys Native Uninterrupted SHARED;
    174 create_module Sys Native Uninterrupted GONE;
    175 init_module Sys Offloaded[Always] OnSaRestart "";
    176 delete_module Sys Offloaded[Always] Never "";
    177 get_kernel_syms Sys Native Uninterrupted GONE;
    178 query_module Sys Native Uninterrupted GONE;
    179 quotactl File Offloaded[Always] Uninterrupted "";
    180 nfsservctl File Native Uninterrupted GONE;
    181 getpmsg Sys Native Uninterrupted GONE;
    182 putpmsg Sys Native Uninterrupted GONE;
    183 afs_syscall Sys Native Uninterrupted GONE;
    184 tuxcall Sys Native Uninterrupted GONE;
    185 security Sys Native Uninterrupted GONE;
    186 gettid Thread Virtual(Gettid) Uninterrupted "";
    187 readahead File Offloaded[Always] Uninterrupted "";
    188 setxattr File Offloaded[Path] Uninterrupted PATH;
    189 lsetxattr File Offloaded[Path] Uninterrupted PATH;
    190 fsetxattr File Offloaded[Descriptor] Uninterrupted FD;
    191 getxattr File Offloaded[Path] Uninterrupted PATH;
    192 lgetxattr File Offloaded[Path] Uninterrupted PATH;
    193 fgetxattr File Offloaded[Descriptor] Uninterrupted FD;
    194 listxattr File Offloaded[Path] Uninterrupted PATH;
    195 llistxattr File Offloaded[Path] Uninterrupted PATH;
    196 flistxattr File Offloaded[Descriptor] Uninterrupted FD;
    197 removexattr File Offloaded[Path] Uninterrupted PATH;
    198 lremovexattr File Offloaded[Path] Uninterrupted PATH;
    199 fremovexattr File Offloaded[Descriptor] Uninterrupted FD;
    // tkill, tgkill and rt_tgsigqueueinfo name a guest by its tid: they belong to threads,
    // and must work on guests even where signals are left alone.
    200 tkill Thread Virtual(Tkill) Uninterrupted "";
    201 time Time Native Uninterrupted "";
    202 futex Thread Virtual(Futex, parks) FutexTimeout "Priority-inheritance locks that processes share are the kernel's, which knows no guest as their owner: they keep the kernel thread, or fail with `ESRCH` in the other process.";
    203 sched_setaffinity Thread Virtual(SchedSetaffinity) Uninterrupted "";
    204 sched_getaffinity Thread Virtual(SchedGetaffinity) Uninterrupted "";
    205 set_thread_area Thread Native Uninterrupted GONE;
    206 io_setup File Native Uninterrupted "";
    207 io_destroy File Offloaded[Always] Uninterrupted "";
    208 io_getevents File Virtual(IoGetevents, parks) Never "";
    209 io_submit File MayBlock Uninterrupted "Runs what the file system can't do asynchronously at once: a whole read or write at worst.";
    210 io_cancel File Native Uninterrupted "";
    211 get_thread_area Thread Native Uninterrupted GONE;
    212 lookup_dcookie File Native Uninterrupted GONE;
    213 epoll_create Select Native Uninterrupted "";
    214 epoll_ctl_old Select Native Uninterrupted GONE;
    215 epoll_wait_old Select Native Uninterrupted GONE;
    216 remap_file_pages Sys Offloaded[Always] Uninterrupted "";
    217 getdents64 File Offloaded[Descriptor] Uninterrupted FD;
    218 set_tid_address Thread Virtual(SetTidAddress) Uninterrupted "";
    219 restart_syscall Signal MayBlock RestartBlock "Goes on with an interrupted sleep or wait; made by the kernel, for calls that already run in it.";
    220 semtimedop Queue Offloaded(Semtimedop) Never "";
    221 fadvise64 File Offloaded[Descriptor] Uninterrupted "";
    222 timer_create Signal Virtual(TimerCreate) Uninterrupted CPU_TIMER;
    223 timer_settime Time Native Uninterrupted "";
    224 timer_gettime Time Native Uninterrupted "";
    225 timer_getoverrun Signal Virtual(TimerGetoverrun) Uninterrupted "";
    226 timer_delete Signal Virtual(TimerDelete) Uninterrupted "";
    227 clock_settime Thread Virtual(ClockSettime) Uninterrupted "";
    228 clock_gettime Thread Virtual(ClockGettime) Uninterrupted CPU_TIME;
    229 clock_getres Thread Virtual(ClockGetres) Uninterrupted "";
    230 clock_nanosleep Time Virtual(ClockNanosleep, parks) RestartBlock "";
    231 exit_group Thread Virtual(ExitGroup) Uninterrupted "";
    232 epoll_wait Select Virtual(EpollWait, parks) Never "";
    233 epoll_ctl Select Native Uninterrupted "";
    234 tgkill Thread Virtual(Tgkill) Uninterrupted "";
    235 utimes File Offloaded[Path] Uninterrupted PATH;
    236 vserver Sys Native Uninterrupted GONE;
    237 mbind Sys Offloaded(Mbind) Uninterrupted "";
    238 set_mempolicy Sys Native Uninterrupted SHARED;
    239 get_mempolicy Sys Native Uninterrupted "";
    240 mq_open Queue Native Uninterrupted "";
    241 mq_unlink Queue Native Uninterrupted "";
    242 mq_timedsend Queue Offloaded(MqTimedsend) OnSaRestart "";
    243 mq_timedreceive Queue Offloaded(MqTimedreceive) OnSaRestart "";
    244 mq_notify Queue Native Uninterrupted "";
    245 mq_getsetattr Queue Native Uninterrupted "";
    246 kexec_load Sys Offloaded[Always] Uninterrupted "";
    247 waitid Subprocess Virtual(Waitid, parks) OnSaRestart "";
    248 add_key Sys MayBlock OnSaRestart "Trusted and encrypted keys wait for the TPM or for another key's construction. Keyrings are a kernel thread's own, so no other one can make the call.";
    249 request_key Sys MayBlock OnSaRestart "Waits for a program of user space to make the key, and is of a kernel thread's own keyrings too.";
    250 keyctl Sys MayBlock OnSaRestart "Waits for a key under construction, for the TPM, for a public-key operation, and is of a kernel thread's own keyrings too.";
    251 ioprio_set Thread Virtual(IoprioSet) Uninterrupted "";
    252 ioprio_get Thread Virtual(IoprioGet) Uninterrupted "";
    253 inotify_init File Native Uninterrupted "";
    254 inotify_add_watch File Offloaded[PathAt] Uninterrupted PATH;
    255 inotify_rm_watch File Native Uninterrupted "";
    256 migrate_pages Sys Offloaded(MigratePages) Uninterrupted "";
    257 openat File Offloaded(Openat) OnSaRestart OPEN;
    258 mkdirat File Offloaded[PathAt] Uninterrupted PATH;
    259 mknodat File Offloaded[PathAt] Uninterrupted PATH;
    260 fchownat File Offloaded[PathAt] Uninterrupted PATH;
    261 futimesat File Offloaded[PathAt] Uninterrupted PATH;
    262 newfstatat File Offloaded[PathAt] Uninterrupted PATH;
    263 unlinkat File Offloaded[Always] Uninterrupted "";
    264 renameat File Offloaded[Always] Uninterrupted "";
    265 linkat File Offloaded[Paths] Uninterrupted PATH;
    266 symlinkat File Offloaded[Paths] Uninterrupted PATH;
    267 readlinkat File Offloaded[PathAt] Uninterrupted PATH;
    268 fchmodat File Offloaded[PathAt] Uninterrupted PATH;
    269 faccessat File Offloaded[PathAt] Uninterrupted PATH;
    270 pselect6 Select Virtual(Pselect6, parks) NoHandler "";
    271 ppoll Select Virtual(Ppoll, parks) NoHandler "";
    272 unshare Sys Virtual(Unshare) Uninterrupted "Sets up new namespaces (`CLONE_NEWNET`: a network stack), for every guest on the hub.";
    273 set_robust_list Thread Virtual(SetRobustList) Uninterrupted "";
    274 get_robust_list Thread Virtual(GetRobustList) Uninterrupted "";
    275 splice Os Virtual(Splice, parks) OnSaRestart "Stops the hub while a regular file is read from its disk.";
    276 tee Os Virtual(Tee, parks) OnSaRestart "";
    277 sync_file_range File Offloaded[Always] Uninterrupted "";
    278 vmsplice Os Virtual(Vmsplice, parks) OnSaRestart "";
    279 move_pages Sys Offloaded(MovePages) Uninterrupted "";
    280 utimensat File Offloaded[PathAt] Uninterrupted PATH;
    281 epoll_pwait Select Virtual(EpollPwait, parks) Never "";
    282 signalfd Signal Virtual(Signalfd) Uninterrupted "";
    283 timerfd_create Time Native Uninterrupted "";
    284 eventfd Os Native Uninterrupted "";
    285 fallocate File Offloaded[Always] Never "";
    286 timerfd_settime Time Native Uninterrupted "";
    287 timerfd_gettime Time Native Uninterrupted "";
    288 accept4 Socket Virtual(Accept4, parks) SocketTimeout "";
    289 signalfd4 Signal Virtual(Signalfd4) Uninterrupted "";
    290 eventfd2 Os Native Uninterrupted "";
    291 epoll_create1 Select Native Uninterrupted "";
    292 dup3 Os Virtual(Dup3) Uninterrupted DUP;
    293 pipe2 Os Native Uninterrupted "";
    294 inotify_init1 File Native Uninterrupted "";
    295 preadv Os Virtual(Preadv, parks) OnSaRestart "";
    296 pwritev Os Offloaded(Pwritev) OnSaRestart DIRTY;
    297 rt_tgsigqueueinfo Thread Virtual(RtTgsigqueueinfo) Uninterrupted "";
    298 perf_event_open Sys Native Uninterrupted SHARED;
    299 recvmmsg Socket Virtual(Recvmmsg, parks) SocketTimeout "";
    300 fanotify_init File Native Uninterrupted "";
    301 fanotify_mark File Offloaded[Paths] Uninterrupted PATH;
    302 prlimit64 Sys Virtual(Prlimit64) Uninterrupted "";
    303 name_to_handle_at File Offloaded[PathAt] Uninterrupted PATH;
    304 open_by_handle_at File Offloaded[Always] OnSaRestart "";
    305 clock_adjtime Time Native Uninterrupted "";
    306 syncfs File Offloaded[Always] Uninterrupted "";
    307 sendmmsg Socket Virtual(Sendmmsg, parks) SocketTimeout "";
    308 setns Sys Virtual(Setns) Uninterrupted SHARED;
    309 getcpu Sys Native Uninterrupted "";
    310 process_vm_readv Sys Virtual(ProcessVmReadv) Uninterrupted OTHER;
    311 process_vm_writev Sys Virtual(ProcessVmWritev) Uninterrupted OTHER;
    312 kcmp Sys Virtual(Kcmp) Uninterrupted "";
    313 finit_module Sys Offloaded[Always] OnSaRestart "";
    314 sched_setattr Thread Virtual(SchedSetattr) Uninterrupted "";
    315 sched_getattr Thread Virtual(SchedGetattr) Uninterrupted "";
    316 renameat2 File Offloaded[Always] Uninterrupted "";
    317 seccomp Sys Virtual(Seccomp) Uninterrupted SHARED;
    318 getrandom Sys Offloaded(Getrandom) OnSaRestart "";
    319 memfd_create File Native Uninterrupted "";
    320 kexec_file_load Sys Offloaded[Always] Uninterrupted "";
    321 bpf Sys Offloaded(Bpf) Uninterrupted "The runs of `BPF_PROG_TEST_RUN`, which see who asks for them, keep their kernel thread.";
    322 execveat Subprocess Virtual(Execveat) Always "";
    323 userfaultfd Sys Native Uninterrupted "";
    324 membarrier Thread Offloaded(Membarrier) Uninterrupted "";
    325 mlock2 Sys Offloaded[Always] Uninterrupted "";
    326 copy_file_range File Offloaded[Always] Uninterrupted "";
    327 preadv2 Os Virtual(Preadv2, parks) SocketTimeout "";
    328 pwritev2 Os Virtual(Pwritev2, parks) SocketTimeout "";
    329 pkey_mprotect Sys Native Uninterrupted "";
    330 pkey_alloc Sys Virtual(PkeyAlloc) Uninterrupted "";
    331 pkey_free Sys Native Uninterrupted "";
    332 statx File Offloaded[PathAt] Uninterrupted PATH;
    333 io_pgetevents File Virtual(IoPgetevents, parks) NoHandler "";
    334 rseq Thread Virtual(Rseq) Uninterrupted "";
    335 uretprobe Sys Native Uninterrupted "";
    336 uprobe Sys Native Uninterrupted "";
    // The kernel leaves 337 to 423 unused.
    424 pidfd_send_signal Signal Native Uninterrupted "";
    425 io_uring_setup Os Virtual(IoUringSetup) Uninterrupted "";
    426 io_uring_enter Os Virtual(IoUringEnter, parks) Never "With a registered ring (`IORING_ENTER_REGISTERED_RING`), a registered or absolute time-out or a minimal wait, the hub stops until the completions are there.";
    427 io_uring_register Os MayBlock Never "Waits for requests that use what is unregistered, and with `IORING_REGISTER_SYNC_CANCEL` for cancelled ones.";
    428 open_tree File Offloaded[PathAt] Uninterrupted PATH;
    429 move_mount File Offloaded(MoveMount) Uninterrupted "";
    430 fsopen File Native Uninterrupted "";
    431 fsconfig File Offloaded[Always] Uninterrupted "";
    432 fsmount File Native Uninterrupted "";
    433 fspick File Offloaded[PathAt] Uninterrupted PATH;
    434 pidfd_open Subprocess Virtual(PidfdOpen) Uninterrupted "`EINVAL` for a guest's tid, also with `PIDFD_THREAD`, and where newer kernels say `ENOENT`.";
    435 clone3 Thread Virtual(Clone3) Always VFORK;
    436 close_range Os Virtual(CloseRange) Uninterrupted "`CLOSE_RANGE_UNSHARE` closes for every guest; with the last number of a socket with `SO_LINGER`, the hub stops while that sends.";
    437 openat2 File Offloaded(Openat2) OnSaRestart OPEN;
    438 pidfd_getfd Os Native Uninterrupted "";
    439 faccessat2 File Offloaded[PathAt] Uninterrupted PATH;
    440 process_madvise Sys Offloaded(ProcessMadvise) Uninterrupted ADVICE;
    441 epoll_pwait2 Select Virtual(EpollPwait2, parks) Never "";
    442 mount_setattr File Offloaded[PathAt] Uninterrupted PATH;
    443 quotactl_fd File Offloaded[Always] Uninterrupted "";
    444 landlock_create_ruleset Sys Native Uninterrupted "";
    445 landlock_add_rule Sys Native Uninterrupted "";
    446 landlock_restrict_self Sys Virtual(LandlockRestrictSelf) Uninterrupted SHARED;
    447 memfd_secret File Native Uninterrupted "";
    448 process_mrelease Sys Offloaded[Always] Uninterrupted "";
    449 futex_waitv Thread Virtual(FutexWaitv, parks) OnSaRestart "";
    450 set_mempolicy_home_node Sys Native Uninterrupted "";
    451 cachestat File Native Uninterrupted "";
    452 fchmodat2 File Offloaded[PathAt] Uninterrupted PATH;
    453 map_shadow_stack Sys Native Uninterrupted "";
    454 futex_wake Thread Virtual(FutexWake) Uninterrupted "";
    455 futex_wait Thread Virtual(FutexWait, parks) OnSaRestart "";
    456 futex_requeue Thread Virtual(FutexRequeue) Uninterrupted "";
    457 statmount File Native Uninterrupted "";
    458 listmount File Native Uninterrupted "";
    459 lsm_get_self_attr Sys Native Uninterrupted "";
    460 lsm_set_self_attr Sys Native Uninterrupted SHARED;
    461 lsm_list_modules Sys Native Uninterrupted "";
    462 mseal Sys Native Uninterrupted "";
    463 setxattrat File Offloaded[PathAt] Uninterrupted PATH;
    464 getxattrat File Offloaded[PathAt] Uninterrupted PATH;
    465 listxattrat File Offloaded[PathAt] Uninterrupted PATH;
    466 removexattrat File Offloaded[PathAt] Uninterrupted PATH;
    467 open_tree_attr File Offloaded[PathAt] Uninterrupted PATH;
    468 file_getattr File Offloaded[PathAt] Uninterrupted PATH;
    469 file_setattr File Offloaded[PathAt] Uninterrupted PATH;
    470 listns Sys Native Uninterrupted "";
    471 rseq_slice_yield Thread Native Uninterrupted "";
}
