//! Frames between an owner and an asker: sizes, refusals, forged requests, peers that go, stall or come back, keys.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use npufleet_payload::channel::message::{Answer, CHUNK_BYTES, Request};
use npufleet_payload::channel::{Address, Asker, Endpoint, Owner, Security, Source};
use npufleet_wire::{Claim, Error, ErrorKind, Result};
use npufleet_zeromq::{Context, Interest, Kind, Message, Socket, poll};
use parking_lot::Mutex;

const ARENA: [u8; 16] = [7; 16];
const LONG: Duration = Duration::from_secs(20);
const LIMIT: u64 = 1 << 30;

/// Frames that count how many shares of them are lent.
#[derive(Default)]
struct Shelf {
    frames: Mutex<HashMap<u32, Arc<Vec<u8>>>>,
    released: AtomicUsize,
    lent: Arc<AtomicUsize>,
}

struct Lent(Arc<Vec<u8>>, Arc<AtomicUsize>);

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Source for Shelf {
    fn arena(&self) -> [u8; 16] {
        ARENA
    }

    fn borrow(&self, claim: &Claim) -> Result<Bytes> {
        let found = self.frames.lock().get(&claim.slot).cloned();
        let frame = found.filter(|frame| claim.generation == 1 && frame.len() as u64 == claim.length);
        let frame = frame.ok_or_else(|| Error::new(ErrorKind::PayloadLost, "the slot holds another frame"))?;
        self.lent.fetch_add(1, Ordering::SeqCst);
        Ok(Bytes::from_owner(Lent(frame, self.lent.clone())))
    }

    fn release(&self, slot: u32, generation: u64) {
        if generation == 1 && self.frames.lock().remove(&slot).is_some() {
            self.released.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Shelf {
    fn put(&self, slot: u32, size: usize) -> Claim {
        // 251 is prime: no two chunks are alike.
        let pattern: Vec<u8> = (0..251).collect();
        let mut frame = pattern.repeat(size.div_ceil(pattern.len()));
        frame.truncate(size);
        self.frames.lock().insert(slot, Arc::new(frame));
        Claim {
            arena: ARENA,
            slot,
            generation: 1,
            length: size as u64,
        }
    }

    fn frame(&self, slot: u32) -> Arc<Vec<u8>> {
        self.frames.lock()[&slot].clone()
    }
}

fn open(security: Security) -> (Owner, Arc<Shelf>) {
    let owner = Owner::open(Endpoint::LOOPBACK, security).unwrap();
    let shelf = Arc::new(Shelf::default());
    owner.add(shelf.clone());
    (owner, shelf)
}

fn fetch(asker: &Asker, address: &Address, claim: &Claim) -> Result<Bytes> {
    asker.fetch(address, claim, LIMIT, LONG, false)
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < LONG, "{what}");
        thread::yield_now();
    }
}

#[test]
fn frames_of_every_size_arrive_aligned_and_are_given_back() {
    for security in [Security::Auto, Security::Curve] {
        let (owner, shelf) = open(security);
        assert_eq!(owner.address().key().is_some(), security == Security::Curve);
        let asker = Asker::default();
        let chunk = CHUNK_BYTES;
        for size in [
            0,
            1,
            7,
            33,
            100,
            4097,
            chunk - 1,
            chunk,
            chunk + 1,
            5 * chunk,
            20 * chunk + 12345,
        ] {
            let claim = shelf.put(1, size);
            let frame = fetch(&asker, owner.address(), &claim).unwrap();
            assert_eq!(frame, shelf.frame(1)[..], "{size} bytes");
            assert_eq!(frame.as_ptr().align_offset(8), 0, "{size} bytes");
            until("shares come back", || shelf.lent.load(Ordering::SeqCst) == 0);
        }
    }
}

#[test]
fn what_is_not_there_is_lost_and_the_connection_goes_on() {
    let (owner, shelf) = open(Security::Auto);
    let asker = Asker::default();
    let claim = shelf.put(1, 100);
    let kind = |claim: Claim| fetch(&asker, owner.address(), &claim).unwrap_err().kind;
    assert_eq!(kind(Claim { slot: 2, ..claim }), ErrorKind::PayloadLost);
    assert_eq!(kind(Claim { generation: 2, ..claim }), ErrorKind::PayloadLost);
    assert_eq!(kind(Claim { length: 99, ..claim }), ErrorKind::PayloadLost);
    assert_eq!(
        kind(Claim {
            arena: [8; 16],
            ..claim
        }),
        ErrorKind::PayloadLost
    );
    assert_eq!(
        kind(Claim {
            length: LIMIT + 1,
            ..claim
        }),
        ErrorKind::PayloadTooLarge
    );
    assert_eq!(fetch(&asker, owner.address(), &claim).unwrap().len(), 100);
    owner.remove(&ARENA);
    assert_eq!(kind(claim), ErrorKind::PayloadLost);
}

#[test]
fn a_result_is_released_by_whoever_fetched_it() {
    let (owner, shelf) = open(Security::Auto);
    let asker = Asker::default();
    let claim = shelf.put(1, 3 * CHUNK_BYTES);
    asker.fetch(owner.address(), &claim, LIMIT, LONG, true).unwrap();
    until("the slot is released", || shelf.released.load(Ordering::SeqCst) == 1);
    assert_eq!(
        fetch(&asker, owner.address(), &claim).unwrap_err().kind,
        ErrorKind::PayloadLost
    );
    let other = shelf.put(2, 10);
    asker
        .release(owner.address(), &Claim { generation: 9, ..other })
        .unwrap();
    asker.release(owner.address(), &other).unwrap();
    until("the other slot is released", || {
        shelf.released.load(Ordering::SeqCst) == 2
    });
}

#[test]
fn a_small_frame_passes_a_large_one() {
    let (owner, shelf) = open(Security::Auto);
    let (large, small) = (shelf.put(1, 256 * CHUNK_BYTES), shelf.put(2, 4096));
    let asker = Asker::default();
    let large_is_done = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(
                fetch(&asker, owner.address(), &large).unwrap().len() as u64,
                large.length
            );
            large_is_done.store(1, Ordering::SeqCst);
        });
        until("the large one is on its way", || shelf.lent.load(Ordering::SeqCst) > 0);
        for _ in 0..5 {
            fetch(&asker, owner.address(), &small).unwrap();
        }
        assert_eq!(
            large_is_done.load(Ordering::SeqCst),
            0,
            "five small frames came before the large one's end"
        );
    });
}

