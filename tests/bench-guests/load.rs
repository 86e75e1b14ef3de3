//! Closed-loop load for an echo server: one thread, N persistent connections.
//!
//! Each connection sends 64 bytes, waits for the echo, compares it, and sends
//! the next. The clock starts when every connection has had its first echo and
//! the warm-up is over. Prints one line of `name=value` pairs:
//!
//! | name | meaning |
//! |---|---|
//! | `requests` | echoes completed in the measured window |
//! | `rps` | the same in each second |
//! | `errors` | connections lost, or closed because the echo was wrong |
//! | `idle` | living connections without one echo in the measured window |
//! | `p50_us`, `p99_us` | latency in microseconds |
//! | `threads` | most kernel threads of the watched server, warm-up and window |
//! | `rss_before_kib` | the watched server's resident memory before the first connection |
//! | `rss_peak_kib` | the most of it during warm-up and window |

use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream as StdTcpStream};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use lexopt::prelude::*;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::SockRef;

const USAGE: &str = "usage: echo-load PORT CONNECTIONS [--seconds S] [--warm-up S] [--watch PID]";
const MESSAGE: usize = 64;
/// Longest time for connecting and for the first echo of every connection.
const SETUP_LIMIT: Duration = Duration::from_secs(30);
const SAMPLE_EVERY: Duration = Duration::from_millis(200);

struct Options {
    port: u16,
    connections: usize,
    warm_up: Duration,
    window: Duration,
    watch: Option<u32>,
}

fn options() -> Result<Options, lexopt::Error> {
    let (mut port, mut connections, mut watch) = (None, None, None);
    let mut warm_up = Duration::from_millis(500);
    let mut window = Duration::from_secs(3);
    let mut arguments = lexopt::Parser::from_env();
    let seconds = |text: String| -> Result<Duration, lexopt::Error> {
        let seconds: f64 = text.parse().map_err(|_| format!("not a number: {text}"))?;
        Duration::try_from_secs_f64(seconds).map_err(|e| e.to_string().into())
    };
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("seconds") => window = seconds(arguments.value()?.string()?)?,
            Long("warm-up") => warm_up = seconds(arguments.value()?.string()?)?,
            Long("watch") => watch = Some(arguments.value()?.parse()?),
            Value(value) if port.is_none() => port = Some(value.parse()?),
            Value(value) if connections.is_none() => connections = Some(value.parse()?),
            other => return Err(other.unexpected()),
        }
    }
    match (port, connections) {
        (Some(port), Some(connections)) if connections > 0 => Ok(Options {
            port,
            connections,
            warm_up,
            window,
            watch,
        }),
        _ => Err("a port and a positive number of connections are needed".into()),
    }
}

struct Connection {
    stream: TcpStream,
    request: [u8; MESSAGE],
    answer: [u8; MESSAGE],
    sent: usize,
    received: usize,
    sequence: u64,
    started: Instant,
    /// Sequence number of the last echo that counted in the window, or 0.
    counted: u64,
}

impl Connection {
    fn new(index: usize, stream: TcpStream, now: Instant) -> Self {
        let mut request = [0u8; MESSAGE];
        for (place, byte) in request.iter_mut().enumerate() {
            *byte = (index + place) as u8;
        }
        request[8..16].copy_from_slice(&(index as u64).to_le_bytes());
        Self {
            stream,
            request,
            answer: [0; MESSAGE],
            sent: 0,
            received: 0,
            sequence: 0,
            started: now,
            counted: 0,
        }
    }

    /// Begins the next request. Each one differs from the one before it.
    fn begin(&mut self, now: Instant) -> io::Result<()> {
        self.sequence += 1;
        self.request[..8].copy_from_slice(&self.sequence.to_le_bytes());
        self.sent = 0;
        self.received = 0;
        self.started = now;
        self.send()
    }

