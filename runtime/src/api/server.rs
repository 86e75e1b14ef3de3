//! Servers: a greenlet that accepts, and one for each connection or datagram.
//!
//! The accepting greenlet waits with poll(2) for its listener and for a pipe that `stop`
//! closes, so it stops at once wherever it runs, also on a kernel thread.
#![allow(unsafe_code)]

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use super::greenlet::{Greenlet, Wait};
use super::pool::Pool;
use super::spawn::{Body, Builder};
use super::sync::{Arc, Lock};

/// Connections that are accepted before the others may run, unless one says otherwise.
const MAX_ACCEPT: usize = 100;

/// How long `stop` lets what is being served go on, unless one says otherwise; and how long
/// it then waits for what it killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// Largest datagram, in bytes.
const DATAGRAM: usize = 65_536;

/// How long an accepting greenlet waits when there is a lack that may pass.
const PAUSE: Duration = Duration::from_millis(100);

/// Starts what serves a connection or a datagram, in a pool.
type Serve<C> = Arc<dyn Fn(&Pool, C) -> io::Result<()> + Send + Sync>;

/// A connection and whose it is.
pub(super) type Connection = (TcpStream, SocketAddr);

/// The socket, what came, and from where.
pub(super) type Datagram = (Arc<UdpSocket>, Vec<u8>, SocketAddr);

/// Runs `f` in the pool once there is a place.
fn run(pool: &Pool, f: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let body = Body::Rust(Box::new(f));
    pool.spawn_body(Builder::new(), body, None).map(drop)
}

/// What serves and what is being served.
struct Serving {
    /// Its other end is closed to stop.
    stop: Option<io::PipeWriter>,
    greenlet: Option<Greenlet<io::Result<()>>>,
}

/// What both kinds of server have.
struct Base {
    pool: Pool,
    max_accept: usize,
    stop_timeout: Duration,
    serving: Lock<Serving>,
}

impl Base {
    fn new() -> Self {
        Base {
            pool: Pool::unbounded(),
            max_accept: MAX_ACCEPT,
            stop_timeout: STOP_TIMEOUT,
            serving: Lock::new(Serving {
                stop: None,
                greenlet: None,
            }),
        }
    }

    /// Starts `serve` in a greenlet with the pipe's reading end. A second time nothing
    /// happens.
    fn start(
        &self,
        serve: impl FnOnce(OwnedFd) -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        let mut serving = self.serving.lock();
        if serving.greenlet.is_some() {
            return Ok(());
        }
        let (reader, writer) = io::pipe()?;
        let greenlet = Builder::new().spawn(move || serve(reader.into()))?;
        *serving = Serving {
            stop: Some(writer),
            greenlet: Some(greenlet),
        };
        Ok(())
    }

    /// What its accepting greenlet is to have.
    fn accepting<C>(&self, serve: &Serve<C>) -> Accepting<C> {
        Accepting {
            pool: self.pool.clone(),
            max_accept: self.max_accept,
            serve: Arc::clone(serve),
        }
    }

    fn stop(&self, timeout: Option<Duration>) -> bool {
        let greenlet = {
            let mut serving = self.serving.lock();
            serving.stop = None;
            serving.greenlet.take()
        };
        if let Some(greenlet) = greenlet {
            // It may wait for a place in the pool.
            greenlet.kill();
        }
        let Some(timeout) = timeout else {
            self.pool.join();
            return true;
        };
        if self.pool.join_timeout(timeout) {
            return true;
        }
        self.pool.kill_with(Wait::For(STOP_TIMEOUT));
        false
    }

    fn serve_forever(&self) -> io::Result<()> {
        let greenlet = self.serving.lock().greenlet.clone();
        match greenlet {
            Some(greenlet) => greenlet.take().unwrap_or(Ok(())),
            None => Ok(()),
        }
    }
}

/// Waits until `fd` is readable. False: the server is to stop.
fn readable(fd: RawFd, stop: &OwnedFd) -> io::Result<bool> {
    let entry = |fd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    let mut entries = [entry(fd), entry(stop.as_raw_fd())];
    loop {
        // SAFETY: two entries of ours.
        let n = unsafe { libc::poll(entries.as_mut_ptr(), 2, -1) };
        if n >= 0 {
            return Ok(entries[1].revents == 0);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            // A kill of the accepting greenlet is one of these.
            super::check();
            return Err(error);
        }
    }
}

/// A connection that was gone before it was accepted, what a datagram that was sent met, or
/// a lack that may pass.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EAGAIN | libc::ECONNABORTED | libc::ECONNREFUSED | libc::EINTR | libc::EPROTO)
    )
}