#[test]
fn many_threads_share_an_asker() {
    let (owner, shelf) = open(Security::Curve);
    let claims: Vec<_> = (0..8).map(|slot| shelf.put(slot, 100 << slot)).collect();
    let asker = Asker::default();
    thread::scope(|scope| {
        for number in 0..8_usize {
            let (asker, owner, shelf, claims) = (&asker, &owner, &shelf, &claims);
            scope.spawn(move || {
                for turn in 0..50 {
                    let claim = &claims[(number + turn) % 8];
                    assert_eq!(
                        fetch(asker, owner.address(), claim).unwrap(),
                        shelf.frame(claim.slot)[..]
                    );
                }
            });
        }
    });
}

#[test]
fn nobody_there_and_owners_that_go_or_return_are_told_apart() {
    let (owner, shelf) = open(Security::Auto);
    let asker = Asker::default();
    let claim = shelf.put(1, 100);
    fetch(&asker, owner.address(), &claim).unwrap();
    let address = owner.address().clone();
    drop(owner);
    let error = fetch(&asker, &address, &claim).unwrap_err();
    assert_eq!(error.kind, ErrorKind::PayloadLost);
    assert!(error.message.contains("nobody listens"), "{error}");
    // Another process at the same port knows nothing of the claim; what it has itself it lends.
    let endpoint: Endpoint = address.endpoint().parse().unwrap();
    let again = Owner::open(endpoint, Security::Auto).unwrap();
    assert_eq!(
        fetch(&asker, &address, &claim).unwrap_err().kind,
        ErrorKind::PayloadLost
    );
    again.add(shelf.clone());
    assert_eq!(fetch(&asker, &address, &claim).unwrap().len(), 100);
    let taken = Owner::open(endpoint, Security::Auto).err().unwrap();
    assert_eq!(taken.kind, ErrorKind::Unavailable);
}

