//! What the tests share: the runtime, the models and frames made by `models/generate.py`, rows cut out of frames.
#![allow(dead_code, unreachable_pub)] // every test file uses its own part

use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use npufleet_inference::{Model, ModelOptions, Runtime};
use npufleet_wire::frame::{Output, encode};
use npufleet_wire::{Dtype, ErrorKind, Frame};

/// The runtime, or nothing (and the reason printed) where OpenVINO is not installed.
pub fn runtime() -> Option<Runtime> {
    match Runtime::load(None) {
        Ok(runtime) => Some(runtime),
        Err(error) if error.kind == ErrorKind::Unavailable => {
            eprintln!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

pub fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/models")
        .join(name)
}

/// Options for the processor only, so that a test says the same on every machine.
pub fn options(name: &str) -> ModelOptions {
    ModelOptions {
        devices: vec!["CPU".to_owned()],
        precision: Some("f32".to_owned()),
        ..ModelOptions::new(path(name))
    }
}

pub fn compile(runtime: &Runtime, name: &str) -> Model {
    runtime.compile(&options(name)).unwrap()
}

pub fn frame_file(name: &str) -> Frame {
    Frame::decode(Bytes::from(fs::read(path(name)).unwrap())).unwrap()
}

pub fn floats(name: &str, shape: &[usize], values: &[f32]) -> Frame {
    let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    one(name, Dtype::F32, shape, &data)
}

pub fn longs(name: &str, shape: &[usize], values: &[i64]) -> Frame {
    let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    one(name, Dtype::I64, shape, &data)
}

pub fn one(name: &str, dtype: Dtype, shape: &[usize], data: &[u8]) -> Frame {
    frame(&[Output {
        name,
        dtype,
        shape,
        data,
    }])
}

pub fn frame(tensors: &[Output<'_>]) -> Frame {
    Frame::decode(encode(tensors, &serde_json::Map::new()).unwrap()).unwrap()
}

/// A frame as it is sent, of the tensors of frames.
pub fn encoded(frames: &[&Frame]) -> Bytes {
    let outputs: Vec<_> = frames
        .iter()
        .flat_map(|frame| frame.tensors())
        .map(|tensor| Output {
            name: &tensor.info.name,
            dtype: tensor.info.dtype,
            shape: &tensor.info.shape,
            data: tensor.data,
        })
        .collect();
    encode(&outputs, &serde_json::Map::new()).unwrap()
}

/// Rows `from..to` of every tensor of a frame.
pub fn rows(whole: &Frame, from: usize, to: usize) -> Frame {
    let parts: Vec<_> = whole
        .tensors()
        .map(|tensor| {
            let bytes = tensor.data.len() / tensor.info.shape[0];
            let mut shape = tensor.info.shape.clone();
            shape[0] = to - from;
            (tensor.info, shape, &tensor.data[from * bytes..to * bytes])
        })
        .collect();
    let outputs: Vec<_> = parts
        .iter()
        .map(|(info, shape, data)| Output {
            name: &info.name,
            dtype: info.dtype,
            shape,
            data,
        })
        .collect();
    frame(&outputs)
}

/// Equal names, types, shapes and values; floats within rounding.
#[track_caller]
pub fn assert_same(reply: &Bytes, golden: &Frame) {
    let reply = Frame::decode(reply.clone()).unwrap();
    assert_eq!(reply.layout.tensors.len(), golden.layout.tensors.len());
    for wanted in golden.tensors() {
        let name = &wanted.info.name;
        let is = reply.tensor(name).unwrap_or_else(|| panic!("no tensor '{name}'"));
        assert_eq!(is.info.shape, wanted.info.shape, "{name}");
        assert_eq!(is.info.dtype, wanted.info.dtype, "{name}");
        if is.info.dtype != Dtype::F32 {
            assert_eq!(is.data, wanted.data, "{name}");
            continue;
        }
        for (at, (a, b)) in numbers(is.data).zip(numbers(wanted.data)).enumerate() {
            assert!(
                (a - b).abs() <= 1e-5 * b.abs().max(1.0),
                "{name}[{at}] is {a}, wanted {b}"
            );
        }
    }
}

pub fn numbers(data: &[u8]) -> impl Iterator<Item = f32> {
    data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes))
}

/// Resident memory of this process in KiB.
pub fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