/// No more descriptors or memory: others must end first.
fn is_exhausted(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}

/// What an accepting greenlet has: the pool that serves, and how.
struct Accepting<C> {
    pool: Pool,
    max_accept: usize,
    serve: Serve<C>,
}

impl<C> Accepting<C> {
    /// Has `take` take what comes to `fd` and serves it, until the server is to stop.
    fn run(
        &self,
        fd: RawFd,
        stop: &OwnedFd,
        mut take: impl FnMut() -> io::Result<C>,
    ) -> io::Result<()> {
        'wait: while readable(fd, stop)? {
            for _ in 0..self.max_accept {
                // Without a thread for it, it is lost: a connection is closed.
                match take().map(|taken| (self.serve)(&self.pool, taken).is_ok()) {
                    Ok(true) => {}
                    Err(error) if is_passing(&error) => continue 'wait,
                    Err(error) if !is_exhausted(&error) => return Err(error),
                    _ => {
                        super::sleep(PAUSE);
                        continue 'wait;
                    }
                }
            }
            super::yield_now();
        }
        Ok(())
    }
}

/// A server of TCP connections, each in a greenlet of its own.
///
/// ```
/// use std::io::{Read, Write};
/// use std::net::TcpStream;
/// use gevent_runtime::api::StreamServer;
///
/// let server = StreamServer::bind("127.0.0.1:0", |mut stream: TcpStream, _| {
///     let mut bytes = [0; 5];
///     stream.read_exact(&mut bytes).and_then(|()| stream.write_all(&bytes)).unwrap();
/// })
/// .unwrap();
/// server.start().unwrap();
/// let mut client = TcpStream::connect(server.local_addr().unwrap()).unwrap();
/// client.write_all(b"hello").unwrap();
/// let mut echo = String::new();
/// client.read_to_string(&mut echo).unwrap();
/// assert_eq!(echo, "hello");
/// server.stop();
/// ```
pub struct StreamServer {
    base: Base,
    listener: Arc<TcpListener>,
    serve: Serve<Connection>,
}

impl fmt::Debug for StreamServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<StreamServer on {:?}>", self.listener)
    }
}

impl StreamServer {
    /// A server at an address, which calls `handle` for each connection.
    ///
    /// # Errors
    /// Those of binding a socket.
    pub fn bind(
        address: impl ToSocketAddrs,
        handle: impl Fn(TcpStream, SocketAddr) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        Self::new(TcpListener::bind(address)?, handle)
    }

    /// A server on a socket that listens. The socket is made non-blocking, since it is the
    /// server's from now on.
    ///
    /// # Errors
    /// Those of changing the socket.
    pub fn new(
        listener: TcpListener,
        handle: impl Fn(TcpStream, SocketAddr) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let handle = Arc::new(handle);
        Self::serving(listener, move |pool, (stream, from)| {
            let handle = Arc::clone(&handle);
            run(pool, move || handle(stream, from))
        })
    }

    pub(super) fn serving(
        listener: TcpListener,
        serve: impl Fn(&Pool, Connection) -> io::Result<()> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(StreamServer {
            base: Base::new(),
            listener: Arc::new(listener),
            serve: Arc::new(serve),
        })
    }

    /// Serves the connections in `pool`: while it is full none is accepted.
    #[must_use]
    pub fn pool(mut self, pool: Pool) -> Self {
        self.base.pool = pool;
        self
    }

    /// How many connections are accepted one after the other before the other greenlets
    /// run; 1 at least, 100 at first.
    #[must_use]
    pub fn max_accept(mut self, n: usize) -> Self {
        self.base.max_accept = n.max(1);
        self
    }

    /// How long [`stop`](Self::stop) lets connections go on; a second at first.
    #[must_use]
    pub fn stop_timeout(mut self, span: Duration) -> Self {
        self.base.stop_timeout = span;
        self
    }

    /// Where it listens.
    ///
    /// # Errors
    /// Those of getsockname(2).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Begins to accept, in a greenlet. A second time nothing happens.
    ///
    /// # Errors
    /// Those of making a pipe and a thread.
    pub fn start(&self) -> io::Result<()> {
        let listener = Arc::clone(&self.listener);
        let accepting = self.base.accepting(&self.serve);
        self.base
            .start(move |stop| accepting.run(listener.as_raw_fd(), &stop, || listener.accept()))
    }

    /// Starts, and serves until somebody stops it.
    ///
    /// # Errors
    /// Those of [`start`](Self::start) and of accept(2).
    pub fn serve_forever(&self) -> io::Result<()> {
        self.start()?;
        self.base.serve_forever()
    }

