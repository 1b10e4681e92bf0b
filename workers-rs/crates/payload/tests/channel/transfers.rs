//! Frames of every size between an owner and an asker.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use npufleet_payload::channel::message::CHUNK_BYTES;
use npufleet_payload::channel::{Asker, Security};
use npufleet_wire::{Claim, ErrorKind};

use super::shelf::{ARENA, LIMIT, LONG, fetch, open, until};

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
