//! What the channel relies on: CURVE is there, borrowed bytes are not copied and are given back, peers that go are seen.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use npufleet_zeromq::{Context, Event, Interest, KeyPair, Kind, Message, Setting, Socket, has_curve, poll};

const SOON: Duration = Duration::from_secs(10);

struct Counted(Vec<u8>, Arc<AtomicUsize>);

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.fetch_add(1, Ordering::SeqCst);
    }
}

fn receive(socket: &Socket) -> Vec<Message> {
    let [ready] = poll([Interest::Socket(socket)], SOON).unwrap();
    assert!(ready, "a message within {SOON:?}");
    let mut parts = vec![socket.receive().unwrap()];
    while socket.more().unwrap() {
        parts.push(socket.receive().unwrap());
    }
    parts
}

fn until(condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < SOON);
        std::thread::yield_now();
    }
}

fn dealer(context: &Context) -> Socket {
    let mut socket = context.socket(Kind::Dealer).unwrap();
    socket.set(Setting::ReconnectInterval, -1).unwrap();
    socket.set(Setting::Linger, 0).unwrap();
    socket.watch().unwrap();
    socket
}

/// Waits for the first event that ends the matter.
fn outcome(socket: &Socket) -> Event {
    loop {
        let [ready] = poll([Interest::Events(socket)], SOON).unwrap();
        assert!(ready, "an event within {SOON:?}");
        match socket.event().unwrap() {
            Some(Event::Connected | Event::Other) | None => {}
            Some(event) => return event,
        }
    }
}

#[test]
fn borrowed_bytes_travel_and_are_given_back_once() {
    let context = Context::new().unwrap();
    let router = context.socket(Kind::Router).unwrap();
    let endpoint = router.bind("tcp://127.0.0.1:*").unwrap();
    let dealer = context.socket(Kind::Dealer).unwrap();
    dealer.connect(&endpoint).unwrap();
    let given_back = Arc::new(AtomicUsize::new(0));
    for size in [0, 1, 33, 1 << 20] {
        let before = given_back.load(Ordering::SeqCst);
        let message = Message::borrow(Counted(vec![7; size], given_back.clone())).unwrap();
        dealer.send(message, false).unwrap();
        let parts = receive(&router);
        assert_eq!(parts[1].as_ref(), vec![7; size]);
        until(|| given_back.load(Ordering::SeqCst) == before + 1);
    }
}

#[test]
fn a_message_that_is_refused_gives_its_bytes_back() {
    let context = Context::new().unwrap();
    let router = context.socket(Kind::Router).unwrap();
    router.set(Setting::RouterMandatory, 1).unwrap();
    let error = router.send(Message::copy(b"nobody").unwrap(), true).unwrap_err();
    assert!(error.is_unreachable());
    let given_back = Arc::new(AtomicUsize::new(0));
    let dealer = context.socket(Kind::Dealer).unwrap();
    let refused = dealer.send(Message::borrow(Counted(vec![1], given_back.clone())).unwrap(), false);
    assert!(refused.unwrap_err().would_block());
    assert_eq!(given_back.load(Ordering::SeqCst), 1);
}

#[test]
fn this_build_has_curve_and_a_wrong_key_is_seen() {
    assert!(has_curve());
    let context = Context::new().unwrap();
    let keys = KeyPair::new().unwrap();
    let router = context.socket(Kind::Router).unwrap();
    router.serve_curve(&keys).unwrap();
    let endpoint = router.bind("tcp://127.0.0.1:*").unwrap();
    let own = KeyPair::new().unwrap();

    let right = dealer(&context);
    right.use_curve(&keys.public, &own).unwrap();
    right.connect(&endpoint).unwrap();
    assert_eq!(outcome(&right), Event::Ready);
    right.send(Message::copy(b"hello").unwrap(), false).unwrap();
    assert_eq!(receive(&router)[1].as_ref(), b"hello");

    let wrong = dealer(&context);
    wrong.use_curve(&own.public, &own).unwrap();
    wrong.connect(&endpoint).unwrap();
    assert_eq!(outcome(&wrong), Event::Rejected);

    let plain = dealer(&context);
    plain.connect(&endpoint).unwrap();
    assert_eq!(outcome(&plain), Event::Mismatch);
    assert!(plain.use_curve("no key", &own).is_err());
}

#[test]
fn nobody_there_and_a_peer_that_goes_are_seen() {
    let context = Context::new().unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let refused = dealer(&context);
    refused.connect(&format!("tcp://127.0.0.1:{port}")).unwrap();
    assert_eq!(outcome(&refused), Event::Refused);

    let router = context.socket(Kind::Router).unwrap();
    let endpoint = router.bind("tcp://127.0.0.1:*").unwrap();
    let asker = dealer(&context);
    asker.connect(&endpoint).unwrap();
    assert_eq!(outcome(&asker), Event::Ready);
    drop(router);
    assert_eq!(outcome(&asker), Event::Disconnected);
}

#[test]
fn what_cannot_be_bound_is_an_error() {
    let context = Context::new().unwrap();
    let router = context.socket(Kind::Router).unwrap();
    for endpoint in ["", "tcp://", "nonsense://x", "tcp://127.0.0.1:x\0y"] {
        assert!(router.bind(endpoint).is_err(), "{endpoint:?}");
    }
}
