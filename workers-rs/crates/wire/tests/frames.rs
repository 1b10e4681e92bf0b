//! Frames: the public safetensors library as the oracle both ways, and single rules.

mod support;

use std::sync::Arc;

use bytes::Bytes;
use npufleet_wire::{Dtype, ErrorKind, Frame, Layout, LayoutCache, Output, frame};
use serde_json::{Map, Value, json};
use support::raw;

fn decode(bytes: impl Into<Bytes>) -> npufleet_wire::Result<Frame> {
    Frame::decode(bytes.into())
}

fn params(value: Value) -> Map<String, Value> {
    serde_json::from_value(value).unwrap()
}

#[test]
fn we_write_what_the_oracle_reads() {
    let ones: Vec<u8> = [1.0_f64, -2.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    let tensors = [
        Output {
            name: "flags \"é\"",
            dtype: Dtype::Bool,
            shape: &[3],
            data: &[1, 0, 1],
        },
        Output {
            name: "z",
            dtype: Dtype::C128,
            shape: &[],
            data: &ones,
        },
        Output {
            name: "c",
            dtype: Dtype::C64,
            shape: &[1, 2],
            data: &[ones.as_slice()].concat(),
        },
        Output {
            name: "nothing",
            dtype: Dtype::F32,
            shape: &[0, 4],
            data: &[],
        },
    ];
    let bytes = frame::encode(&tensors, &params(json!({"text": "a\"b\\c", "n": 3}))).unwrap();

    let oracle = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = metadata.metadata().clone().unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(&metadata["params"]).unwrap(),
        json!({"text": "a\"b\\c", "n": 3})
    );
    assert_eq!(metadata["complex"], "[\"z\"]");
    assert_eq!(oracle.len(), tensors.len());
    for tensor in &tensors {
        let view = oracle.tensor(tensor.name).unwrap();
        assert_eq!(view.data(), tensor.data);
        let stored = [tensor.shape, if tensor.dtype == Dtype::C128 { &[2] } else { &[] }].concat();
        assert_eq!(
            (view.dtype().to_string().as_str(), view.shape()),
            (tensor.dtype.stored(), stored.as_slice())
        );
    }
    let frame = decode(bytes).unwrap();
    assert_eq!(frame.tensor("z").unwrap().info.shape, [] as [usize; 0]);
    assert_eq!(frame.tensor("z").unwrap().info.dtype, Dtype::C128);
}

#[test]
fn we_read_what_the_oracle_writes() {
    use safetensors::tensor::{Dtype as Word, TensorView};
    let data: Vec<u8> = (0..48).collect();
    let views = [
        ("a", TensorView::new(Word::U8, vec![3], &data[..3]).unwrap()),
        ("b", TensorView::new(Word::F64, vec![2, 1], &data[..16]).unwrap()),
        ("c", TensorView::new(Word::F16, vec![2, 2], &data[..8]).unwrap()),
        ("d", TensorView::new(Word::C64, vec![], &data[..8]).unwrap()),
    ];
    let metadata = [
        ("params".to_owned(), "{\"x\": 0.1}".to_owned()),
        ("other".to_owned(), "kept".to_owned()),
    ];
    let bytes = safetensors::serialize(views.clone(), Some(metadata.into_iter().collect())).unwrap();
    let frame = decode(bytes).unwrap();
    assert_eq!(frame.layout.params, params(json!({"x": 0.1})));
    for (name, view) in views {
        let tensor = frame.tensor(name).unwrap();
        assert_eq!((tensor.data, tensor.info.shape.as_slice()), (view.data(), view.shape()));
        assert_eq!(tensor.info.dtype.name(), view.dtype().to_string());
        assert_eq!(tensor.info.elements(), view.shape().iter().product::<usize>());
    }
}

