//! The channel's numbers are the contract's, its messages the golden ones, and no bytes make it panic.

mod support;

use npufleet_payload::channel::Address;
use npufleet_payload::channel::message::{self, Answer, Request};
use npufleet_wire::{Claim, contract};
use proptest::prelude::*;
use serde_json::Value;
use support::{bytes, cases, number, text};

const VECTORS: &str = include_str!("../../../../broker/contract/vectors/channel.json");

fn arena(case: &Value) -> [u8; 16] {
    bytes(text(case, "arena")).try_into().unwrap()
}

fn slot(case: &Value) -> u32 {
    number(case, "slot").try_into().unwrap()
}

fn credit(case: &Value) -> u32 {
    number(case, "credit").try_into().unwrap()
}

fn request(case: &Value) -> Request {
    let transfer = number(case, "transfer");
    match text(case, "kind") {
        "fetch" => Request::Fetch {
            transfer,
            claim: Claim {
                arena: arena(case),
                slot: slot(case),
                generation: number(case, "generation"),
                length: number(case, "length"),
            },
            credit: credit(case),
            offset: number(case, "offset"),
            patience_us: number(case, "patience"),
        },
        "more" => Request::More {
            transfer,
            credit: credit(case),
        },
        "stop" => Request::Stop { transfer },
        "release" => Request::Release {
            arena: arena(case),
            slot: slot(case),
            generation: number(case, "generation"),
        },
        other => panic!("{other}"),
    }
}

fn answer(case: &Value) -> Answer {
    let transfer = number(case, "transfer");
    match text(case, "kind") {
        "data" => Answer::Data {
            transfer,
            offset: number(case, "offset"),
            length: number(case, "length"),
        },
        "refused" => Answer::Refused {
            transfer,
            kind: npufleet_wire::ErrorKind::parse(text(case, "refusal")).unwrap(),
        },
        other => panic!("{other}"),
    }
}

#[test]
fn golden_messages() {
    for case in cases(VECTORS, "requests") {
        let expected = request(&case);
        assert_eq!(Request::decode(&bytes(text(&case, "hex"))), Some(expected), "{case}");
        assert_eq!(expected.encode(), bytes(text(&case, "hex")), "{case}");
    }
    for case in cases(VECTORS, "answers") {
        let expected = answer(&case);
        assert_eq!(Answer::decode(&bytes(text(&case, "hex"))), Some(expected), "{case}");
        assert_eq!(expected.encode(), bytes(text(&case, "hex")), "{case}");
    }
}

#[test]
fn golden_refusals() {
    for case in cases(VECTORS, "invalid_requests") {
        assert_eq!(Request::decode(&bytes(text(&case, "hex"))), None, "{case}");
    }
    for case in cases(VECTORS, "invalid_answers") {
        assert_eq!(Answer::decode(&bytes(text(&case, "hex"))), None, "{case}");
    }
}

#[test]
fn addresses() {
    for case in cases(VECTORS, "addresses") {
        let address: Address = text(&case, "text").parse().unwrap();
        assert_eq!(address.key(), case["key"].as_str());
        let again: Address = address.to_string().parse().unwrap();
        assert_eq!(address, again);
    }
    for case in cases(VECTORS, "invalid_addresses") {
        let refused = text(&case, "text").parse::<Address>();
        assert!(refused.is_err(), "{case}");
    }
}

#[test]
fn numbers_are_the_contracts() {
    let document: toml::Table = contract::TEXT.parse().unwrap();
    let section = document["channel"].as_table().unwrap();
    let integer = |name: &str| section[name].as_integer().unwrap();
    assert_eq!(section["magic"].as_str().unwrap().as_bytes(), message::MAGIC);
    for (table, pick) in [("kinds", 0), ("sizes", 1)] {
        let ours: toml::Table = message::KINDS
            .iter()
            .map(|&(name, kind, size)| {
                let value = if pick == 0 {
                    i64::from(kind)
                } else {
                    i64::try_from(size).unwrap()
                };
                (name.to_owned(), value.into())
            })
            .collect();
        assert_eq!(section[table].as_table(), Some(&ours));
    }
    let refusals: Vec<_> = section["refusals"]
        .as_array()
        .unwrap()
        .iter()
        .map(|word| word.as_str().unwrap())
        .collect();
    assert_eq!(refusals, message::REFUSALS.map(npufleet_wire::ErrorKind::as_str));
    assert_eq!(integer("chunk_bytes"), i64::try_from(message::CHUNK_BYTES).unwrap());
    assert_eq!(integer("credit"), i64::from(message::CREDIT));
    assert_eq!(integer("credit_limit"), i64::from(message::CREDIT_LIMIT));
    assert_eq!(
        integer("transfers_limit"),
        i64::try_from(message::TRANSFERS_LIMIT).unwrap()
    );
    for (name, ours) in [
        ("idle_limit", message::IDLE_LIMIT),
        ("heartbeat", message::HEARTBEAT),
        ("heartbeat_timeout", message::HEARTBEAT_TIMEOUT),
        ("handshake_timeout", message::HANDSHAKE_TIMEOUT),
    ] {
        assert_eq!(integer(name), i64::try_from(ours.as_micros()).unwrap(), "{name}");
    }
    assert_eq!(integer("text_bytes"), i64::try_from(message::TEXT_BYTES).unwrap());
    assert_eq!(
        integer("patience_limit"),
        i64::try_from(message::PATIENCE_LIMIT_US).unwrap()
    );
}

proptest! {
    #[test]
    fn what_is_decoded_is_what_was_written(bytes in prop::collection::vec(any::<u8>(), 0..100), valid in any::<bool>(), kind in 0_u8..=255) {
        let mut bytes = bytes;
        if valid && bytes.len() >= 8 {
            bytes[..8].copy_from_slice(&[b'n', b'p', b'z', b'1', kind, 0, 0, 0]);
        }
        if let Some(request) = Request::decode(&bytes) {
            prop_assert_eq!(request.encode(), bytes.clone());
        }
        if let Some(answer) = Answer::decode(&bytes) {
            prop_assert_eq!(answer.encode(), bytes);
        }
    }

    #[test]
    fn a_flipped_byte_is_refused_or_means_something_else(case in 0_usize..8, at in 0_usize..72, flip in 1_u8..=255) {
        let cases = cases(VECTORS, "requests");
        let original = bytes(text(&cases[case % cases.len()], "hex"));
        let mut changed = original.clone();
        let at = at % changed.len();
        changed[at] ^= flip;
        if let Some(request) = Request::decode(&changed) {
            prop_assert_eq!(request.encode(), changed);
            prop_assert_ne!(request.encode(), original);
        }
    }

    #[test]
    fn arbitrary_addresses_are_refused_or_make_sense(text in "(tcp://)?[0-9a-f.:\\[\\]]{0,24}:?[0-9]{0,6};?[ -~]{0,42}") {
        if let Ok(address) = text.parse::<Address>() {
            prop_assert_eq!(address.to_string().parse::<Address>().unwrap(), address);
        }
    }
}
