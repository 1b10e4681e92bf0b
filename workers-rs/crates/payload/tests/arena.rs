//! Frames in shared memory: put, read, freed, and everything that a claim may be wrong about.

#![allow(clippy::large_stack_arrays, reason = "they are constants")]

mod support;

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use npufleet_payload::arena::{Arena, Folder, Peers, Usage};
use npufleet_payload::channel::Source as _;
use npufleet_wire::{Claim, ErrorKind};
use proptest::prelude::*;
use support::Place;

/// The files of the arenas in a folder.
fn files(place: &Place) -> Vec<PathBuf> {
    let inside = fs::read_dir(&place.0)
        .unwrap()
        .next()
        .map(|entry| entry.unwrap().path());
    inside.map_or_else(Vec::new, |inside| {
        fs::read_dir(inside)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect()
    })
}

fn open() -> (Place, Arena, Peers) {
    let place = Place::new();
    let arena = Arena::create(&place.folder(), None).unwrap();
    let peers = Peers::new(Some(place.folder()));
    (place, arena, peers)
}

fn kind<T>(result: npufleet_wire::Result<T>) -> ErrorKind {
    result.err().expect("an error").kind
}

#[test]
fn a_frame_is_read_where_it_lies() {
    let (_place, arena, peers) = open();
    for length in [0, 1, 4096, 4097, 1 << 20] {
        let bytes: Vec<u8> = (0..length).map(|index| index as u8).collect();
        let (one, other) = bytes.split_at(length / 3);
        let slot = arena.put(&[one, other]).unwrap();
        let view = peers.look(&slot.claim()).unwrap().unwrap();
        assert_eq!(view.as_ref(), bytes);
        assert_eq!(view.bytes(), bytes);
        assert!(view.is_intact());
        drop(slot);
        assert!(!view.is_intact(), "its owner has taken it back");
    }
    assert_eq!(arena.usage().slots, 0);
}

#[test]
fn an_arena_that_is_not_here_is_looked_for_once_a_second() {
    let (place, arena, peers) = open();
    let file = files(&place).remove(0);
    let away = place.0.join("away");
    fs::rename(&file, &away).unwrap();
    let begun = Instant::now();
    assert!(!peers.can_open(arena.id()));
    fs::rename(&away, &file).unwrap();
    while !peers.can_open(arena.id()) {
        assert!(begun.elapsed() < Duration::from_secs(20), "it is here again");
        std::thread::yield_now();
    }
    assert!(
        begun.elapsed() >= Duration::from_secs(1),
        "it was not looked for at each request"
    );
}

#[test]
fn a_claim_is_void_after_its_slot_was_used_again() {
    let (_place, arena, peers) = open();
    let first = arena.put(&[b"first"]).unwrap().claim();
    let second = arena.put(&[b"second"]).unwrap();
    assert_eq!(first.slot, second.claim().slot);
    assert_eq!(kind(peers.look(&first)), ErrorKind::PayloadLost);
    assert_eq!(kind(peers.take(&first)), ErrorKind::PayloadLost);
    assert_eq!(peers.look(&second.claim()).unwrap().unwrap().as_ref(), b"second");
}

#[test]
fn a_lent_slot_is_free_when_the_reader_is_done() {
    let (_place, arena, peers) = open();
    let soon = Instant::now() + Duration::from_secs(60);
    let claim = arena.put(&[b"reply"]).unwrap().lend(soon, peers.caller(arena.id()));
    let view = peers.take(&claim).unwrap().unwrap();
    let bytes = view.bytes();
    drop(view);
    arena.sweep();
    assert_eq!(arena.usage().slots, 1);
    assert_eq!(bytes, b"reply"[..]);
    drop(bytes);
    arena.sweep();
    assert_eq!(arena.usage().slots, 0);
    assert_eq!(kind(peers.take(&claim)), ErrorKind::PayloadLost, "read once");
}

#[test]
fn a_lease_ends_only_for_what_was_not_taken() {
    let (_place, arena, peers) = open();
    let lend = |text: &[u8]| {
        arena
            .put(&[text])
            .unwrap()
            .lend(Instant::now(), peers.caller(arena.id()))
    };
    let (taken, left) = (lend(b"taken"), lend(b"left"));
    let view = peers.take(&taken).unwrap().unwrap();
    arena.sweep();
    assert_eq!(arena.usage().slots, 1);
    assert_eq!(view.as_ref(), b"taken");
    assert_eq!(kind(peers.take(&left)), ErrorKind::PayloadLost);
    drop(view);
    arena.sweep();
    assert_eq!(arena.usage().slots, 0);
}

