//! The golden numbers of `broker/contract/vectors/operations`, written by `SciPy`; the Python tests read them too.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use npufleet_operations::{Context, find, registry, run};
use npufleet_wire::frame::{Place, Room};
use npufleet_wire::{Dtype, ErrorKind, Frame, Tensor, contract};
use serde_json::Value;

fn vectors() -> serde_json::Map<String, Value> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../broker/contract/vectors/operations");
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let read = |path: PathBuf| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let content: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        (name, content["cases"].clone())
    };
    files.map(|file| read(file.unwrap().path())).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// A tensor's numbers, complex ones as pairs; none when it holds no floating-point numbers.
fn numbers(tensor: &Tensor<'_>) -> Vec<f64> {
    let single = |bytes: &[u8]| f64::from(f32::from_le_bytes(bytes.try_into().unwrap()));
    let double = |bytes: &[u8]| f64::from_le_bytes(bytes.try_into().unwrap());
    match tensor.info.dtype {
        Dtype::F32 | Dtype::C64 => tensor.data.chunks_exact(4).map(single).collect(),
        Dtype::F64 | Dtype::C128 => tensor.data.chunks_exact(8).map(double).collect(),
        _ => Vec::new(),
    }
}

fn assert_same(found: &Frame, expected: &Frame, tolerance: f64, name: &str) {
    assert_eq!(found.layout.params, expected.layout.params, "{name}");
    assert_eq!(found.layout.tensors.len(), expected.layout.tensors.len(), "{name}");
    for expected in expected.tensors() {
        let found = found
            .tensor(&expected.info.name)
            .unwrap_or_else(|| panic!("{name}: no {}", expected.info.name));
        assert_eq!(
            (found.info.dtype, &found.info.shape),
            (expected.info.dtype, &expected.info.shape),
            "{name}"
        );
        if tolerance == 0.0 {
            assert_eq!(found.data, expected.data, "{name}");
            continue;
        }
        let (found_numbers, expected_numbers) = (numbers(&found), numbers(&expected));
        let single = matches!(expected.info.dtype, Dtype::F32 | Dtype::C64);
        let smallest = if single {
            f64::from(f32::MIN_POSITIVE)
        } else {
            f64::MIN_POSITIVE
        };
        let parts = if matches!(expected.info.dtype, Dtype::C64 | Dtype::C128) {
            2
        } else {
            1
        };
        let finite = expected_numbers.iter().filter(|number| number.is_finite());
        let scale = finite.fold(smallest, |largest, number| largest.max(number.abs()));
        assert_eq!(found_numbers.len(), expected_numbers.len());
        for (index, (found, expected)) in found_numbers.iter().zip(&expected_numbers).enumerate() {
            let same = (found - expected).abs() <= tolerance * scale;
            // Engines differ in whether a number that is not finite is NaN or infinite, and in which part of a
            // complex one.
            let number = index / parts * parts..index / parts * parts + parts;
            let nowhere = [&found_numbers, &expected_numbers]
                .iter()
                .all(|numbers| numbers[number.clone()].iter().any(|part| !part.is_finite()));
            assert!(same || nowhere, "{name}: [{index}] {found} instead of {expected}");
        }
    }
}

#[test]
fn every_operation_has_vectors() {
    let vectors = vectors();
    for operation in registry() {
        let cases = vectors.get(operation.name()).and_then(Value::as_array);
        assert!(
            cases.is_some_and(|cases| !cases.is_empty()),
            "{} has no vectors",
            operation.name()
        );
    }
}

#[test]
fn the_numbers_are_scipys() {
    for (operation, cases) in vectors() {
        for case in cases.as_array().unwrap() {
            let name = format!("{operation}: {}", case["name"]);
            let answer = run(&operation, unhex(case["frame_hex"].as_str().unwrap()).into());
            let elsewhere = case["unsupported_by"]
                .as_array()
                .is_some_and(|engines| engines.contains(&"rust".into()));
            match (answer, case["expect_hex"].as_str()) {
                (Err(error), Some(_)) if elsewhere => {
                    assert_eq!(error.kind, ErrorKind::Unsupported, "{name}");
                }
                (answer, Some(expected)) => {
                    assert!(!elsewhere, "{name}: is supported, the vectors say it is not");
                    let found = Frame::decode(answer.unwrap_or_else(|error| panic!("{name}: {error}"))).unwrap();
                    let expected = Frame::decode(unhex(expected).into()).unwrap();
                    assert_same(&found, &expected, case["tolerance"].as_f64().unwrap(), &name);
                }
                (answer, None) => {
                    let error = answer.expect_err(&name);
                    assert_eq!(error.kind.as_str(), case["kind"].as_str().unwrap(), "{name}: {error}");
                }
            }
        }
    }
}

/// Memory with something in it, as a slot that was used before has.
#[derive(Default)]
struct Used {
    places: AtomicUsize,
}

struct UsedPlace(Vec<u8>);

impl Room for Used {
    fn place(&self, length: usize) -> Option<Box<dyn Place + '_>> {
        self.places.fetch_add(1, Ordering::Relaxed);
        Some(Box::new(UsedPlace(vec![0xa5; length])))
    }
}

impl AsRef<[u8]> for UsedPlace {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl AsMut<[u8]> for UsedPlace {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Place for UsedPlace {
    fn freeze(self: Box<Self>) -> Bytes {
        self.0.into()
    }
}

#[test]
fn a_result_is_written_whole_into_memory_that_was_used() {
    for (name, cases) in vectors() {
        let (operation, row) = (find(&name).unwrap(), contract::operation(&name).unwrap());
        let room = Used::default();
        for case in cases.as_array().unwrap() {
            let frame = Bytes::from(unhex(case["frame_hex"].as_str().unwrap()));
            let Ok(expected) = run(&name, frame.clone()) else {
                continue;
            };
            let frame = Frame::decode(frame).unwrap();
            let params = row.check_params(&frame.layout.params).unwrap();
            let context = Context {
                room: &room,
                ..Context::never()
            };
            let found = operation.execute(&frame, &params, &context).unwrap();
            assert_eq!(found, expected, "{name}: {}", case["name"]);
        }
        // An echo is the request's own bytes.
        assert_eq!(room.places.into_inner() > 0, name != "echo", "{name}");
    }
}
