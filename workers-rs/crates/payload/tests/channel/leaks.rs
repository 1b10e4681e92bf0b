//! Transfers leave no socket, thread or descriptor behind.

use npufleet_payload::channel::message::CHUNK_BYTES;
use npufleet_payload::channel::{Asker, Security};

use super::shelf::{alone, fetch, open, until};

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
    let asker = Asker::default();
    // CURVE first: libzmq's own threads stay.
    let [(sealed, closed), (owner, shelf)] = [open(Security::Curve), open(Security::Auto)];
    let small = closed.put(1, 100);
    let claims = [shelf.put(1, 100), shelf.put(2, 3 * CHUNK_BYTES)];
    for claim in &claims {
        fetch(&asker, owner.address(), claim).unwrap();
    }
    fetch(&asker, sealed.address(), &small).unwrap();
    let before = (descriptors(), threads());
    let times = if std::env::var_os("NPUFLEET_SLOW").is_some() {
        10_000
    } else {
        1_000
    };
    for turn in 0..times {
        fetch(&asker, owner.address(), &claims[usize::from(turn % 20 == 0)]).unwrap();
        fetch(&asker, sealed.address(), &small).unwrap();
    }
    assert_eq!((descriptors(), threads()), before, "{times} transfers");
    for turn in 0..20 {
        let (other, shelf) = open([Security::Auto, Security::Curve][turn % 2]);
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
    alone("leaks::leaks");
}
