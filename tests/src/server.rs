//! Servers and helper processes of the runs of real programs.

use crate::run::{self, Group};
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A server that is killed, with its whole process group, when this goes out of scope.
#[derive(Debug)]
pub struct Server {
    group: Group,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Server {
    /// Starts a server that names its port in its first line, after the word `port`.
    ///
    /// # Errors
    /// When it can't be started, or says something else or nothing within `limit`.
    pub fn announcing(command: &mut Command, limit: Duration) -> io::Result<Self> {
        let (group, output) = run::start_with_output(command.stdin(Stdio::null()), limit)?;
        let mut output = BufReader::new(output);
        let mut line = String::new();
        output.read_line(&mut line)?;
        let port = announced_port(&line)
            .ok_or_else(|| io::Error::other(format!("the server said {line:?}, not its port")))?;
        // Somebody has to read on, or a talkative server would block.
        output.get_ref().set_read_timeout(None)?;
        std::thread::spawn(move || io::copy(&mut output, &mut io::sink()));
        Ok(Self {
            group,
            address: (Ipv4Addr::LOCALHOST, port).into(),
        })
    }

    /// Starts a server that was told to listen at `address`, and waits until it accepts.
    ///
    /// # Errors
    /// When it can't be started, ends, or does not accept within `limit`.
    pub fn listening(
        command: &mut Command,
        address: SocketAddr,
        limit: Duration,
    ) -> io::Result<Self> {
        let mut group = Group::start(command.stdin(Stdio::null()))?;
        let deadline = Instant::now() + limit;
        while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
            let soon = Instant::now() + Duration::from_millis(20);
            if let Some(status) = group.wait_until(soon)? {
                return Err(io::Error::other(format!("the server ended: {status}")));
            }
            if soon > deadline {
                return Err(io::Error::other(format!(
                    "nobody accepts at {address} after {limit:?}"
                )));
            }
        }
        Ok(Self { group, address })
    }

    /// The process group of the server.
    pub fn group(&mut self) -> &mut Group {
        &mut self.group
    }
}

/// A port nobody listened at a moment ago.
///
/// # Errors
/// Those of binding a socket.
pub fn free_port() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

fn announced_port(line: &str) -> Option<u16> {
    let mut words = line.split_whitespace();
    words.find(|word| *word == "port")?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_read_from_an_announcement() {
        let line = "Serving HTTP on 127.0.0.1 port 8000 (http://127.0.0.1:8000/) ...\n";
        assert_eq!(announced_port(line), Some(8000));
        assert_eq!(announced_port("Traceback (most recent call last):\n"), None);
    }

    #[test]
    fn a_server_that_ends_at_once_is_an_error() {
        let address = free_port().unwrap();
        let error = Server::listening(&mut Command::new("false"), address, Duration::from_secs(20))
            .unwrap_err();
        assert!(error.to_string().contains("the server ended"), "{error}");
    }
}
