//! Requests and answers that are none, and askers that leave.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use npufleet_payload::channel::message::{Answer, CHUNK_BYTES, Request};
use npufleet_payload::channel::{Address, Asker, Security};
use npufleet_wire::{Claim, ErrorKind};
use npufleet_zeromq::{Context, Interest, Kind, Message, Socket, poll};

use super::shelf::{ARENA, LIMIT, LONG, open, until};

struct Raw(Socket);

impl Raw {
    fn to(address: &Address) -> Self {
        let socket = Context::new().unwrap().socket(Kind::Dealer).unwrap();
        socket.connect(&address.endpoint()).unwrap();
        Self(socket)
    }

    fn say(&self, parts: &[&[u8]]) {
        for (at, part) in parts.iter().enumerate() {
            self.0.send(Message::copy(part).unwrap(), at + 1 < parts.len()).unwrap();
        }
    }

    fn hear(&self) -> (Option<Answer>, usize) {
        let [ready] = poll([Interest::Socket(&self.0)], LONG).unwrap();
        assert!(ready);
        let head = self.0.receive().unwrap();
        let mut size = 0;
        while self.0.more().unwrap() {
            size += self.0.receive().unwrap().as_ref().len();
        }
        (Answer::decode(head.as_ref()), size)
    }

    fn is_quiet(&self) -> bool {
        let [ready] = poll([Interest::Socket(&self.0)], Duration::from_millis(100)).unwrap();
        !ready
    }
}

#[test]
fn forged_requests_are_refused_and_credit_is_kept_to() {
    let (owner, shelf) = open(Security::Auto);
    let claim = shelf.put(1, 10 * CHUNK_BYTES);
    let raw = Raw::to(owner.address());
    let fetch = |transfer, credit, offset| {
        Request::Fetch {
            transfer,
            claim,
            credit,
            offset,
            patience_us: 60_000_000,
        }
        .encode()
    };
    let refused = |kind| Some(Answer::Refused { transfer: 0, kind });
    raw.say(&[b"nonsense"]);
    assert_eq!(raw.hear().0, refused(ErrorKind::InvalidFrame));
    raw.say(&[&fetch(5, 2, 0), b"more"]);
    assert_eq!(raw.hear().0, refused(ErrorKind::InvalidFrame));
    raw.say(&[&fetch(5, 2, 0)]);
    let data = |transfer, chunk: usize| {
        Some(Answer::Data {
            transfer,
            offset: (chunk * CHUNK_BYTES) as u64,
            length: claim.length,
        })
    };
    assert_eq!(raw.hear(), (data(5, 0), CHUNK_BYTES));
    assert_eq!(raw.hear(), (data(5, 1), CHUNK_BYTES));
    assert!(raw.is_quiet(), "two chunks of credit are two chunks");
    raw.say(&[&fetch(5, 2, 0)]);
    let twice = Some(Answer::Refused {
        transfer: 5,
        kind: ErrorKind::InvalidFrame,
    });
    assert_eq!(raw.hear().0, twice);
    raw.say(&[&Request::More { transfer: 5, credit: 1 }.encode()]);
    assert_eq!(raw.hear(), (data(5, 2), CHUNK_BYTES));
    raw.say(&[&Request::Stop { transfer: 5 }.encode()]);
    until("a stopped transfer lends nothing", || {
        shelf.lent.load(Ordering::SeqCst) == 0
    });
    raw.say(&[&fetch(6, 1, 9 * CHUNK_BYTES as u64)]);
    assert_eq!(raw.hear(), (data(6, 9), CHUNK_BYTES));
    // Nobody knows these: no answer, no harm.
    raw.say(&[&Request::More {
        transfer: 77,
        credit: 1,
    }
    .encode()]);
    raw.say(&[&Request::Stop { transfer: 77 }.encode()]);
    raw.say(&[&Request::Release {
        arena: [9; 16],
        slot: 1,
        generation: 1,
    }
    .encode()]);
    assert!(raw.is_quiet());
}

