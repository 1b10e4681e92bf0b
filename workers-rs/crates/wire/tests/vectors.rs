//! The golden vectors of `broker/contract/vectors`, which the Python tests read too.

mod support;

use bytes::Bytes;
use npufleet_wire::{Claim, ErrorKind, Frame, LayoutCache, Output, Subject, frame, subject};
use serde_json::{Value, json};
use support::{cases, text, unhex};

#[test]
fn valid_frames() {
    let mut cache = LayoutCache::default();
    for case in cases("frames.json", "valid") {
        let bytes = Bytes::from(unhex(text(&case, "frame_hex")));
        let frame = Frame::decode(bytes.clone()).unwrap_or_else(|error| panic!("{}: {error}", text(&case, "name")));
        assert_eq!(
            Value::Object(frame.layout.params.clone()),
            case["params"],
            "{}",
            text(&case, "name")
        );
        let tensors = case["tensors"].as_array().unwrap();
        assert_eq!(frame.layout.tensors.len(), tensors.len(), "{}", text(&case, "name"));
        for expected in tensors {
            let tensor = frame
                .tensor(text(expected, "name"))
                .unwrap_or_else(|| panic!("no {}", text(expected, "name")));
            assert_eq!(tensor.info.dtype.name(), text(expected, "dtype"));
            assert_eq!(json!(tensor.info.shape), expected["shape"]);
            assert_eq!(tensor.data, unhex(text(expected, "data_hex")));
        }
        assert_eq!(cache.decode(bytes.clone()).unwrap().layout, frame.layout);
        // What we would write ourselves says the same.
        let outputs: Vec<_> = frame.tensors().map(|t| Output::from(&t)).collect();
        let again = Frame::decode(frame::encode(&outputs, &frame.layout.params).unwrap()).unwrap();
        for tensor in frame.tensors() {
            let same = again.tensor(&tensor.info.name).unwrap();
            assert_eq!(
                (same.info.dtype, &same.info.shape, same.data),
                (tensor.info.dtype, &tensor.info.shape, tensor.data)
            );
        }
    }
}

#[test]
fn invalid_frames() {
    let mut cache = LayoutCache::default();
    for case in cases("frames.json", "invalid") {
        let bytes = Bytes::from(unhex(text(&case, "frame_hex")));
        let error = Frame::decode(bytes.clone()).expect_err(text(&case, "name"));
        assert_eq!(error.kind.as_str(), text(&case, "kind"), "{}", text(&case, "name"));
        assert_eq!(cache.decode(bytes).expect_err("cached").kind, error.kind);
    }
}

#[test]
fn subjects() {
    for case in cases("subjects.json", "valid") {
        let subject = Subject::parse(subject::DEFAULT_PREFIX, text(&case, "subject")).unwrap();
        assert_eq!(subject.route.as_str(), text(&case, "route"), "{case}");
        assert_eq!(subject.lane.as_str(), text(&case, "lane"), "{case}");
        assert_eq!(subject.operation, text(&case, "operation"), "{case}");
        assert_eq!(subject.model.as_deref(), case["model"].as_str(), "{case}");
        assert_eq!(subject.format(subject::DEFAULT_PREFIX), text(&case, "subject"));
    }
    for case in cases("subjects.json", "invalid") {
        let error = Subject::parse(subject::DEFAULT_PREFIX, text(&case, "subject")).expect_err(&case.to_string());
        assert_eq!(error.kind, ErrorKind::InvalidParameter);
    }
}

#[test]
fn claims() {
    for case in cases("claims.json", "valid") {
        let claim: Claim = text(&case, "text")
            .parse()
            .unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(claim.arena.as_slice(), unhex(text(&case, "arena")));
        assert_eq!(Some(u64::from(claim.slot)), case["slot"].as_u64(), "{case}");
        assert_eq!(Some(claim.generation), case["generation"].as_u64(), "{case}");
        assert_eq!(Some(claim.length), case["length"].as_u64(), "{case}");
        assert_eq!(claim.to_string().parse(), Ok(claim));
    }
    for case in cases("claims.json", "invalid") {
        let error = text(&case, "text").parse::<Claim>().expect_err(&case.to_string());
        assert_eq!(error.kind, ErrorKind::InvalidFrame);
    }
}
