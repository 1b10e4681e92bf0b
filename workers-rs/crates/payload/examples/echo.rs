//! Round trips of frames over loopback between two processes: bare ZeroMQ, or the payload channel.
//!
//! `echo <mode> <bytes> <seconds> <lanes>` prints transfers a second of so many frames at once, each on a thread of its own
//! on both sides and over a connection of its own:
//! - `ask`: bare ZeroMQ, a few bytes there and a frame back, sent without a copy; `fetch`: the same over the channel.
//! - `bare`: bare ZeroMQ, a frame there and back; `channel`: what a call makes of it: a claim there, the frame
//!   fetched, a claim back, the frame fetched; `curve`: the same, encrypted.

use std::env;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use npufleet_payload::channel::{Address, Asker, Endpoint, Owner, Security, Source};
use npufleet_wire::{Claim, Error, ErrorKind, Result};
use npufleet_zeromq::{Context, Interest, Kind, Message, Socket, poll};
use parking_lot::Mutex;

const LIMIT: u64 = 1 << 30;
const PATIENCE: Duration = Duration::from_secs(30);

/// A slot for each lane.
struct Slots {
    arena: [u8; 16],
    held: Vec<Mutex<(u64, Bytes)>>,
}

impl Slots {
    fn put(&self, lane: usize, frame: Bytes) -> Claim {
        let mut held = self.held[lane].lock();
        held.0 += 1;
        held.1 = frame;
        Claim {
            arena: self.arena,
            slot: lane as u32,
            generation: held.0,
            length: held.1.len() as u64,
        }
    }
}

impl Source for Slots {
    fn arena(&self) -> [u8; 16] {
        self.arena
    }

    fn borrow(&self, claim: &Claim) -> Result<Bytes> {
        let held = self.held[claim.slot as usize].lock();
        let lost = || Error::new(ErrorKind::PayloadLost, "another generation");
        (held.0 == claim.generation).then(|| held.1.clone()).ok_or_else(lost)
    }

    fn release(&self, _slot: u32, _generation: u64) {}
}

/// One of the two processes: lends from a slot, fetches from the other.
struct Side {
    slots: Arc<Slots>,
    owner: Owner,
    asker: Asker,
}

impl Side {
    fn open(arena: u8, lanes: usize, security: Security) -> Self {
        let slots = Arc::new(Slots {
            arena: [arena; 16],
            held: (0..lanes).map(|_| Mutex::default()).collect(),
        });
        let owner = Owner::open(Endpoint::LOOPBACK, security).expect("an owner");
        owner.add(slots.clone());
        let asker = Asker::default();
        Self { slots, owner, asker }
    }

    fn offer(&self, lane: usize, frame: Bytes) -> String {
        format!("{} {}", self.slots.put(lane, frame), self.owner.address())
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

/// Answers in each lane until its parent ends it.
fn serve(mode: &str, lanes: usize) {
    let context = Context::new().expect("a context");
    let here = security(mode).map(|security| Side::open(2, lanes, security));
    let sockets = (0..lanes).map(|_| context.socket(Kind::Dealer).expect("a socket"));
    let sockets: Vec<_> = sockets
        .inspect(|socket| println!("{}", socket.bind("tcp://127.0.0.1:*").expect("a port")))
        .collect();
    thread::scope(|scope| {
        for (lane, socket) in sockets.into_iter().enumerate() {
            let here = here.as_ref();
            scope.spawn(move || answer(mode, lane, &socket, here));
        }
    });
}

fn answer(mode: &str, lane: usize, socket: &Socket, here: Option<&Side>) {
    let mut frame = Bytes::new();
    while let Ok([true]) = poll([Interest::Socket(socket)], PATIENCE) {
        let asked = socket.receive().expect("a message");
        if mode == "ask" || mode == "fetch" {
            let size = usize::from_le_bytes(asked.as_ref().try_into().expect("a size"));
            if frame.len() != size {
                frame = Bytes::from(vec![7; size]);
            }
        }
        let answer = match (mode, here) {
            ("bare", _) => Ok(asked),
            ("fetch", Some(here)) => Message::copy(here.offer(lane, frame.clone()).as_bytes()),
            (_, Some(here)) => Message::copy(here.offer(lane, here.take(asked.as_ref())).as_bytes()),
            (_, None) => Message::borrow(frame.clone()),
        };
        send(socket, answer.expect("memory"));
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
    let [mode, size, seconds, lanes] = &words[..] else {
        return serve(&words[0], words[1].parse().expect("lanes"));
    };
    let (size, seconds): (usize, f64) = (size.parse().expect("bytes"), seconds.parse().expect("seconds"));
    let mut server = Command::new(env::current_exe().expect("this program"))
        .args([mode, lanes])
        .stdout(Stdio::piped())
        .spawn()
        .expect("another process");
    let lanes: usize = lanes.parse().expect("lanes");
    let context = Context::new().expect("a context");
    let said = BufReader::new(server.stdout.take().expect("its output"))
        .lines()
        .take(lanes);
    let sockets: Vec<_> = said
        .map(|line| {
            let socket = context.socket(Kind::Dealer).expect("a socket");
            socket.connect(&line.expect("its endpoint")).expect("a connection");
            socket
        })
        .collect();
    let here = security(mode).map(|security| Side::open(1, lanes, security));
    let rate: f64 = thread::scope(|scope| {
        let measured: Vec<_> = (sockets.into_iter().enumerate())
            .map(|(lane, socket)| {
                let here = here.as_ref();
                scope.spawn(move || measure(mode, size, seconds, lane, &socket, here))
            })
            .collect();
        measured.into_iter().map(|lane| lane.join().expect("a rate")).sum()
    });
    println!("{rate}");
    server.kill().expect("it runs");
    server.wait().expect("it ends");
}

/// Transfers a second in a lane.
fn measure(mode: &str, size: usize, seconds: f64, lane: usize, socket: &Socket, here: Option<&Side>) -> f64 {
    let frame = Bytes::from(vec![7; size]);
    let first = (mode == "fetch").then(|| {
        send(socket, Message::copy(&size.to_le_bytes()).expect("memory"));
        receive(socket)
    });
    let transfer = || {
        let length = match (mode, here, &first) {
            (_, Some(here), Some(offer)) => here.take(offer.as_ref()).len(),
            (_, Some(here), None) => {
                send(
                    socket,
                    Message::copy(here.offer(lane, frame.clone()).as_bytes()).expect("memory"),
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
