//! Peers that speak ZMTP in another way than libzmq does, or not at all.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use npufleet_payload::channel::message::{Answer, CHUNK_BYTES, HANDSHAKE_TIMEOUT, Request};
use npufleet_payload::channel::plain::zmtp;
use npufleet_payload::channel::{Address, Asker, Security};
use npufleet_wire::{Claim, ErrorKind};

use super::shelf::{ARENA, LIMIT, LONG, fetch, open, until};

fn claim(length: u64) -> Claim {
    Claim {
        arena: ARENA,
        slot: 0,
        generation: 1,
        length,
    }
}

fn handshake(kind: &str) -> Vec<u8> {
    [&zmtp::greeting()[..], &zmtp::ready(kind)].concat()
}

fn random_bytes(random: &mut fastrand::Rng) -> Vec<u8> {
    let size = random.usize(0..300);
    std::iter::repeat_with(|| random.u8(..)).take(size).collect()
}

/// Whoever connects is served once, by a thread of its own; the address of it.
fn serve(each: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap()).parse().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let each = each.clone();
            thread::spawn(move || each(stream.unwrap()));
        }
    });
    address
}

#[test]
fn an_owner_lets_those_go_who_say_nonsense_and_serves_the_others() {
    let (owner, shelf) = open(Security::Auto);
    let place = owner.address().endpoint().replace("tcp://", "");
    let asker = Asker::default();
    let claim = shelf.put(1, 100);
    let mut random = fastrand::Rng::with_seed(5);
    for turn in 0..200 {
        let mut stream = TcpStream::connect(&place).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        let begin = if turn % 2 == 0 { handshake("DEALER") } else { Vec::new() };
        let said = [begin, random_bytes(&mut random)].concat();
        // It may have been let go before it said all of it.
        let _ = stream.write_all(&said).and_then(|()| stream.shutdown(Shutdown::Write));
        let mut heard = Vec::new();
        match stream.read_to_end(&mut heard) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{said:?}"),
        }
        if turn % 20 == 0 {
            assert_eq!(fetch(&asker, owner.address(), &claim).unwrap().len(), 100);
        }
    }
    until("shares come back", || shelf.lent.load(Ordering::SeqCst) == 0);
}

#[test]
fn an_owner_lets_those_go_who_say_nothing() {
    let (owner, _) = open(Security::Auto);
    let mut stream = TcpStream::connect(owner.address().endpoint().replace("tcp://", "")).unwrap();
    stream.set_read_timeout(Some(HANDSHAKE_TIMEOUT * 3)).unwrap();
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).unwrap();
    assert_eq!(heard, zmtp::greeting());
}

#[test]
fn an_owner_understands_requests_in_pieces_and_many_at_once() {
    let (owner, shelf) = open(Security::Auto);
    let claim = shelf.put(1, 300);
    let mut stream = TcpStream::connect(owner.address().endpoint().replace("tcp://", "")).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut said = handshake("DEALER");
    for transfer in 1..=50 {
        let request = Request::Fetch {
            transfer,
            claim,
            credit: 1,
            offset: 0,
            patience_us: 20_000_000,
        };
        said.extend(zmtp::message(&request.encode()));
    }
    for piece in said.chunks(7) {
        stream.write_all(piece).unwrap();
    }
    let mut answered = vec![0; handshake("ROUTER").len()];
    stream.read_exact(&mut answered).unwrap();
    for transfer in 1..=50 {
        let (offset, length) = (0, claim.length);
        let head = Answer::Data {
            transfer,
            offset,
            length,
        };
        let expected = [&zmtp::answer(&head.encode(), 300)[..], &shelf.frame(1)].concat();
        answered.resize(expected.len(), 0);
        stream.read_exact(&mut answered).unwrap();
        assert!(answered == expected, "transfer {transfer}");
    }
}

#[test]
fn an_asker_takes_chunks_of_any_size_in_any_pieces_and_gives_signs_of_life() {
    let sizes = [1, 254, 255, 256, 70_000, CHUNK_BYTES, 3];
    let frame: Vec<u8> = (0..=250_u8).cycle().take(sizes.iter().sum()).collect();
    let (sent, length) = (frame.clone(), frame.len() as u64);
    let address = serve(move |mut stream| {
        let mut random = fastrand::Rng::with_seed(7);
        let greeted = handshake("DEALER").len();
        let mut asked = vec![0; greeted + 2 + 72];
        let mut answer = handshake("ROUTER");
        let mut offset = 0;
        stream.write_all(&answer).unwrap();
        stream.read_exact(&mut asked).unwrap();
        let Some(Request::Fetch { transfer, .. }) = Request::decode(&asked[greeted + 2..]) else {
            panic!("no request: {asked:?}");
        };
        answer.clear();
        for size in sizes {
            let head = Answer::Data {
                transfer,
                offset: offset as u64,
                length,
            };
            answer.extend(zmtp::answer(&head.encode(), size));
            answer.extend(&sent[offset..offset + size]);
            answer.extend(b"\x04\x0a\x04PING\0\0abc");
            offset += size;
        }
        let mut rest = &answer[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(random.usize(1..100_000).min(rest.len()));
            stream.write_all(now).unwrap();
            rest = later;
        }
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).unwrap();
        let signs = heard.windows(4).filter(|window| window == b"PONG").count();
        // That behind the last chunk is answered when the connection is used again.
        assert_eq!(signs, sizes.len() - 1);
    });
    let fetched = Asker::default()
        .fetch(&address, &claim(length), LIMIT, LONG, false)
        .unwrap();
    assert!(fetched == frame);
}

#[test]
fn an_asker_loses_what_comes_as_nonsense() {
    for seed in 0..60 {
        let address = serve(move |mut stream| {
            let mut random = fastrand::Rng::with_seed(seed);
            let begin = if seed % 2 == 0 { handshake("ROUTER") } else { Vec::new() };
            let said = [begin, random_bytes(&mut random)].concat();
            // The asker may have left before it heard all of it.
            let _ = stream.write_all(&said).and_then(|()| stream.shutdown(Shutdown::Write));
            let mut heard = Vec::new();
            let _ = stream.read_to_end(&mut heard);
        });
        let asker = Asker::default();
        let error = asker.fetch(&address, &claim(1000), LIMIT, LONG, false).unwrap_err();
        assert_eq!(error.kind, ErrorKind::PayloadLost, "seed {seed}: {error}");
    }
}

#[test]
fn a_connection_that_its_owner_ended_meanwhile_is_replaced() {
    let (owner, shelf) = open(Security::Auto);
    let asker = Asker::default();
    let claim = shelf.put(1, 100);
    for _ in 0..3 {
        assert_eq!(fetch(&asker, owner.address(), &claim).unwrap().len(), 100);
    }
    // The last of three attempts would be used up by the connections of an owner that was there before.
    let address = owner.address().clone();
    drop(owner);
    let again = npufleet_payload::channel::Owner::open(address.endpoint().parse().unwrap(), Security::Auto).unwrap();
    again.add(shelf.clone());
    let one = asker.fetch(&address, &claim, LIMIT, Duration::from_secs(5), false);
    assert_eq!(one.unwrap().len(), 100);
}
