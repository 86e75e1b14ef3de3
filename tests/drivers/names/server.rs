//! A DNS server whose answers, and whose misbehaviour, stand in the names it is asked for.
//!
//! | label | what the server does |
//! |---|---|
//! | `hN` | the name's addresses are 10.0.S.N and fd00::S:N, where S is the server's own last byte |
//! | `delay-MS` | answers after so many milliseconds |
//! | `lost-N` | drops the first N datagrams with the same question |
//! | `gather-N` | answers nobody before N different questions with this label have come |
//! | `truncated` | answers a datagram with nothing but the flag that asks for TCP |
//! | `large` | answers with 60 addresses, which no datagram holds |
//! | `alias` | is an alias of the name without this label |
//! | `missing` | answers that there is no such name |
//! | `empty` | answers that the name has no such record |
//! | `failing`, `failing-S` | answers that the server has failed; only server S does |
//!
//! Every name below `test` exists, those below `void.test` do not, and addresses have names
//! (`in-addr.arpa`). The threads of a server end with the process.

use simple_dns::rdata::{CNAME, MX, PTR, RData, TXT};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE};
use std::collections::{HashMap, HashSet};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// Most bytes of an answer in a datagram (RFC 1035, 4.2.1).
const DATAGRAM: usize = 512;

/// What became of the questions so far.
///
/// Synchronization: behind one lock; `arrived` says that `gathered` has grown.
#[derive(Default)]
struct State {
    seen: Mutex<Seen>,
    arrived: Condvar,
}

#[derive(Default)]
struct Seen {
    /// Datagrams by question.
    asked: HashMap<String, u32>,
    /// Questions by the label that gathers them.
    gathered: HashMap<String, HashSet<String>>,
}

/// Starts a server at each address, port 53, in the network of the calling thread.
///
/// # Errors
/// Those of binding.
pub fn start(addresses: &[Ipv4Addr]) -> io::Result<()> {
    for &address in addresses {
        let state = Arc::new(State::default());
        let datagrams = Arc::new(UdpSocket::bind((address, 53))?);
        let streams = TcpListener::bind((address, 53))?;
        let id = address.octets()[3];
        let shared = Arc::clone(&state);
        thread::spawn(move || serve_datagrams(&datagrams, id, &shared));
        thread::spawn(move || {
            for stream in streams.incoming().flatten() {
                let state = Arc::clone(&state);
                thread::spawn(move || serve_stream(stream, id, &state));
            }
        });
    }
    Ok(())
}

fn serve_datagrams(socket: &Arc<UdpSocket>, id: u8, state: &Arc<State>) {
    let mut buffer = [0; DATAGRAM];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        let query = buffer[..length].to_vec();
        let (socket, state) = (Arc::clone(socket), Arc::clone(state));
        thread::spawn(move || {
            if let Some(reply) = answer(&query, id, &state, true) {
                // The asker may be gone, as on any network.
                let _ = socket.send_to(&reply, from);
            }
        });
    }
}

/// Answers the questions of one connection; an asker that goes away ends it.
fn serve_stream(mut stream: TcpStream, id: u8, state: &State) -> Option<()> {
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length).ok()?;
        let mut query = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut query).ok()?;
        let reply = answer(&query, id, state, false)?;
        let length = u16::try_from(reply.len()).ok()?;
        stream.write_all(&length.to_be_bytes()).ok()?;
        // In two parts: the length and the answer need not come together.
        stream.write_all(&reply).ok()?;
    }
}

