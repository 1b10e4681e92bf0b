//! What is no frame: headers, lengths, parameters and tensors that are refused, with the kind of each.

mod support;

use bytes::Bytes;
use npufleet_wire::{Dtype, ErrorKind, Frame, Output, frame};
use serde_json::{Map, Value, json};
use support::raw;

fn decode(bytes: impl Into<Bytes>) -> npufleet_wire::Result<Frame> {
    Frame::decode(bytes.into())
}

fn params(value: Value) -> Map<String, Value> {
    serde_json::from_value(value).unwrap()
}

#[test]
fn headers_that_are_refused() {
    let x = |rest: &str| format!("{{\"x\":{{{rest}}}}}");
    let refused = [
        ("not an object", "[]".to_owned()),
        ("a space first", " {}".to_owned()),
        ("duplicate tensor", r#"{"x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"\u0078":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#.to_owned()),
        ("duplicate metadata", r#"{"__metadata__":{},"__metadata__":{}}"#.to_owned()),
        ("duplicate metadata key", r#"{"__metadata__":{"a":"","a":""}}"#.to_owned()),
        ("metadata that is no text", r#"{"__metadata__":{"a":1}}"#.to_owned()),
        ("duplicate field", x(r#""dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]"#)),
        ("unknown field", x(r#""dtype":"U8","shape":[0],"data_offsets":[0,0],"stride":[1]"#)),
        ("missing field", x(r#""dtype":"U8","shape":[0]"#)),
        ("a tensor as a list", r#"{"x":["U8",[0],[0,0]]}"#.to_owned()),
        ("our word for complex128", x(r#""dtype":"C128","shape":[0],"data_offsets":[0,0]"#)),
        ("unknown type", x(r#""dtype":"F8_E4M3","shape":[0],"data_offsets":[0,0]"#)),
        ("negative dimension", x(r#""dtype":"U8","shape":[-1],"data_offsets":[0,0]"#)),
        ("fraction", x(r#""dtype":"U8","shape":[0.0],"data_offsets":[0,0]"#)),
        ("nine dimensions", x(r#""dtype":"U8","shape":[0,0,0,0,0,0,0,0,0],"data_offsets":[0,0]"#)),
        ("overflow", x(r#""dtype":"F64","shape":[4294967296,4294967296],"data_offsets":[0,0]"#)),
        ("overflow before a zero", x(r#""dtype":"U8","shape":[9223372036854775807,2,0],"data_offsets":[0,0]"#)),
        ("offsets backwards", x(r#""dtype":"U8","shape":[0],"data_offsets":[8,0]"#)),
        ("offsets far away", x(r#""dtype":"U8","shape":[0],"data_offsets":[18446744073709551615,18446744073709551615]"#)),
        ("a size near the end of memory", x(r#""dtype":"U8","shape":[9223372036854775807],"data_offsets":[0,9223372036854775807]"#)),
        ("three offsets", x(r#""dtype":"U8","shape":[0],"data_offsets":[0,0,0]"#)),
        ("empty name", r#"{"":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#.to_owned()),
        ("complex of a stranger", r#"{"__metadata__":{"complex":"[\"x\"]"}}"#.to_owned()),
        ("parameters that are no object", r#"{"__metadata__":{"params":"[]"}}"#.to_owned()),
        ("parameters that are no JSON", r#"{"__metadata__":{"params":""}}"#.to_owned()),
        ("duplicate parameter", r#"{"__metadata__":{"params":"{\"n\":1,\"n\":1}"}}"#.to_owned()),
        ("duplicate inside a parameter", r#"{"__metadata__":{"params":"{\"n\":[{\"a\":1,\"a\":1}]}"}}"#.to_owned()),
    ];
    for (reason, header) in refused {
        let error = decode(raw(&header, &[])).expect_err(reason);
        assert_eq!(error.kind, ErrorKind::InvalidFrame, "{reason}");
        assert!(
            error.message.len() < 400,
            "{reason}: {} bytes of message",
            error.message.len()
        );
    }
}

#[test]
fn lengths_that_are_refused() {
    for (length, there) in [
        (u64::MAX, 64),
        (65537, 65600),
        (65544, 65600),
        (9, 16),
        (0, 8),
        (64, 32),
    ] {
        let mut frame = u64::to_le_bytes(length).to_vec();
        frame.resize(8 + there, b' ');
        assert_eq!(decode(frame).unwrap_err().kind, ErrorKind::InvalidFrame, "{length}");
    }
    assert!(decode(Bytes::new()).is_err());
    assert!(decode(vec![0; 7]).is_err());
}

#[test]
fn what_no_frame_can_hold_is_refused_before_it_is_written() {
    let tensor = |name, shape, data| Output {
        name,
        dtype: Dtype::U8,
        shape,
        data,
    };
    let long = "n".repeat(129);
    let many: Vec<String> = (0..65).map(|index| index.to_string()).collect();
    let many: Vec<_> = many.iter().map(|name| tensor(name, &[0], &[])).collect();
    let nine = [0; 9];
    let refused: [&[Output<'_>]; 8] = [
        &[tensor("", &[0], &[])],
        &[tensor(&long, &[0], &[])],
        &[tensor("__metadata__", &[0], &[])],
        &[tensor("x", &[0], &[]), tensor("x", &[0], &[])],
        &[tensor("x", &[2], &[0])],
        &[tensor("x", &nine, &[])],
        &[Output {
            name: "x",
            dtype: Dtype::C128,
            shape: &nine[..8],
            data: &[],
        }],
        &many,
    ];
    for tensors in refused {
        assert_eq!(
            frame::encode(tensors, &Map::new()).unwrap_err().kind,
            ErrorKind::InvalidFrame
        );
    }
    let text = "t".repeat(frame::MAX_HEADER_BYTES);
    assert_eq!(
        frame::encode(&[], &params(json!({"text": text}))).unwrap_err().kind,
        ErrorKind::InvalidFrame
    );
    let huge = frame::draft(&frame::Heap, &[("x", Dtype::U8, &[1 << 62])]);
    assert_eq!(huge.map(drop).unwrap_err().kind, ErrorKind::PayloadTooLarge);
    let huge = frame::draft(&frame::Heap, &[("x", Dtype::F64, &[1 << 62])]);
    assert_eq!(huge.map(drop).unwrap_err().kind, ErrorKind::InvalidFrame);
}

#[test]
fn parameters_that_are_not_finite_have_a_kind_of_their_own() {
    let kind = |params: &str| {
        let header = json!({"__metadata__": {"params": params}}).to_string();
        decode(raw(&header, &[])).map_err(|error| error.kind).err()
    };
    for text in ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "[0,{\"a\":NaN}]"] {
        assert_eq!(
            kind(&format!("{{\"n\":{text}}}")),
            Some(ErrorKind::InvalidParameter),
            "{text}"
        );
    }
    assert_eq!(
        kind(r#"{"s":"\"NaN\\","n":Infinity}"#),
        Some(ErrorKind::InvalidParameter)
    );
    assert_eq!(
        kind(r#"{"s":"NaN, \" Infinity \\"}"#),
        None,
        "words inside texts are texts"
    );
    for text in [r#"{"n":NaN"#, r#"{"n":Nan}"#, r#"{"s":"NaN}"#, "{NaN:1}"] {
        assert_eq!(kind(text), Some(ErrorKind::InvalidFrame), "{text}");
    }
}
