//! A reader makes of the golden arenas what the contract says; the arena's numbers are the contract's.

mod support;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use npufleet_payload::arena::{Arena, Peers};
use npufleet_payload::exchange::GRACE;
use npufleet_payload::{CHANNEL_BYTES, INLINE_BYTES};
use npufleet_wire::{Claim, ErrorKind, contract};
use support::{Place, bytes, cases, number, text};

const VECTORS: &str = include_str!("../../../../broker/contract/vectors/arena.json");

/// Where this user's arenas are in a folder.
fn inside(place: &Place) -> PathBuf {
    place
        .0
        .join(format!("npufleet-{}", rustix::process::geteuid().as_raw()))
}

#[test]
fn a_reader_makes_of_an_arena_what_the_contract_says() {
    let cases = cases(VECTORS, "claims");
    assert!(cases.len() > 10);
    for case in cases {
        let place = Place::new();
        fs::DirBuilder::new().mode(0o700).create(inside(&place)).unwrap();
        let claim = text(&case, "claim");
        let header = bytes(text(&case, "header"));
        let name = claim.split(':').nth(1).unwrap_or_default();
        if name.len() == 32 {
            let path = inside(&place).join(name);
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            let file = file.unwrap();
            file.set_len(number(&case, "size")).unwrap();
            let within = |at: u64, bytes: &[u8]| {
                let room = number(&case, "size").saturating_sub(at).min(bytes.len() as u64) as usize;
                file.write_all_at(&bytes[..room], at).unwrap();
            };
            within(0, &header);
            for entry in case["entries"].as_array().unwrap() {
                within(4096 + 32 * number(entry, "slot"), &bytes(text(entry, "hex")));
            }
            for part in case["content"].as_array().unwrap() {
                within(number(part, "at"), &bytes(text(part, "hex")));
            }
        }
        let peers = Peers::new(Some(place.folder()));
        let found = claim.parse::<Claim>().and_then(|claim| peers.look(&claim));
        let outcome = match &found {
            Ok(Some(view)) => {
                assert_eq!(view.as_ref(), bytes(text(&case, "hex")), "{}", case["name"]);
                assert!(view.is_intact(), "{}", case["name"]);
                "ok"
            }
            Ok(None) => "elsewhere",
            Err(error) if error.kind == ErrorKind::PayloadLost => "payload_lost",
            Err(error) if error.kind == ErrorKind::InvalidFrame => "invalid_frame",
            Err(error) => panic!("{}: {error:?}", case["name"]),
        };
        assert_eq!(outcome, text(&case, "outcome"), "{}", case["name"]);
    }
}

#[test]
fn the_numbers_are_the_contracts() {
    let document: toml::Table = contract::TEXT.parse().unwrap();
    let section = |name: &str| document[name].as_table().unwrap().clone();
    assert_eq!(
        section("payload")["inline_bytes"].as_integer(),
        i64::try_from(INLINE_BYTES).ok()
    );
    assert_eq!(
        section("payload")["channel_bytes"].as_integer(),
        i64::try_from(CHANNEL_BYTES).ok()
    );
    let arena = section("arena");
    let place = Place::new();
    let made = Arena::create(&place.folder(), None).unwrap();
    let path = fs::read_dir(inside(&place)).unwrap().next().unwrap().unwrap().path();
    let file = fs::File::open(path).unwrap();
    let mut header = [0; 48];
    file.read_exact_at(&mut header, 0).unwrap();
    let integer = |name: &str| arena[name].as_integer().unwrap();
    assert_eq!(&header[..8], arena["magic"].as_str().unwrap().as_bytes());
    assert_eq!(
        i64::from(u32::from_le_bytes(header[8..12].try_into().unwrap())),
        integer("version")
    );
    assert_eq!(
        i64::from(u32::from_le_bytes(header[12..16].try_into().unwrap())),
        integer("slots")
    );
    assert_eq!(header[16..32], made.id());
    assert_eq!(
        i64::from_le_bytes(header[32..40].try_into().unwrap()),
        integer("data_at")
    );
    assert_eq!(file.metadata().unwrap().len(), integer("data_at") as u64);
    assert_eq!(
        integer("table_at") + integer("slots") * integer("entry_bytes"),
        integer("data_at")
    );
    assert_eq!(i64::try_from(GRACE.as_micros()).ok(), arena["grace"].as_integer());
    assert!(made.take(integer("largest") as usize + 1).is_none());
    let slot = made.put(&[b"x"]).unwrap();
    let mut entry = [0; 32];
    file.read_exact_at(
        &mut entry,
        integer("table_at") as u64 + 32 * u64::from(slot.claim().slot),
    )
    .unwrap();
    assert_eq!(
        i64::from_le_bytes(entry[8..16].try_into().unwrap()),
        integer("smallest")
    );
    assert_eq!(
        u64::from_le_bytes(entry[16..24].try_into().unwrap()),
        slot.claim().generation
    );
}
