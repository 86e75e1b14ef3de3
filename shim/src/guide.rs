//! A guide: gevent's introduction, natively.
//!
//! gevent's own introduction begins with three host names that are looked up at the same
//! time. Here are the same steps, in Rust. `tests/examples` has whole programs, each in Rust
//! and in C with what it prints: `gethostbyname`, `concurrent_download` (libcurl),
//! `dns_mass_resolve`, `echo_server`, `killed_sleeper`, and `libpq_queries`, in which an
//! unmodified libpq makes 100 queries of 100 ms at the same time. `cargo run -p gevent-tests
//! --example echo_server` runs one.
//!
//! # Patching
//! The first line of `main` makes everything cooperative. (A program that is started with
//! the library preloaded is patched already; then the line finds nothing to do.)
//!
//! ```standalone_crate
//! use std::net::ToSocketAddrs;
//! use std::time::Duration;
//!
//! fn main() {
//!     gevent_shim::monkey::patch_all().unwrap();
//!
//!     let names = ["localhost", "127.0.0.2", "127.0.0.3"];
//!     let jobs = names.map(|name| {
//!         gevent_shim::spawn(move || (name, 80).to_socket_addrs().unwrap().next().unwrap().ip())
//!     });
//!     gevent_shim::joinall(&jobs, Some(Duration::from_secs(2)));
//!     for (name, job) in names.iter().zip(&jobs) {
//!         println!("{name}: {:?}", job.value());
//!         assert!(job.value().is_some());
//!     }
//! }
//! ```
//!
//! `to_socket_addrs` is std's. It calls libc's `getaddrinfo`, which waits in `poll`; that
//! call parks the greenlet, and the next one runs. Nothing in between had to be changed,
//! and so it is with libpq, libcurl, OpenSSL, and whatever else waits through libc.
//!
//! # Greenlets
//! [`spawn`](crate::spawn) makes a greenlet, which runs as soon as its spawner waits. All
//! greenlets share one kernel thread, and run in the order in which they became runnable.
//! One that computes for longer than 10 ms is interrupted for the others
//! (`GEVENT_SHIM_PREEMPT`): unlike gevent's, so what greenlets share needs locks or atomics
//! as with threads, which Rust sees to.
//!
//! ```standalone_crate
//! use gevent_shim::{joinall, monkey, spawn, yield_now};
//!
//! fn main() {
//!     monkey::patch_all().unwrap();
//!     let talk = |name| move || for n in 1..=2 {
//!         println!("{name} {n}");
//!         yield_now(); // an explicit switch
//!     };
//!     joinall(&[spawn(talk("foo")), spawn(talk("bar"))], None); // foo 1, bar 1, foo 2, bar 2
//! }
//! ```
//!
//! # Time-outs
//! A [`Timeout`](crate::Timeout) limits a stretch of code, whatever it waits for: here a
//! `recv` of std's that would wait for ever.
//!
//! ```standalone_crate
//! use std::net::UdpSocket;
//! use std::time::Duration;
//! use gevent_shim::{monkey, with_timeout};
//!
//! fn main() {
//!     monkey::patch_all().unwrap();
//!     let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
//!     let outcome = with_timeout(Duration::from_millis(20), || socket.recv(&mut [0]));
//!     assert_eq!(outcome.unwrap_err().to_string(), "timed out after 20ms");
//! }
//! ```
//!
//! # Kills
//! [`kill`](crate::AnyGreenlet::kill) ends a greenlet in its wait; destructors run.
//! [`crate`]'s interface says what that means inside a call of libc's: the call fails with
//! `ECANCELED`, because frames of C and of std cannot be unwound, and the greenlet unwinds
//! from its next wait here.
//!
//! ```standalone_crate
//! use std::time::Duration;
//! use gevent_shim::{monkey, sleep, spawn, yield_now};
//!
//! struct Noted;
//! impl Drop for Noted {
//!     fn drop(&mut self) {
//!         println!("cleaned up");
//!     }
//! }
//!
//! fn main() {
//!     monkey::patch_all().unwrap();
//!     let sleeper = spawn(|| {
//!         let _noted = Noted;
//!         sleep(Duration::from_secs(3600));
//!     });
//!     yield_now();
//!     sleeper.kill();
//!     assert!(sleeper.successful()); // GreenletExit is no failure
//! }
//! ```
//!
//! # Pools and servers
//! ```standalone_crate
//! use std::io::{Read, Write};
//! use std::net::TcpStream;
//! use gevent_shim::{monkey, Pool, StreamServer};
//!
//! fn main() {
//!     monkey::patch_all().unwrap();
//!     let server = StreamServer::bind("127.0.0.1:0", |mut stream, _| {
//!         let mut bytes = [0; 64];
//!         while let Ok(n @ 1..) = stream.read(&mut bytes) {
//!             stream.write_all(&bytes[..n]).unwrap();
//!         }
//!     })
//!     .unwrap()
//!     .pool(Pool::new(100).unwrap());
//!     server.start().unwrap();
//!     let address = server.local_addr().unwrap();
//!     let clients = Pool::new(10).unwrap();
//!     let echoes = clients.map(0..100u8, move |n| {
//!         let mut stream = TcpStream::connect(address).unwrap();
//!         stream.write_all(&[n]).unwrap();
//!         let mut back = [0];
//!         stream.read_exact(&mut back).unwrap();
//!         back[0]
//!     });
//!     assert!(echoes.unwrap().into_iter().eq(0..100));
//!     server.stop();
//! }
//! ```
//!
//! # In C
//! `include/gevent.h` has all of this for C, function by function; [`crate::capi`] says what
//! stands there for closures and types of Rust's.
//!
//! | in Rust | in C | example in `tests/examples` |
//! |---|---|---|
//! | `spawn`, `Builder`, `join` | `gevent_spawn`, `gevent_spawn_later`, `gevent_join` | `interface.c` |
//! | `kill`, `kill_with`, `killall_with`, `exception` | `gevent_kill`, `gevent_kill_with`, `gevent_killall_with`, `gevent_exception` | `killed_sleeper.c`, `payloads.c` |
//! | `link`, `link_value`, `link_exception` | the same with `gevent_` before it | `payloads.c` |
//! | `spawning_stack` | `gevent_spawning_stack` | `spawned_where.c` |
//! | `scope` | `gevent_scope_new`, `gevent_scope_spawn`, `gevent_scope_end` | `scopes.c` |
//! | `local!` | `gevent_local_new`, `gevent_local_get`, `gevent_local_set` | `locals.c` |
//! | `joinall`, `wait`, `iwait`, `Group`, `Pool` | `gevent_joinall`, `gevent_wait`, `gevent_iwait_next`, `gevent_pool_…` | `several.c` |
//! | `wait` and `iwait` for any `Waitable` | `gevent_wait_objects`, `gevent_iwait_objects` | `waits.c` |
//! | `Pool::imap`, `imap_unordered`, `apply`, `apply_async` | `gevent_pool_imap`, `gevent_imap_next`, `gevent_pool_apply`, `gevent_pool_apply_async` | `many_items.c` |
//! | `monkey::patch` | `gevent_patch` | `patched_groups.c` |
//! | `StreamServer`, `DatagramServer` | `gevent_stream_server_new`, `gevent_datagram_server_new` | `servers.c` |
//!
//! # Groups
//! [`monkey::patch_all`](crate::monkey::patch_all) patches everything. Single groups have
//! functions of their own, which add to each other; without a group its calls stop everybody
//! while they wait.
//!
//! ```standalone_crate
//! use std::time::{Duration, Instant};
//! use gevent_shim::{joinall, monkey, spawn};
//!
//! fn main() {
//!     monkey::patch_socket().unwrap();
//!     monkey::patch_time().unwrap(); // or a sleep of libc's stops the others
//!     let begin = Instant::now();
//!     let sleepers: Vec<_> = (0..100)
//!         .map(|_| spawn(|| std::thread::sleep(Duration::from_millis(100))))
//!         .collect();
//!     joinall(&sleepers, None);
//!     assert!(begin.elapsed() < Duration::from_secs(5)); // not 10
//! }
//! ```
//!
//! It is best called before the program has other threads. Those that it has by then stay
//! kernel threads, and share descriptors, locks and handlers with guests; a line on standard
//! error names them. If one of them can't be stopped for a moment, nothing is changed, and the
//! result is [`PatchError::Late`](crate::monkey::PatchError::Late): greenlets are kernel
//! threads then, and all of this works as well, but for the price.
//!
//! # At bad moments
//! Joining twice, killing the dead, sizes of 0, deadlines that have passed or never come, use
//! from other threads, in signal handlers and after a fork: each has a defined result, which
//! the page of the function says, or [`crate`]'s interface in general.
//!
//! # What gevent documents, and where it is tested
//! Tests are in `shim/tests/api`; each runs on kernel threads, patched and preloaded.
//!
//! | gevent says | here | test |
//! |---|---|---|
//! | a greenlet runs when its spawner switches | the same, on a hub | `a_greenlet_begins_when_its_spawner_waits` |
//! | greenlets begin in the order of their spawning | the same, on a hub | `greenlets_begin_in_the_order_of_their_spawning` |
//! | `join(timeout)` returns when the time is up, and raises nothing | the same; whether it ended is the result | `join_swallows_its_own_time_limit` |
//! | a `Timeout` of the caller's goes through `join` | the same | `join_swallows_its_own_time_limit` |
//! | `get` gives the value to everybody | the same, for values with `Clone`; `take` for others | `a_value_is_returned_as_often_as_asked` |
//! | an exception is printed and does not spread; `get` raises it | `get` returns it | `a_panic_stays_in_its_greenlet` |
//! | `GreenletExit` is a success, and nothing is printed | the same; `get` returns `Exit` | `exit_counts_as_success` |
//! | links run after the greenlet has ended, in order | the same | `links_run_after_the_end_in_order` |
//! | a link to a dead greenlet is called soon | the same | `a_link_to_a_dead_greenlet_runs` |
//! | killing an unstarted greenlet never runs it | the same | `an_unstarted_greenlet_never_runs` |
//! | killing a dead greenlet does nothing | the same | `the_dead_are_not_killed` |
//! | `kill` waits until it has ended, or for its time-out | the same | `a_kill_with_a_time_limit`, `a_kill_without_waiting` |
//! | a greenlet may catch its kill | the same | `a_kill_that_is_caught` |
//! | greenlets of a hub share a thread; others are not to be touched | any hub's greenlets are killed and joined from any thread | `a_kill_reaches_one_that_runs_elsewhere`, `a_kill_reaches_one_that_waits_elsewhere`, `a_kill_that_is_caught_elsewhere` |
//! | a kill is raised where the greenlet waits | the same in waits of this library; in libc's calls `ECANCELED` | `a_kill_interrupts_every_wait`, `a_kill_ends_a_call_of_libc` |
//! | `Timeout` is raised once, in its own greenlet; time-outs nest | the same | `time_outs_nest` |
//! | `Timeout(seconds, exception)` raises that | `Timeout::with_error` | `a_time_out_raises_its_own_error` |
//! | `with_timeout(…, timeout_value=…)` | `with_timeout_value` | `a_time_out_fires_and_is_caught` |
//! | waiters are served first in, first out | handed over, so nobody overtakes | `semaphores_are_first_come_first_served`, `getters_are_first_come_first_served` |
//! | an event wakes all waiters; who was woken stays so after `clear` | the same | `a_cleared_event_keeps_who_was_let_go` |
//! | a bounded semaphore refuses a release too many | `OverReleased` | `a_bounded_semaphore_is_bounded` |
//! | an `RLock` is taken again by its owner alone | the same | `a_lock_is_taken_again` |
//! | iteration over a queue ends (with `StopIteration`) | with `shutdown` | `iteration_ends_with_a_shutdown` |
//! | `Queue(0)` is a channel, deprecated | refused; `channel()` | `bounds`, `a_channel_is_a_rendezvous` |
//! | `task_done` too often is an error | `TooManyDone` | `task_done_and_join` |
//! | a full pool makes `spawn` wait | the same | `a_full_pool_makes_spawn_wait` |
//! | `map` keeps order and raises the first exception | the same; all have ended then | `map_keeps_order_and_tells_the_first_failure` |
//! | `imap_unordered` yields as results come | the same | `imap_unordered_does_not` |
//! | a group forgets its dead | the same | `a_group_loses_its_dead` |
//! | `wait()` without objects waits for everything | `wait_all` | `wait_without_objects_waits_for_all` |
//! | a server's `stop` waits, then kills | the same | `stop_kills_what_takes_too_long` |
//! | callbacks reach the hub from other threads | the same | `callbacks_run_from_any_thread` |
//! | `monkey.patch_…` functions add to each other | the same | `groups_add_to_each_other` |
//! | patching late is a warning | a line on standard error; threads that were there stay kernel threads | `late_it_warns_and_patches`, `late_waits_go_on` |
//! | double joins, kills and gets | the same result each time | `joins_and_kills_of_the_dead` |
//! | a timeout of 0 does not wait | the same | `deadlines_in_the_past` |
//! | a greenlet that joins itself waits for ever | until it is killed | `a_greenlet_joins_itself_and_is_killed` |
//! | after `fork` the child goes on with the other greenlets | it does not: POSIX's one thread | `a_forked_child_has_the_caller_alone` |
