//! Servers, forks, and watching the hub.

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use gevent_shim::*;

crate::tests! {
    a_stream_server_serves_and_stops
    a_full_pool_accepts_no_more
    stop_kills_what_takes_too_long
    a_datagram_server_answers
    a_server_starts_again
    a_forked_child_is_watched
    switches_are_asserted
    a_monitoring_function_looks
    names_are_looked_up_together
    many_names_in_a_pool
}

const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(5);

fn echo(mut stream: TcpStream, _: std::net::SocketAddr) {
    let mut bytes = [0; 64];
    while let Ok(n @ 1..) = stream.read(&mut bytes) {
        stream.write_all(&bytes[..n]).unwrap();
    }
}

fn a_stream_server_serves_and_stops() {
    let server = StreamServer::bind("127.0.0.1:0", echo)
        .unwrap()
        .max_accept(2);
    server.start().unwrap();
    server.start().unwrap();
    let address = server.local_addr().unwrap();
    let clients: Vec<_> = (0..50)
        .map(|n| {
            spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                let text = format!("client {n}");
                stream.write_all(text.as_bytes()).unwrap();
                let mut back = vec![0; text.len()];
                stream.read_exact(&mut back).unwrap();
                back == text.as_bytes()
            })
        })
        .collect();
    assert!(clients.iter().all(|client| client.get().unwrap()));
    assert!(server.stop() && server.stop());
}

fn a_full_pool_accepts_no_more() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counts = (Arc::clone(&now), Arc::clone(&most));
    let server = StreamServer::bind("127.0.0.1:0", move |mut stream: TcpStream, _| {
        counts
            .1
            .fetch_max(counts.0.fetch_add(1, SeqCst) + 1, SeqCst);
        sleep(Duration::from_millis(2));
        counts.0.fetch_sub(1, SeqCst);
        stream.write_all(b"x").unwrap();
    })
    .unwrap()
    .pool(Pool::new(3).unwrap());
    server.start().unwrap();
    let address = server.local_addr().unwrap();
    let clients: Vec<_> = (0..30)
        .map(|_| {
            spawn(move || {
                TcpStream::connect(address)
                    .unwrap()
                    .read_exact(&mut [0])
                    .is_ok()
            })
        })
        .collect();
    assert!(clients.iter().all(|client| client.get().unwrap()));
    assert_eq!(most.load(SeqCst), 3);
    server.stop();
}

fn stop_kills_what_takes_too_long() {
    let inside = Event::new();
    let entered = inside.clone();
    let server = StreamServer::bind("127.0.0.1:0", move |_, _| {
        entered.set();
        sleep(LONG);
    })
    .unwrap()
    .stop_timeout(SHORT);
    server.start().unwrap();
    let serving = TcpStream::connect(server.local_addr().unwrap()).unwrap();
    inside.wait();
    assert!(!server.stop());
    drop(serving);
    assert!(wait_all(None));
}

fn a_datagram_server_answers() {
    let server = DatagramServer::bind("127.0.0.1:0", |socket, bytes, from| {
        socket.send_to(&bytes, from).unwrap();
    })
    .unwrap();
    server.start().unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    for n in 0..10u8 {
        client.send_to(&[n], server.local_addr().unwrap()).unwrap();
        let mut back = [0; 2];
        assert_eq!((client.recv(&mut back).unwrap(), back[0]), (1, n));
    }
    assert!(server.stop());
}

fn a_server_starts_again() {
    let server = StreamServer::bind("127.0.0.1:0", echo).unwrap();
    for _ in 0..2 {
        server.start().unwrap();
        let mut client = TcpStream::connect(server.local_addr().unwrap()).unwrap();
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
        drop(client);
        assert!(server.stop());
    }
}

fn a_forked_child_is_watched() {
    let ended = AsyncResult::new();
    let tell = ended.clone();
    // SAFETY: the child leaves at once.
    #[allow(unsafe_code)]
    unsafe {
        match fork_and_watch(move |child, status| tell.set((child, status))).unwrap() {
            Fork::Child => libc::_exit(7),
            Fork::Parent(id) => {
                let (child, status) = ended.get().unwrap();
                assert_eq!((child, status.code()), (id, Some(7)));
            }
        }
    }
}

fn switches_are_asserted() {
    let none = assert_switches(None, || 1);
    assert_eq!(none.is_ok(), !crate::on_hub());
    assert_eq!(assert_switches(Some(LONG), || 1), Ok(1));
    assert_eq!(assert_switches(None, || sleep(SHORT)), Ok(()));
}

fn a_monitoring_function_looks() {
    let looks = Queue::unbounded();
    let put = looks.clone();
    let monitor = get_hub()
        .add_monitoring_function(Duration::ZERO, move |counts| put.put(counts).unwrap())
        .unwrap();
    for _ in 0..3 {
        assert_eq!(looks.get().unwrap().guests > 0, crate::on_hub());
    }
    drop(monitor);
}

fn look_up(name: &str) -> Option<std::net::IpAddr> {
    use std::net::ToSocketAddrs;
    let mut found = (name, 80).to_socket_addrs().ok()?;
    found.find(|address| address.is_ipv4()).map(|a| a.ip())
}

fn names_are_looked_up_together() {
    let names = ["localhost", "127.0.0.2", "127.0.0.3"];
    let jobs = names.map(|name| spawn(move || look_up(name)));
    assert_eq!(joinall(&jobs, Some(Duration::from_secs(60))).len(), 3);
    let found: Vec<_> = jobs
        .iter()
        .map(|job| job.value().flatten().unwrap().to_string())
        .collect();
    assert_eq!(found, ["127.0.0.1", "127.0.0.2", "127.0.0.3"]);
}

fn many_names_in_a_pool() {
    let pool = Pool::new(10).unwrap();
    let found = pool.map(1..=100, |n| look_up(&format!("127.0.1.{n}")).is_some());
    assert_eq!(found.unwrap(), [true; 100]);
}