#[test]
fn tensors_are_aligned_and_keep_their_names() {
    let tensors = [
        Output {
            name: "byte",
            dtype: Dtype::U8,
            shape: &[1],
            data: &[7],
        },
        Output {
            name: "half",
            dtype: Dtype::F16,
            shape: &[1],
            data: &[1, 2],
        },
        Output {
            name: "double",
            dtype: Dtype::F64,
            shape: &[1],
            data: &[3; 8],
        },
    ];
    let frame = decode(frame::encode(&tensors, &Map::new()).unwrap()).unwrap();
    assert_eq!(frame.layout.data_start % frame::ALIGNMENT, 0);
    for info in &frame.layout.tensors {
        assert_eq!(info.start % info.dtype.size(), 0, "{}", info.name);
    }
    let specs = tensors.map(|tensor| (tensor.name, tensor.dtype, tensor.shape));
    let (mut bytes, places) = frame::draft(&frame::Heap, &specs).unwrap();
    assert_eq!(places.iter().map(ExactSizeIterator::len).collect::<Vec<_>>(), [1, 2, 8]);
    for (tensor, place) in tensors.iter().zip(places) {
        bytes[place].copy_from_slice(tensor.data);
    }
    assert_eq!(Bytes::from(bytes), frame.bytes);
}

#[test]
fn a_frame_may_be_empty() {
    let bytes = frame::encode(&[], &Map::new()).unwrap();
    let frame = decode(bytes).unwrap();
    assert_eq!((frame.tensors().count(), frame.layout.params.len()), (0, 0));
    assert_eq!(decode(raw("{}", &[])).unwrap().layout.total, 16);
}

#[test]
fn decoding_shares_the_bytes() {
    let bytes = frame::encode(
        &[Output {
            name: "x",
            dtype: Dtype::U8,
            shape: &[4],
            data: &[1, 2, 3, 4],
        }],
        &Map::new(),
    );
    let bytes = bytes.unwrap();
    let frame = decode(bytes.clone()).unwrap();
    let tensor = frame.tensor("x").unwrap();
    assert_eq!(tensor.data.as_ptr(), bytes[frame.layout.data_start..].as_ptr());
}

#[test]
fn the_cache_shares_layouts_and_forgets_what_is_not_used() {
    let mut cache = LayoutCache::default();
    let made = |name: &str| {
        frame::encode(
            &[Output {
                name,
                dtype: Dtype::U8,
                shape: &[1],
                data: &[0],
            }],
            &Map::new(),
        )
        .unwrap()
    };
    let kept = cache.decode(made("kept")).unwrap();
    for index in 0..4 * frame::CACHE_CAPACITY {
        cache.decode(made(&index.to_string())).unwrap();
        assert!(Arc::ptr_eq(&cache.decode(made("kept")).unwrap().layout, &kept.layout));
        assert!(cache.len() <= frame::CACHE_CAPACITY);
    }
    let long = "n".repeat(5000);
    let frame = raw(&format!("{{\"__metadata__\":{{\"note\":\"{long}\"}}}}"), &[]);
    let before = cache.len();
    assert_eq!(cache.decode(frame.into()).unwrap().layout.tensors.len(), 0);
    assert_eq!(cache.len(), before, "long headers are not kept");
}

#[test]
fn a_known_header_does_not_excuse_the_length() {
    let bytes = frame::encode(
        &[Output {
            name: "x",
            dtype: Dtype::U8,
            shape: &[4],
            data: &[0; 4],
        }],
        &Map::new(),
    )
    .unwrap();
    let mut cache = LayoutCache::default();
    cache.decode(bytes.clone()).unwrap();
    for wrong in [
        bytes.slice(..bytes.len() - 1),
        Bytes::from([bytes.as_ref(), b"x"].concat()),
        bytes.slice(..12),
    ] {
        assert_eq!(cache.decode(wrong).unwrap_err().kind, ErrorKind::InvalidFrame);
    }
}

#[test]
fn layouts_are_plain_data() {
    let frame = decode(raw(r#"{"__metadata__":{"params":"{\"b\":1,\"a\":[1.5,null]}"}}"#, &[])).unwrap();
    let layout: &Layout = &frame.layout;
    assert_eq!(Value::Object(layout.params.clone()), json!({"a": [1.5, null], "b": 1}));
}
