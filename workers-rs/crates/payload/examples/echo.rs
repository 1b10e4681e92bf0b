//! Round trips of frames over loopback between two processes: bare ZeroMQ, or the payload channel.
//!
//! `echo <mode> <bytes> <seconds> <lanes>` prints transfers a second of so many frames at once, each on a thread of its own
//! on both sides and over a connection of its own:
//! - `ask`: bare ZeroMQ, a few bytes there and a frame back, sent without a copy; `fetch`: the same over the channel.
//! - `bare`: bare ZeroMQ, a frame there and back; `channel`: what a call makes of it: a claim there, the frame
//!   fetched, a claim back, the frame fetched; `curve`: the same, encrypted. Claims go over a plain TCP connection.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
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

    fn take(&self, offer: &str) -> Bytes {
        let (claim, address) = offer.split_once(' ').expect("an offer");
        let address: Address = address.parse().expect("an address");
        let claim = claim.parse().expect("a claim");
        self.asker
            .fetch(&address, &claim, LIMIT, PATIENCE, false)
            .expect("a frame")
    }
}

/// Lines of text to the other process and back.
struct Talk(BufReader<TcpStream>);

impl Talk {
    fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a socket");
        Self(BufReader::new(stream))
    }

    fn say(&mut self, line: &str) {
        let line = format!("{line}\n");
        self.0.get_mut().write_all(line.as_bytes()).expect("the other side");
    }

    /// The next line; none when the other side is gone.
    fn hear(&mut self) -> Option<String> {
        let mut line = String::new();
        let count = self.0.read_line(&mut line).expect("the other side");
        (count > 0).then(|| line.trim_end().to_owned())
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

fn security(mode: &str) -> Option<Security> {
    match mode {
        "channel" | "fetch" => Some(Security::Plain),
        "curve" => Some(Security::Curve),
        _ => None,
    }
}

/// Answers in each lane until its parent ends it.
fn serve(mode: &str, lanes: usize) {
    let context = Context::new().expect("a context");
    let here = security(mode).map(|security| Side::open(2, lanes, security));
    thread::scope(|scope| {
        for lane in 0..lanes {
            if let Some(here) = &here {
                let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
                println!("{}", listener.local_addr().expect("a port"));
                scope.spawn(move || answer_claims(mode, lane, &listener, here));
            } else {
                let socket = context.socket(Kind::Dealer).expect("a socket");
                println!("{}", socket.bind("tcp://127.0.0.1:*").expect("a port"));
                scope.spawn(move || answer_frames(mode, &socket));
            }
        }
    });
}

fn answer_frames(mode: &str, socket: &Socket) {
    let mut frame = Bytes::new();
    while let Ok([true]) = poll([Interest::Socket(socket)], PATIENCE) {
        let asked = socket.receive().expect("a message");
        if mode == "bare" {
            send(socket, asked);
            continue;
        }
        let size = usize::from_le_bytes(asked.as_ref().try_into().expect("a size"));
        if frame.len() != size {
            frame = Bytes::from(vec![7; size]);
        }
        send(socket, Message::borrow(frame.clone()).expect("memory"));
    }
}

fn answer_claims(mode: &str, lane: usize, listener: &TcpListener, here: &Side) {
    let mut talk = Talk::over(listener.accept().expect("the asker").0);
    while let Some(asked) = talk.hear() {
        let frame = match mode {
            "fetch" => Bytes::from(vec![7; asked.parse().expect("a size")]),
            _ => here.take(&asked),
        };
        talk.say(&here.offer(lane, frame));
    }
}

/// A transfer in a lane, over and over; gives how many bytes came.
type Transfer<'a> = Box<dyn FnMut() -> usize + Send + 'a>;

fn of_frames(mode: &str, size: usize, socket: Socket) -> Transfer<'static> {
    let frame = (mode == "bare").then(|| Bytes::from(vec![7; size]));
    Box::new(move || {
        let asked = match &frame {
            Some(frame) => Message::borrow(frame.clone()),
            None => Message::copy(&size.to_le_bytes()),
        };
        send(&socket, asked.expect("memory"));
        receive(&socket).as_ref().len()
    })
}

fn of_claims<'a>(mode: &str, size: usize, lane: usize, mut talk: Talk, here: &'a Side) -> Transfer<'a> {
    if mode == "fetch" {
        talk.say(&size.to_string());
        let offer = talk.hear().expect("an offer");
        return Box::new(move || {
            // It is there as long as somebody is to talk to.
            let _ = &talk;
            here.take(&offer).len()
        });
    }
    let frame = Bytes::from(vec![7; size]);
    Box::new(move || {
        talk.say(&here.offer(lane, frame.clone()));
        here.take(&talk.hear().expect("an offer")).len()
    })
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
    let here = security(mode).map(|security| Side::open(1, lanes, security));
    let places = BufReader::new(server.stdout.take().expect("its output")).lines();
    let transfers: Vec<_> = (places.take(lanes).enumerate())
        .map(|(lane, place)| {
            let place = place.expect("a place");
            if let Some(here) = &here {
                let talk = Talk::over(TcpStream::connect(place).expect("a connection"));
                return of_claims(mode, size, lane, talk, here);
            }
            let socket = context.socket(Kind::Dealer).expect("a socket");
            socket.connect(&place).expect("a connection");
            of_frames(mode, size, socket)
        })
        .collect();
    let rate: f64 = thread::scope(|scope| {
        let measured: Vec<_> = (transfers.into_iter())
            .map(|transfer| scope.spawn(move || measure(transfer, size, seconds)))
            .collect();
        measured.into_iter().map(|lane| lane.join().expect("a rate")).sum()
    });
    println!("{rate}");
    server.kill().expect("it runs");
    server.wait().expect("it ends");
}

/// Transfers a second.
fn measure(mut transfer: Transfer<'_>, size: usize, seconds: f64) -> f64 {
    for _ in 0..3 {
        assert_eq!(transfer(), size);
    }
    let (begun, mut count) = (Instant::now(), 0_u32);
    while begun.elapsed().as_secs_f64() < seconds {
        assert_eq!(transfer(), size);
        count += 1;
    }
    f64::from(count) / begun.elapsed().as_secs_f64()
}