#[test]
fn a_listener_that_says_nothing_costs_the_deadline_and_no_more() {
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let address: Address = format!("tcp://{}", mute.local_addr().unwrap()).parse().unwrap();
    let claim = Claim {
        arena: ARENA,
        slot: 0,
        generation: 1,
        length: 10,
    };
    let asker = Asker::default();
    let error = asker
        .fetch(&address, &claim, LIMIT, Duration::from_millis(200), false)
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::DeadlineExceeded);
}

#[test]
fn keys_that_do_not_fit_are_said_to_be_it() {
    let (sealed, shelf) = open(Security::Curve);
    let (other, _) = open(Security::Curve);
    let (plain, _) = open(Security::Plain);
    let claim = shelf.put(1, 10);
    let asker = Asker::default();
    let key = other.address().key().unwrap();
    let sealed_at = sealed.address().endpoint();
    for (text, says) in [
        (format!("{sealed_at};{key}"), "the key is not its key"),
        (sealed_at.clone(), "CURVE"),
        (format!("{};{key}", plain.address().endpoint()), "CURVE"),
    ] {
        let error = fetch(&asker, &text.parse().unwrap(), &claim).unwrap_err();
        assert_eq!(error.kind, ErrorKind::PayloadLost);
        assert!(error.message.contains(says), "{error}");
    }
    // 40 characters of Z85 that stand for more than 32 bytes.
    let no_key: Address = format!("{sealed_at};{}", "#".repeat(40)).parse().unwrap();
    assert_eq!(
        fetch(&asker, &no_key, &claim).unwrap_err().kind,
        ErrorKind::InvalidFrame
    );
    assert_eq!(fetch(&asker, sealed.address(), &claim).unwrap().len(), 10);
}

#[test]
fn plain_beyond_loopback_is_only_on_demand() {
    let any: Endpoint = "tcp://*:*".parse().unwrap();
    assert_eq!(
        Owner::open(any, Security::Auto).err().unwrap().kind,
        ErrorKind::InvalidParameter
    );
    let advertised = Some(IpAddr::V4(Ipv4Addr::new(10, 9, 8, 7)));
    let open = |security| Owner::open(Endpoint { advertised, ..any }, security).unwrap();
    assert!(open(Security::Auto).address().key().is_some());
    assert!(
        open(Security::Curve)
            .address()
            .to_string()
            .starts_with("tcp://10.9.8.7:")
    );
    assert!(open(Security::Plain).address().key().is_none());
    for text in [
        "",
        "tcp://",
        "tcp://localhost:1",
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:0",
        "tcp://127.0.0.1:99999",
        "ipc://x",
    ] {
        assert_eq!(
            text.parse::<Endpoint>().unwrap_err().kind,
            ErrorKind::InvalidParameter,
            "{text}"
        );
    }
    assert_eq!(
        "open".parse::<Security>().unwrap_err().kind,
        ErrorKind::InvalidParameter
    );
    assert!(
        Endpoint::towards("127.0.0.1:4222".parse().unwrap())
            .unwrap()
            .socket
            .ip()
            .is_loopback()
    );
}

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

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

/// Other tests of this process open and close things meanwhile, so that this one runs alone.
#[test]
#[ignore = "counts the process's descriptors: run alone, by `owner_and_asker_leave_nothing_behind`"]
fn leaks() {
    let (owner, shelf) = open(Security::Auto);
    let asker = Asker::default();
    let claims = [shelf.put(1, 100), shelf.put(2, 3 * CHUNK_BYTES)];
    for claim in &claims {
        fetch(&asker, owner.address(), claim).unwrap();
    }
    let before = (descriptors(), threads());
    let times = if std::env::var_os("NPUFLEET_SLOW").is_some() {
        10_000
    } else {
        1_000
    };
    for turn in 0..times {
        fetch(&asker, owner.address(), &claims[usize::from(turn % 20 == 0)]).unwrap();
    }
    assert_eq!((descriptors(), threads()), before, "{times} transfers");
    for _ in 0..20 {
        let (other, shelf) = open(Security::Curve);
        let claim = shelf.put(1, 10);
        let asker = Asker::default();
        fetch(&asker, other.address(), &claim).unwrap();
    }
    until("owners and askers leave nothing", || {
        (descriptors(), threads()) == before
    });
}

#[test]
fn owner_and_asker_leave_nothing_behind() {
    let myself = std::env::current_exe().unwrap();
    let run = std::process::Command::new(myself)
        .args(["--ignored", "--exact", "leaks"])
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
}