/// The answer to a message, when its time has come. `None`: there is none.
fn answer(query: &[u8], id: u8, state: &State, datagram: bool) -> Option<Vec<u8>> {
    let query = Packet::parse(query).ok()?;
    let question = query.questions.first()?.clone();
    let name = question.qname.to_string().to_ascii_lowercase();
    let key = format!("{name} {:?}", question.qtype);
    let labels: Vec<&str> = name.split('.').collect();
    let number = |word: &str| {
        let label = labels.iter().find_map(|label| label.strip_prefix(word));
        label.and_then(|number| number.parse::<u32>().ok())
    };

    if let (Some(lost), true) = (number("lost-"), datagram) {
        let mut seen = state.seen.lock().unwrap();
        let asked = seen.asked.entry(key.clone()).or_default();
        *asked += 1;
        if *asked <= lost {
            return None;
        }
    }
    if let Some(wanted) = number("gather-") {
        let label = format!("gather-{wanted}");
        let mut seen = state.seen.lock().unwrap();
        seen.gathered.entry(label.clone()).or_default().insert(key);
        state.arrived.notify_all();
        let complete = |seen: &Seen| seen.gathered[&label].len() >= wanted as usize;
        while !complete(&seen) {
            seen = state.arrived.wait(seen).unwrap();
        }
    }
    if let Some(delay) = number("delay-") {
        thread::sleep(Duration::from_millis(delay.into()));
    }

    let mut reply = query.into_reply();
    reply.set_flags(PacketFlag::RECURSION_AVAILABLE);
    let has = |word: &str| labels.contains(&word);
    if has("failing") || number("failing-") == Some(id.into()) {
        *reply.rcode_mut() = RCODE::ServerFailure;
    } else if has("missing") || name.ends_with("void.test") || !exists(&name) {
        *reply.rcode_mut() = RCODE::NameError;
    } else if datagram && has("truncated") {
        reply.set_flags(PacketFlag::TRUNCATION);
    } else if !has("empty") {
        fill(&mut reply, &name, question.qtype, id);
    }
    let bytes = reply.build_bytes_vec_compressed().ok()?;
    if datagram && bytes.len() > DATAGRAM {
        reply.answers.clear();
        reply.set_flags(PacketFlag::TRUNCATION);
        return reply.build_bytes_vec_compressed().ok();
    }
    Some(bytes)
}

fn exists(name: &str) -> bool {
    name == "test" || name.ends_with(".test") || name.ends_with(".in-addr.arpa")
}

/// Adds the records of `name` that are asked for.
fn fill(reply: &mut Packet<'_>, name: &str, wanted: QTYPE, id: u8) {
    let mut owner = name.to_owned();
    let add = |reply: &mut Packet<'_>, owner: &str, data: RData<'static>| {
        let owner = Name::new_unchecked(owner).into_owned();
        let record = ResourceRecord::new(owner, CLASS::IN, 60, data);
        reply.answers.push(record.into_owned());
    };
    let target = |text: &str| Name::new_unchecked(text).into_owned();
    if let Some(canonical) = name
        .split_once("alias.")
        .map(|(head, tail)| format!("{head}{tail}"))
    {
        add(reply, &owner, RData::CNAME(CNAME(target(&canonical))));
        owner = canonical;
    }
    let first: u32 = owner
        .split('.')
        .next()
        .and_then(|label| label.strip_prefix('h'))
        .and_then(|number| number.parse().ok())
        .unwrap_or(1);
    let count = if owner.contains("large") { 60 } else { 1 };
    for number in first..first + count {
        match wanted {
            QTYPE::TYPE(TYPE::A) => {
                let address = Ipv4Addr::new(10, (number >> 8) as u8, id, number as u8);
                add(reply, &owner, RData::A(address.into()));
            }
            QTYPE::TYPE(TYPE::AAAA) => {
                let address = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, id.into(), number as u16);
                add(reply, &owner, RData::AAAA(address.into()));
            }
            _ => {}
        }
    }
    match wanted {
        QTYPE::TYPE(TYPE::PTR) => {
            let host = format!(
                "host-{}.test",
                owner.trim_end_matches(".in-addr.arpa").replace('.', "-")
            );
            add(reply, &owner, RData::PTR(PTR(target(&host))));
        }
        QTYPE::TYPE(TYPE::MX) => {
            let exchange = target(&format!("mail.{owner}"));
            add(
                reply,
                &owner,
                RData::MX(MX {
                    preference: 10,
                    exchange,
                }),
            );
        }
        QTYPE::TYPE(TYPE::TXT) => {
            if let Ok(text) = TXT::new().with_string(&format!("the text of {owner}")) {
                add(reply, &owner, RData::TXT(text.into_owned()));
            }
        }
        _ => {}
    }
}