#[test]
fn a_late_claim_leaves_the_next_reader_alone() {
    let (_place, arena, peers) = open();
    let lend = |text: &[u8], until| arena.put(&[text]).unwrap().lend(until, peers.caller(arena.id()));
    let late = lend(b"late", Instant::now());
    arena.sweep();
    let next = lend(b"next", Instant::now() + Duration::from_millis(1));
    assert_eq!(late.slot, next.slot);
    let view = peers.take(&next).unwrap().unwrap();
    assert_eq!(kind(peers.take(&late)), ErrorKind::PayloadLost);
    std::thread::sleep(Duration::from_millis(2));
    arena.sweep();
    assert_eq!(arena.usage().slots, 1, "it is being read");
    assert_eq!(view.as_ref(), b"next");
    assert!(view.is_intact());
}

#[test]
fn the_memory_of_a_dead_owner_is_let_go() {
    let (place, arena, peers) = open();
    let claim = arena.put(&[&[7; 1 << 16]]).unwrap().claim_of(1 << 16);
    let slot = arena.put(&[&[9; 1 << 16]]).unwrap();
    let view = peers.look(&slot.claim()).unwrap().unwrap();
    assert!(peers.can_open(claim.arena));
    drop(slot);
    drop(arena);
    peers.sweep();
    assert!(!peers.can_open(claim.arena));
    assert!(files(&place).is_empty());
    assert_eq!(view.as_ref()[0], 9, "what is being read stays");
}

#[test]
fn what_a_dead_caller_had_is_taken_back() {
    let (place, arena, peers) = open();
    let caller = Arena::create(&place.folder(), None).unwrap();
    let soon = Instant::now() + Duration::from_secs(60);
    let claim = arena.put(&[b"reply"]).unwrap().lend(soon, peers.caller(caller.id()));
    let _view = peers.take(&claim).unwrap().unwrap();
    arena.sweep();
    assert_eq!(arena.usage().slots, 1);
    drop(caller);
    arena.sweep();
    assert_eq!(arena.usage().slots, 0);
}

#[test]
fn a_removed_file_ends_nothing_that_is_read() {
    let (place, arena, peers) = open();
    let caller = Arena::create(&place.folder(), None).unwrap();
    let soon = Instant::now() + Duration::from_secs(60);
    let claim = arena.put(&[b"reply"]).unwrap().lend(soon, peers.caller(caller.id()));
    let view = peers.take(&claim).unwrap().unwrap();
    for file in files(&place) {
        fs::remove_file(file).unwrap();
    }
    arena.sweep();
    peers.sweep();
    assert_eq!(arena.usage().slots, 1, "the caller lives");
    assert!(view.is_intact());
    let slot = arena.put(&[b"request"]).unwrap();
    let again = peers.look(&slot.claim()).unwrap().unwrap();
    assert_eq!(again.as_ref(), b"request", "who has it open reads on");
    drop(caller);
    arena.sweep();
    assert_eq!(arena.usage().slots, 1, "the request's own");
}

#[test]
fn slots_are_used_again_and_memory_is_given_back() {
    let (_place, arena, _) = open();
    for _ in 0..1000 {
        arena.put(&[&[7; 100_000]]).unwrap();
    }
    let used = arena.usage();
    assert!(used.bytes <= 200_000, "{used:?}");
    let since = Instant::now();
    while arena.usage().bytes > 0 {
        assert!(since.elapsed() < Duration::from_secs(30), "{:?}", arena.usage());
        std::thread::yield_now();
    }
}

#[test]
fn a_full_arena_refuses_and_serves_again() {
    let place = Place::new();
    let arena = Arena::create(&place.folder(), Some(1 << 20)).unwrap();
    let kept: Vec<_> = std::iter::from_fn(|| arena.put(&[&[1; 60_000]])).collect();
    assert_eq!(kept.len(), (1 << 20) / 61_440);
    assert!(arena.put(&[&[1; 10_000]]).is_none());
    drop(kept);
    // What was free for one size gives its memory to another.
    assert!(arena.put(&[&[1; 1_000_000]]).is_some());
    assert!(arena.take(usize::MAX).is_none());
}

#[test]
fn a_borrowed_slot_is_not_used_again() {
    let (_place, arena, _) = open();
    let slot = arena.put(&[b"borrowed"]).unwrap();
    let claim = slot.claim();
    let bytes = arena.borrow(&claim).unwrap();
    drop(slot);
    let next = arena.put(&[b"another."]).unwrap();
    assert_ne!(next.claim().slot, claim.slot);
    assert_eq!(bytes, b"borrowed"[..]);
    assert_eq!(kind(arena.borrow(&claim)), ErrorKind::PayloadLost);
    drop(bytes);
    drop(next);
    assert_eq!(arena.usage().slots, 0);
}

