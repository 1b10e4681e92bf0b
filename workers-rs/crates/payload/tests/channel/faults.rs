//! Peers that are gone, stand still, come back, or have another key; and where an owner listens.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use npufleet_payload::channel::{Address, Asker, Endpoint, Owner, Security};
use npufleet_wire::{Claim, ErrorKind};

use super::shelf::{ARENA, LIMIT, fetch, open};

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
    let (looks, begun) = (Cell::new(0), Instant::now());
    let wanted = || looks.replace(looks.get() + 1) < 2;
    let error = asker
        .fetch_while(&wanted, &address, &claim, LIMIT, Duration::from_secs(60), false)
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Cancelled);
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "before the handshake is given up"
    );
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
