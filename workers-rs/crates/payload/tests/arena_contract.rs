//! A reader makes of the golden arenas what the contract says; the arena's numbers are the contract's.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use npufleet_payload::INLINE_BYTES;
use npufleet_payload::arena::{Arena, Folder, Peers};
use npufleet_wire::{Claim, ErrorKind, contract};
use serde_json::Value;

const VECTORS: &str = include_str!("../../../../broker/contract/vectors/arena.json");

fn cases(group: &str) -> Vec<Value> {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    vectors[group].as_array().unwrap().clone()
}

fn text<'a>(case: &'a Value, key: &str) -> &'a str {
    case[key].as_str().unwrap_or_else(|| panic!("{key} of {case}"))
}

fn number(case: &Value, key: &str) -> u64 {
    case[key].as_u64().unwrap_or_else(|| panic!("{key} of {case}"))
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// A folder of its own that goes with the test.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        let name: String = (0..12).map(|_| fastrand::alphanumeric()).collect();
        let path = std::env::temp_dir().join(format!("npufleet-golden-{name}"));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// Where this user's arenas are in it.
    fn inside(&self) -> PathBuf {
        self.0.join(format!("npufleet-{}", rustix::process::geteuid().as_raw()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_reader_makes_of_an_arena_what_the_contract_says() {
    let cases = cases("claims");
    assert!(cases.len() > 10);
    for case in cases {
        let place = Place::new();
        fs::DirBuilder::new().mode(0o700).create(place.inside()).unwrap();
        let claim = text(&case, "claim");
        let header = bytes(text(&case, "header"));
        let name = claim.split(':').nth(1).unwrap_or_default();
        if name.len() == 32 {
            let path = place.inside().join(name);
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
        let peers = Peers::new(Some(Folder::within(&place.0)));
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
    let arena = section("arena");
    let place = Place::new();
    let made = Arena::create(&Folder::within(&place.0), None).unwrap();
    let path = fs::read_dir(place.inside()).unwrap().next().unwrap().unwrap().path();
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
