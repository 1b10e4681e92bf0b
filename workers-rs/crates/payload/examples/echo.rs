//! Round trips of a frame over loopback between two processes: bare ZeroMQ, or the payload channel.
//!
//! `echo <mode> <bytes> <seconds>` prints transfers a second:
//! - `ask`: bare ZeroMQ, a few bytes there and a frame back, sent without a copy; `fetch`: the same over the channel.
//! - `bare`: bare ZeroMQ, a frame there and back; `channel`: what a call makes of it: a claim there, the frame
//!   fetched, a claim back, the frame fetched; `curve`: the same, encrypted.

use std::env;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use npufleet_payload::channel::{Address, Asker, Endpoint, Owner, Security, Source};
use npufleet_wire::{Claim, Error, ErrorKind, Result};
use npufleet_zeromq::{Context, Interest, Kind, Message, Socket, poll};
use parking_lot::Mutex;

const LIMIT: u64 = 1 << 30;
const PATIENCE: Duration = Duration::from_secs(30);

/// One slot.
struct Slot {
    arena: [u8; 16],
    held: Mutex<(u64, Bytes)>,
}

impl Slot {
    fn put(&self, frame: Bytes) -> Claim {
        let mut held = self.held.lock();
        held.0 += 1;
        held.1 = frame;
        Claim {
            arena: self.arena,
            slot: 0,
            generation: held.0,
            length: held.1.len() as u64,
        }
    }
}

impl Source for Slot {
    fn arena(&self) -> [u8; 16] {
        self.arena
    }

    fn borrow(&self, claim: &Claim) -> Result<Bytes> {
        let held = self.held.lock();
        let lost = || Error::new(ErrorKind::PayloadLost, "another generation");
        (held.0 == claim.generation).then(|| held.1.clone()).ok_or_else(lost)
    }

    fn release(&self, _slot: u32, _generation: u64) {}
}

/// One of the two processes: lends from a slot, fetches from the other.
struct Side {
    slot: Arc<Slot>,
    owner: Owner,
    asker: Asker,
}

impl Side {
    fn open(arena: u8, security: Security) -> Self {
        let slot = Arc::new(Slot {
            arena: [arena; 16],
            held: Mutex::default(),
        });
        let owner = Owner::open(Endpoint::LOOPBACK, security).expect("an owner");
        owner.add(slot.clone());
        let asker = Asker::default();
        Self { slot, owner, asker }
    }

    fn offer(&self, frame: Bytes) -> String {
        format!("{} {}", self.slot.put(frame), self.owner.address())
    }

    fn take(&self, offer: &[u8]) -> Bytes {
        let text = std::str::from_utf8(offer).expect("an offer");
        let (claim, address) = text.split_once(' ').expect("an offer");
        let address: Address = address.parse().expect("an address");
        let claim = claim.parse().expect("a claim");
        self.asker
            .fetch(&address, &claim, LIMIT, PATIENCE, false)
            .expect("a frame")
    }
}

fn receive(socket: &Socket) -> Message {
    let [ready] = poll([Interest::Socket(socket)], PATIENCE).expect("a socket");
    assert!(ready, "nothing came");
    socket.receive().expect("a message")
}

fn send(socket: &Socket, message: Message) {
    socket.send(message, false).expect("room");
}

/// Answers until its parent ends it.
fn serve(mode: &str) {
    let context = Context::new().expect("a context");
    let socket = context.socket(Kind::Dealer).expect("a socket");
    println!("{}", socket.bind("tcp://127.0.0.1:*").expect("a port"));
    let here = security(mode).map(|security| Side::open(2, security));
    let mut frame = Bytes::new();
    while let Ok([true]) = poll([Interest::Socket(&socket)], PATIENCE) {
        let asked = socket.receive().expect("a message");
        if mode == "ask" || mode == "fetch" {
            let size = usize::from_le_bytes(asked.as_ref().try_into().expect("a size"));
            if frame.len() != size {
                frame = Bytes::from(vec![7; size]);
            }
        }
        let answer = match (mode, &here) {
            ("bare", _) => Ok(asked),
            ("fetch", Some(here)) => Message::copy(here.offer(frame.clone()).as_bytes()),
            (_, Some(here)) => Message::copy(here.offer(here.take(asked.as_ref())).as_bytes()),
            (_, None) => Message::borrow(frame.clone()),
        };
        send(&socket, answer.expect("memory"));
    }
}

fn security(mode: &str) -> Option<Security> {
    match mode {
        "channel" | "fetch" => Some(Security::Plain),
        "curve" => Some(Security::Curve),
        _ => None,
    }
}

fn main() {
    let words: Vec<String> = env::args().skip(1).collect();
    let [mode, size, seconds] = &words[..] else {
        return serve(&words[0]);
    };
    let (size, seconds): (usize, f64) = (size.parse().expect("bytes"), seconds.parse().expect("seconds"));
    let mut server = Command::new(env::current_exe().expect("this program"))
        .arg(mode)
        .stdout(Stdio::piped())
        .spawn()
        .expect("another process");
    let mut line = String::new();
    let mut said = BufReader::new(server.stdout.take().expect("its output"));
    said.read_line(&mut line).expect("its endpoint");
    let context = Context::new().expect("a context");
    let socket = context.socket(Kind::Dealer).expect("a socket");
    socket.connect(line.trim()).expect("a connection");
    let rate = measure(mode, size, seconds, &socket);
    println!("{rate}");
    server.kill().expect("it runs");
    server.wait().expect("it ends");
}

/// Transfers a second.
fn measure(mode: &str, size: usize, seconds: f64, socket: &Socket) -> f64 {
    let here = security(mode).map(|security| Side::open(1, security));
    let frame = Bytes::from(vec![7; size]);
    let first = (mode == "fetch").then(|| {
        send(socket, Message::copy(&size.to_le_bytes()).expect("memory"));
        receive(socket)
    });
    let transfer = || {
        let length = match (mode, &here, &first) {
            (_, Some(here), Some(offer)) => here.take(offer.as_ref()).len(),
            (_, Some(here), None) => {
                send(
                    socket,
                    Message::copy(here.offer(frame.clone()).as_bytes()).expect("memory"),
                );
                here.take(receive(socket).as_ref()).len()
            }
            ("ask", ..) => {
                send(socket, Message::copy(&size.to_le_bytes()).expect("memory"));
                receive(socket).as_ref().len()
            }
            _ => {
                send(socket, Message::borrow(frame.clone()).expect("memory"));
                receive(socket).as_ref().len()
            }
        };
        assert_eq!(length, size);
    };
    for _ in 0..3 {
        transfer();
    }
    let (begun, mut count) = (Instant::now(), 0_u32);
    while begun.elapsed().as_secs_f64() < seconds {
        transfer();
        count += 1;
    }
    f64::from(count) / begun.elapsed().as_secs_f64()
}
