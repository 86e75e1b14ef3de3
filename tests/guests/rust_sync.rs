//! Rust's Once, LazyLock, OnceLock, RwLock, mpsc rendezvous, Command, UDP and read time-outs in threads.
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex, OnceLock, RwLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

static LAZY: LazyLock<usize> = LazyLock::new(|| {
    thread::sleep(Duration::from_millis(5));
    42
});

fn lazies() {
    let once = Arc::new(OnceLock::new());
    let threads: Vec<_> = (0..20)
        .map(|index| {
            let once = Arc::clone(&once);
            thread::spawn(move || {
                let value = *once.get_or_init(|| {
                    thread::sleep(Duration::from_millis(5));
                    index
                });
                assert_eq!(Some(&value), once.get());
                *LAZY
            })
        })
        .collect();
    let sum: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    println!("lazy sum {sum}");
}

fn rendezvous() {
    let (sender, receiver) = mpsc::sync_channel(0);
    let log = Arc::new(Mutex::new(Vec::new()));
    let sent = Arc::clone(&log);
    let thread = thread::spawn(move || {
        for i in 0..50 {
            sender.send(i).unwrap();
            sent.lock().unwrap().push(i);
        }
    });
    let received: Vec<i32> = receiver.iter().collect();
    thread.join().unwrap();
    assert_eq!(received, *log.lock().unwrap());
    println!("rendezvous {}", received.len());
}

fn read_write() {
    let lock = Arc::new(RwLock::new((0, 0)));
    let threads: Vec<_> = (0..10)
        .map(|index| {
            let lock = Arc::clone(&lock);
            thread::spawn(move || {
                for _ in 0..50 {
                    if index % 3 == 0 {
                        let mut pair = lock.write().unwrap();
                        pair.0 += 1;
                        thread::yield_now();
                        pair.1 += 1;
                    } else {
                        let pair = lock.read().unwrap();
                        thread::yield_now();
                        assert_eq!(pair.0, pair.1);
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    println!("pair {:?}", *lock.read().unwrap());
}

fn commands() {
    let threads: Vec<_> = (0..6)
        .map(|index| {
            thread::spawn(move || {
                let mut child = Command::new("cat")
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .spawn()
                    .unwrap();
                let text = format!("through cat {index}").repeat(1000);
                let mut input = child.stdin.take().unwrap();
                let sent = text.clone();
                let writer = thread::spawn(move || input.write_all(sent.as_bytes()).unwrap());
                let output = child.wait_with_output().unwrap();
                writer.join().unwrap();
                assert!(output.status.success());
                assert_eq!(output.stdout, text.as_bytes());
                let status = Command::new("sh").args(["-c", &format!("exit {index}")]).status();
                status.unwrap().code().unwrap()
            })
        })
        .collect();
    let sum: i32 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    println!("statuses {sum}");
}

fn time_outs() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    client.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let begin = Instant::now();
    let error = client.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    assert!(begin.elapsed() >= Duration::from_millis(40));
    client.set_nonblocking(true).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    client.set_nonblocking(false).unwrap();
    let writer = thread::spawn(move || server.write_all(b"x").unwrap());
    client.set_read_timeout(None).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 1);
    writer.join().unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert_eq!(socket.recv(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = TcpStream::connect_timeout(&free, Duration::from_secs(30)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    println!("timed out");
}

fn main() {
    lazies();
    rendezvous();
    read_write();
    commands();
    time_outs();
}