#[test]
fn a_file_that_is_cut_off_costs_the_frame_and_nothing_else() {
    let (place, arena, peers) = open();
    let slot = arena.put(&[&[5; 1 << 20]]).unwrap();
    let view = peers.look(&slot.claim()).unwrap().unwrap();
    let file = OpenOptions::new().write(true).open(&files(&place)[0]).unwrap();
    file.set_len(600_000).unwrap();
    let sum: usize = view.as_ref().iter().map(|byte| usize::from(*byte)).sum();
    assert!(sum < 5 << 20);
    assert!(!view.is_intact());
    assert_eq!(kind(peers.look(&slot.claim())), ErrorKind::PayloadLost);
}

#[test]
fn only_arenas_of_this_user_alone_are_opened() {
    let (place, arena, _) = open();
    let slot = arena.put(&[b"secret"]).unwrap();
    let path = files(&place).remove(0);
    let fresh = || Peers::new(Some(place.folder()));
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    assert!(fresh().look(&slot.claim()).unwrap().is_none());
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    assert!(fresh().can_open(arena.id()));
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(b"N", 0).unwrap();
    assert!(!fresh().can_open(arena.id()));
    let moved = path.with_extension("moved");
    fs::rename(&path, &moved).unwrap();
    std::os::unix::fs::symlink(&moved, &path).unwrap();
    assert!(!fresh().can_open(arena.id()));
    assert!(!Peers::new(None).can_open(arena.id()));
}

#[test]
fn a_folder_that_others_can_read_is_not_used() {
    let place = Place::new();
    drop(Arena::create(&place.folder(), None).unwrap());
    let inside = fs::read_dir(&place.0).unwrap().next().unwrap().unwrap().path();
    fs::set_permissions(&inside, Permissions::from_mode(0o755)).unwrap();
    assert_eq!(kind(Arena::create(&place.folder(), None)), ErrorKind::Unavailable);
    let nowhere = Folder::within(&place.0.join("absent"));
    assert_eq!(kind(Arena::create(&nowhere, None)), ErrorKind::Unavailable);
}

#[test]
fn arenas_of_processes_that_are_no_more_are_removed() {
    let (place, arena, _) = open();
    let inside = files(&place)[0].parent().unwrap().to_owned();
    let dead = inside.join("0".repeat(32));
    fs::copy(&files(&place)[0], &dead).unwrap();
    assert_eq!(place.folder().clean(), 1);
    assert!(!dead.exists());
    fs::copy(&files(&place)[0], &dead).unwrap();
    Peers::new(Some(place.folder())).sweep();
    assert!(!dead.exists(), "also by whoever never had it open");
    fs::write(&dead, "npuarena").unwrap();
    assert_eq!(place.folder().clean(), 1, "killed before its file was whole");
    fs::write(&dead, "").unwrap();
    assert_eq!(place.folder().clean(), 0, "about to be locked");
    fs::remove_file(&dead).unwrap();
    assert!(files(&place).len() == 1, "one that lives stays");
    drop(arena);
    assert!(files(&place).is_empty());
}

#[test]
fn threads_share_an_arena() {
    let (_place, arena, peers) = open();
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            let (arena, peers) = (&arena, &peers);
            scope.spawn(move || {
                for round in 0..500u32 {
                    let bytes = vec![thread; 1000 + (round as usize * 97) % 50_000];
                    let until = Instant::now() + Duration::from_secs(60);
                    let claim = arena.put(&[&bytes]).unwrap().lend(until, peers.caller(arena.id()));
                    assert_eq!(peers.take(&claim).unwrap().unwrap().as_ref(), bytes);
                }
            });
        }
    });
    arena.sweep();
    assert_eq!(arena.usage().slots, 0);
}

proptest! {
    #[test]
    fn a_forged_claim_is_refused_or_void(slot: u32, generation: u64, length in 0u64..1 << 41, entry in any::<[u64; 2]>()) {
        let (place, arena, peers) = open();
        let kept = arena.put(&[b"kept"]).unwrap();
        let claim = Claim { arena: arena.id(), slot, generation, length };
        if claim != kept.claim() {
            prop_assert!(peers.look(&claim).is_err());
            prop_assert!(peers.take(&claim).is_err());
            prop_assert!(arena.borrow(&claim).is_err() || length <= 4096);
        }
        // An entry that its owner did not write, with the right generation.
        let file = OpenOptions::new().write(true).open(&files(&place)[0]).unwrap();
        let mut bytes = entry[0].to_le_bytes().to_vec();
        bytes.extend(entry[1].to_le_bytes());
        file.write_all_at(&bytes, 4096).unwrap();
        let claim = Claim { length, ..kept.claim() };
        let looked = peers.look(&claim).map(|view| view.map(|view| view.as_ref().len() as u64));
        prop_assert!(looked.is_err() || looked == Ok(Some(length)));
        let usage = arena.usage();
        prop_assert_eq!(usage, Usage { bytes: 4096, slots: 1 });
    }
}
