//! An echo server: a greenlet for each connection, in a pool of 50, and 100 clients.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use gevent_shim::{Pool, StreamServer, joinall, monkey, spawn};

fn echo(mut stream: TcpStream, _: SocketAddr) {
    let mut bytes = [0; 64];
    while let Ok(n @ 1..) = stream.read(&mut bytes) {
        if stream.write_all(&bytes[..n]).is_err() {
            break;
        }
    }
}

fn client(server: SocketAddr, number: usize) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(server)?;
    let text = format!("client {number}");
    stream.write_all(text.as_bytes())?;
    let mut back = vec![0; text.len()];
    stream.read_exact(&mut back)?;
    Ok(back == text.as_bytes())
}

fn main() -> std::io::Result<()> {
    monkey::patch_all().expect("nothing runs yet");
    let pool = Pool::new(50).expect("a size");
    let server = StreamServer::bind("127.0.0.1:0", echo)?.pool(pool);
    server.start()?;
    let address = server.local_addr()?;
    let clients: Vec<_> = (0..100)
        .map(|number| spawn(move || client(address, number).unwrap_or(false)))
        .collect();
    joinall(&clients, None);
    let echoed = clients.iter().filter(|client| client.value() == Some(true));
    println!("{} echoes", echoed.count());
    println!("server stopped: {}", server.stop());
    Ok(())
}
// Output:
// 100 echoes
// server stopped: true