#[test]
fn an_asker_that_leaves_or_waits_no_longer_gives_the_frame_back() {
    let (owner, shelf) = open(Security::Auto);
    let claim = shelf.put(1, 10 * CHUNK_BYTES);
    let fetch = |transfer, patience_us| {
        Request::Fetch {
            transfer,
            claim,
            credit: 1,
            offset: 0,
            patience_us,
        }
        .encode()
    };
    let raw = Raw::to(owner.address());
    raw.say(&[&fetch(1, 300_000)]);
    raw.hear();
    until("patience ends", || shelf.lent.load(Ordering::SeqCst) == 0);
    raw.say(&[&fetch(2, 60_000_000)]);
    raw.hear();
    assert_ne!(shelf.lent.load(Ordering::SeqCst), 0);
    raw.say(&[&Request::More {
        transfer: 2,
        credit: 64,
    }
    .encode()]);
    drop(raw);
    until("it left", || shelf.lent.load(Ordering::SeqCst) == 0);
}

/// What an owner says to the transfer of this number.
type Lie = Box<dyn Fn(u64) -> Vec<Vec<u8>> + Send>;

/// An owner that says what it is told to.
fn liar(answer: impl Fn(u64) -> Vec<Vec<u8>> + Send + 'static) -> Address {
    let socket = Context::new().unwrap().socket(Kind::Router).unwrap();
    let address = socket.bind("tcp://127.0.0.1:*").unwrap().parse().unwrap();
    thread::spawn(move || {
        while let Ok([true]) = poll([Interest::Socket(&socket)], LONG) {
            let mut parts = vec![socket.receive().unwrap()];
            while socket.more().unwrap() {
                parts.push(socket.receive().unwrap());
            }
            let Some(Request::Fetch { transfer, .. }) = Request::decode(parts[1].as_ref()) else {
                continue;
            };
            let said = answer(transfer);
            socket.send(Message::copy(parts[0].as_ref()).unwrap(), true).unwrap();
            for (at, part) in said.iter().enumerate() {
                socket.send(Message::copy(part).unwrap(), at + 1 < said.len()).unwrap();
            }
        }
    });
    address
}

#[test]
fn answers_that_are_none_are_lost_frames() {
    let large = 3 * CHUNK_BYTES as u64;
    let head = |transfer, offset, length| {
        Answer::Data {
            transfer,
            offset,
            length,
        }
        .encode()
    };
    let lies: Vec<(u64, Lie)> = vec![
        (10, Box::new(|_| vec![b"nonsense".to_vec()])),
        (10, Box::new(move |n| vec![head(n, 0, 10)])),
        (10, Box::new(move |n| vec![head(n, 0, 10), vec![0; 9]])),
        (10, Box::new(move |n| vec![head(n, 0, 10), vec![0; 11]])),
        (10, Box::new(move |n| vec![head(n, 0, 11), vec![0; 11]])),
        (10, Box::new(move |n| vec![head(n, 5, 10), vec![0; 5]])),
        (10, Box::new(move |n| vec![head(n, 0, 10), vec![0; 10], vec![0; 1]])),
        (large, Box::new(move |n| vec![head(n, 0, large), vec![]])),
        (
            large,
            Box::new(move |n| vec![head(n, 0, large), vec![0; CHUNK_BYTES + 4096]]),
        ),
    ];
    for (number, (length, lie)) in lies.into_iter().enumerate() {
        let address = liar(lie);
        let claim = Claim {
            arena: ARENA,
            slot: 0,
            generation: 1,
            length,
        };
        let asker = Asker::default();
        let error = asker.fetch(&address, &claim, LIMIT, LONG, false).unwrap_err();
        assert_eq!(error.kind, ErrorKind::PayloadLost, "lie {number}: {error}");
    }
}