    /// Accepts no more, lets what is being served go on for the stop time-out, and kills
    /// what is left then, waiting a second at most for that. Whether nothing was left. It
    /// may be started again.
    pub fn stop(&self) -> bool {
        self.base.stop(Some(self.base.stop_timeout))
    }

    /// As [`stop`](Self::stop), with another time-out; `None` for no limit: gevent's
    /// `stop(timeout)`.
    pub fn stop_within(&self, timeout: Option<Duration>) -> bool {
        self.base.stop(timeout)
    }
}

impl Drop for StreamServer {
    fn drop(&mut self) {
        self.base.serving.lock().stop = None;
    }
}

/// A server of UDP datagrams, each handled in a greenlet of its own.
///
/// ```
/// use std::net::UdpSocket;
/// use gevent_runtime::api::DatagramServer;
///
/// let server = DatagramServer::bind("127.0.0.1:0", |socket, bytes, from| {
///     socket.send_to(&bytes, from).unwrap();
/// })
/// .unwrap();
/// server.start().unwrap();
/// let client = UdpSocket::bind("127.0.0.1:0").unwrap();
/// client.send_to(b"hello", server.local_addr().unwrap()).unwrap();
/// let mut echo = [0; 16];
/// assert_eq!(client.recv(&mut echo).unwrap(), 5);
/// server.stop();
/// ```
pub struct DatagramServer {
    base: Base,
    socket: Arc<UdpSocket>,
    serve: Serve<Datagram>,
}

impl fmt::Debug for DatagramServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<DatagramServer on {:?}>", self.socket)
    }
}

impl DatagramServer {
    /// A server at an address, which calls `handle` with its socket for each datagram.
    ///
    /// # Errors
    /// Those of binding a socket.
    pub fn bind(
        address: impl ToSocketAddrs,
        handle: impl Fn(&UdpSocket, Vec<u8>, SocketAddr) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        Self::new(UdpSocket::bind(address)?, handle)
    }

    /// A server on a socket that has an address. The socket is made non-blocking, since it
    /// is the server's from now on.
    ///
    /// # Errors
    /// Those of changing the socket.
    pub fn new(
        socket: UdpSocket,
        handle: impl Fn(&UdpSocket, Vec<u8>, SocketAddr) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let handle = Arc::new(handle);
        Self::serving(socket, move |pool, (socket, bytes, from)| {
            let handle = Arc::clone(&handle);
            run(pool, move || handle(&socket, bytes, from))
        })
    }

    pub(super) fn serving(
        socket: UdpSocket,
        serve: impl Fn(&Pool, Datagram) -> io::Result<()> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(DatagramServer {
            base: Base::new(),
            socket: Arc::new(socket),
            serve: Arc::new(serve),
        })
    }

    /// As [`StreamServer::pool`].
    #[must_use]
    pub fn pool(mut self, pool: Pool) -> Self {
        self.base.pool = pool;
        self
    }

    /// As [`StreamServer::max_accept`], of datagrams.
    #[must_use]
    pub fn max_accept(mut self, n: usize) -> Self {
        self.base.max_accept = n.max(1);
        self
    }

    /// As [`StreamServer::stop_timeout`].
    #[must_use]
    pub fn stop_timeout(mut self, span: Duration) -> Self {
        self.base.stop_timeout = span;
        self
    }

    /// Where it is.
    ///
    /// # Errors
    /// Those of getsockname(2).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// As [`StreamServer::start`].
    ///
    /// # Errors
    /// As there.
    pub fn start(&self) -> io::Result<()> {
        let socket = Arc::clone(&self.socket);
        let accepting = self.base.accepting(&self.serve);
        self.base.start(move |stop| {
            let mut buffer = vec![0; DATAGRAM];
            accepting.run(socket.as_raw_fd(), &stop, || {
                let (n, from) = socket.recv_from(&mut buffer)?;
                Ok((Arc::clone(&socket), buffer[..n].to_vec(), from))
            })
        })
    }

    /// As [`StreamServer::serve_forever`].
    ///
    /// # Errors
    /// As there, of recvfrom(2).
    pub fn serve_forever(&self) -> io::Result<()> {
        self.start()?;
        self.base.serve_forever()
    }

    /// As [`StreamServer::stop`].
    pub fn stop(&self) -> bool {
        self.base.stop(Some(self.base.stop_timeout))
    }

    /// As [`StreamServer::stop_within`].
    pub fn stop_within(&self, timeout: Option<Duration>) -> bool {
        self.base.stop(timeout)
    }
}

impl Drop for DatagramServer {
    fn drop(&mut self) {
        self.base.serving.lock().stop = None;
    }
}