    fn send(&mut self) -> io::Result<()> {
        while self.sent < MESSAGE {
            match self.stream.write(&self.request[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Reads what is there. True: the echo is complete and right.
    ///
    /// A complete echo is not followed by a read that would say "would block":
    /// nothing more can come before the next request, and that is a new edge.
    fn receive(&mut self) -> io::Result<bool> {
        while self.received < MESSAGE {
            match self.stream.read(&mut self.answer[self.received..]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => self.received += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        if self.answer != self.request {
            return Err(io::Error::new(
                ErrorKind::InvalidData,
                "the echo differs from the request",
            ));
        }
        Ok(true)
    }
}

/// The largest values seen in `/proc/PID/status` of the server.
#[derive(Default)]
struct Peak {
    threads: u64,
    rss_kib: u64,
}

impl Peak {
    fn sample(&mut self, pid: u32) -> Result<(), Box<dyn Error>> {
        let path = format!("/proc/{pid}/status");
        let status = std::fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
        let field = |name: &str| -> Result<u64, String> {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
                .ok_or_else(|| format!("{path}: no {name}"))
        };
        self.threads = self.threads.max(field("Threads:")?);
        self.rss_kib = self.rss_kib.max(field("VmRSS:")?);
        Ok(())
    }
}

fn connect(port: u16) -> io::Result<TcpStream> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = StdTcpStream::connect_timeout(&address, SETUP_LIMIT)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    // The end is a reset, so that thousands of connections leave no TIME_WAIT
    // behind for the run that comes next.
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    Ok(TcpStream::from_std(stream))
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    rlimit::increase_nofile_limit(u64::MAX)?;
    let mut before = Peak::default();
    let mut peak = Peak::default();
    if let Some(pid) = options.watch {
        before.sample(pid)?;
    }

    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let mut connections = Vec::with_capacity(options.connections);
    for index in 0..options.connections {
        let mut stream = connect(options.port).map_err(|e| format!("connection {index}: {e}"))?;
        poll.registry().register(
            &mut stream,
            Token(index),
            Interest::READABLE | Interest::WRITABLE,
        )?;
        connections.push(Some(Connection::new(index, stream, Instant::now())));
    }

    let mut errors = 0u64;
    let mut lose = |slot: &mut Option<Connection>, index: usize, error: io::Error| {
        if errors < 3 {
            eprintln!("echo-load: connection {index}: {error}");
        }
        errors += 1;
        *slot = None;
    };
    for (index, slot) in connections.iter_mut().enumerate() {
        let begun = slot.as_mut().map(|c| c.begin(Instant::now()));
        if let Some(Err(error)) = begun {
            lose(slot, index, error);
        }
    }

    let mut latency = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3)?;
    let mut waiting = options.connections;
    let setup_end = Instant::now() + SETUP_LIMIT;
    // Set once every connection has had its first echo.
    let mut window: Option<(Instant, Instant)> = None;
    let mut next_sample = Instant::now();
    let mut requests = 0u64;
    loop {
        match poll.poll(&mut events, Some(Duration::from_millis(100))) {
            Err(e) if e.kind() != ErrorKind::Interrupted => return Err(e.into()),
            _ => {}
        }
        let mut now = Instant::now();
        for event in &events {
            let index = event.token().0;
            let slot = &mut connections[index];
            let Some(connection) = slot else { continue };
            let step = connection
                .send()
                .and_then(|()| connection.receive())
                .and_then(|complete| {
                    if !complete {
                        return Ok(());
                    }
                    now = Instant::now();
                    if connection.sequence == 1 {
                        waiting -= 1;
                    }
                    if window.is_some_and(|(start, end)| now >= start && now < end) {
                        requests += 1;
                        connection.counted = connection.sequence;
                        latency.saturating_record((now - connection.started).as_nanos() as u64);
                    }
                    connection.begin(now)
                });
            if let Err(error) = step {
                lose(slot, index, error);
            }
        }
        match window {
            None if waiting == 0 => {
                let start = Instant::now() + options.warm_up;
                window = Some((start, start + options.window));
            }
            None if now > setup_end => {
                return Err(format!("{waiting} connections had no echo in {SETUP_LIMIT:?}").into());
            }
            Some((_, end)) if now >= end => break,
            _ => {}
        }
        if let Some(pid) = options.watch
            && window.is_some()
            && now >= next_sample
        {
            peak.sample(pid)?;
            next_sample = now + SAMPLE_EVERY;
        }
    }

    let idle = connections
        .iter()
        .filter(|slot| slot.as_ref().is_some_and(|c| c.counted == 0))
        .count();
    println!(
        "requests={requests} rps={:.0} errors={errors} idle={idle} p50_us={:.1} p99_us={:.1} \
         threads={} rss_before_kib={} rss_peak_kib={}",
        requests as f64 / options.window.as_secs_f64(),
        latency.value_at_quantile(0.50) as f64 / 1e3,
        latency.value_at_quantile(0.99) as f64 / 1e3,
        peak.threads,
        before.rss_kib,
        peak.rss_kib,
    );
    Ok(())
}

fn main() {
    let options = match options() {
        Ok(options) => options,
        Err(error) => {
            eprintln!("echo-load: {error}\n{USAGE}");
            std::process::exit(2);
        }
    };
    if let Err(error) = run(&options) {
        eprintln!("echo-load: {error}");
        std::process::exit(1);
    }
}
