//! A process without a descriptor to spare.

use std::fs::File;
use std::io::{ErrorKind::WouldBlock, Read as _, Seek as _};
use std::net::TcpStream;
use std::time::Duration;

use npufleet_payload::channel::plain::zmtp;
use npufleet_payload::channel::{Asker, Security};
use npufleet_wire::ErrorKind;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::shelf::{LONG, alone, fetch, open};

const DESCRIPTORS: u64 = 128;

/// Hundredths of a second of processor time that this process took.
fn processor_time(stat: &mut File) -> u64 {
    let mut text = String::new();
    stat.rewind().unwrap();
    stat.read_to_string(&mut text).unwrap();
    let fields: Vec<_> = text.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
#[ignore = "uses up the process's descriptors: run alone, by `without_descriptors_what_is_there_goes_on`"]
fn limits() {
    let mut stat = File::open("/proc/self/stat").unwrap();
    let (owner, shelf) = open(Security::Auto);
    let asker = Asker::default();
    let claim = shelf.put(1, 100);
    fetch(&asker, owner.address(), &claim).unwrap();
    let maximum = getrlimit(Resource::Nofile).maximum;
    let current = Some(DESCRIPTORS);
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
    let mut held: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();

    let elsewhere = "tcp://127.0.0.1:1".parse().unwrap();
    let refused = fetch(&asker, &elsewhere, &claim).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Overloaded, "{refused}");

    // The last one is the stranger's, so that the owner has none for its end.
    held.pop();
    let mut stranger = TcpStream::connect(owner.address().endpoint().replace("tcp://", "")).unwrap();
    let before = processor_time(&mut stat);
    stranger.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut greeting = [0; zmtp::GREETING_BYTES];
    assert_eq!(stranger.read(&mut greeting).unwrap_err().kind(), WouldBlock);
    assert!(processor_time(&mut stat) - before < 25, "the owner rests meanwhile");
    assert_eq!(fetch(&asker, owner.address(), &claim).unwrap().len(), 100);

    held.clear();
    stranger.set_read_timeout(Some(LONG)).unwrap();
    stranger.read_exact(&mut greeting).unwrap();
    assert_eq!(greeting, zmtp::greeting());
}

#[test]
fn without_descriptors_what_is_there_goes_on() {
    alone("limits::limits");
}
