//! What `filter`, `kalman` and `adaptive` promise beside their numbers.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use npufleet_operations::{Context, find, run};
use npufleet_wire::{Dtype, ErrorKind, Frame, Output, contract, frame};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const OPERATIONS: [&str; 3] = ["filter", "kalman", "adaptive"];

fn object(params: &Value) -> Map<String, Value> {
    params.as_object().unwrap().clone()
}

/// The parameters that an operation cannot do without.
fn needed(operation: &str) -> Value {
    if operation == "filter" {
        json!({"cutoff": 0.3})
    } else {
        json!({})
    }
}

/// A request of one signal, or for `adaptive` of two that are the same.
fn request(operation: &str, dtype: Dtype, shape: &[usize], data: &[u8], params: &Value) -> Bytes {
    let signal = |name| Output {
        name,
        dtype,
        shape,
        data,
    };
    let signals = match operation {
        "filter" => vec![signal("x")],
        "kalman" => vec![signal("z")],
        _ => vec![signal("x"), signal("d")],
    };
    frame::encode(&signals, &object(params)).unwrap()
}

/// Bytes of numbers in [-1, 1), the same each time.
fn noise(count: usize) -> Vec<u8> {
    let number = |index: usize| ((index * 7919 % 2048) as f64 / 1024.0 - 1.0).to_le_bytes();
    (0..count).flat_map(number).collect()
}

fn numbers(reply: &Bytes, name: &str) -> Vec<f64> {
    let frame = Frame::decode(reply.clone()).unwrap();
    let bytes = frame.tensor(name).unwrap().data;
    bytes
        .as_chunks()
        .0
        .iter()
        .map(|bytes| f64::from_le_bytes(*bytes))
        .collect()
}

#[test]
fn work_is_counted_in_lines() {
    for operation in OPERATIONS {
        let request = request(operation, Dtype::F64, &[3, 4, 5], &noise(60), &json!({"axis": 1}));
        let layout = Frame::decode(request).unwrap().layout;
        assert_eq!(find(operation).unwrap().rows(&layout), 15, "{operation}");
    }
}

#[test]
fn unaligned_input_gives_the_same() {
    for operation in OPERATIONS {
        let aligned = request(operation, Dtype::F64, &[7, 40], &noise(280), &needed(operation));
        let expected = run(operation, aligned.clone()).unwrap();
        for offset in 1..8 {
            let moved = Bytes::from([&[0_u8; 8][..offset], &aligned].concat()).slice(offset..);
            assert_eq!(run(operation, moved).unwrap(), expected, "{operation}");
        }
    }
}

#[test]
fn lines_are_filtered_alike_one_by_one_and_side_by_side() {
    // Lines this long are not held side by side for zero phase, and pass through more than one tile.
    for (length, zero_phase) in [(3003, false), (3000, true), (20_000, true)] {
        // More than one group, and lanes without a line, whether 8 or 16 lines are a group.
        let lines = 29;
        let data = noise(lines * length);
        let params = json!({"cutoff": [0.1, 0.4], "btype": "bandpass", "zero_phase": zero_phase});
        let all = run(
            "filter",
            request("filter", Dtype::F64, &[lines, length], &data, &params),
        )
        .unwrap();
        let all = numbers(&all, "y");
        for (line, data) in data.chunks(length * 8).enumerate() {
            let one = run("filter", request("filter", Dtype::F64, &[length], data, &params)).unwrap();
            for (one, other) in numbers(&one, "y").iter().zip(&all[line * length..]) {
                assert!((one - other).abs() < 1e-12, "line {line} of {length}");
            }
        }
    }
}

#[test]
fn long_work_stops_when_told() {
    let data = noise(1 << 18);
    for (operation, params) in [
        ("filter", json!({"cutoff": 0.3})),
        ("filter", json!({"cutoff": 0.3, "axis": 0})),
        ("filter", json!({"cutoff": 0.3, "zero_phase": true})),
        ("kalman", json!({})),
        ("kalman", json!({"smooth": true, "process_variance": 1.0, "axis": 0})),
        ("adaptive", json!({"order": 16})),
        ("adaptive", json!({"order": 16, "method": "rls", "axis": 0})),
    ] {
        let row = contract::operation(operation).unwrap();
        let frame = Frame::decode(request(operation, Dtype::F64, &[512, 512], &data, &params)).unwrap();
        let params = row.check_params(&frame.layout.params).unwrap();
        let asked = AtomicUsize::new(0);
        let stop = || asked.fetch_add(1, Ordering::Relaxed) == 1;
        let answer = find(operation)
            .unwrap()
            .execute(&frame, &params, &Context::stopping(&stop));
        assert_eq!(answer.unwrap_err().kind, ErrorKind::Cancelled, "{operation} {params:?}");
        assert_eq!(asked.load(Ordering::Relaxed), 2, "{operation}");
    }
}

/// A value of a parameter, mostly allowed, none now and then.
fn value(row: &contract::ParameterRow, seed: u64) -> Option<Value> {
    let some = !seed.is_multiple_of(3);
    some.then(|| match (&row.choices, row.name.as_str()) {
        (Some(choices), _) => choices[seed as usize % choices.len()].clone().into(),
        (None, "axis") => (i64::from((seed % 5) as u8) - 2).into(),
        (None, "cutoff") if seed.is_multiple_of(2) => json!([0.2, 0.1 + (seed % 10) as f64 / 10.0]),
        (None, "cutoff" | "lam" | "mu") => ((seed % 11) as f64 / 10.0).into(),
        (None, "zero_phase" | "smooth") => seed.is_multiple_of(2).into(),
        _ => (seed % 20).into(),
    })
}

proptest! {
    #[test]
    fn any_request_is_answered_or_refused(
        operation in prop::sample::select(OPERATIONS.to_vec()),
        dtype in prop::sample::select(vec![Dtype::F32, Dtype::F64]),
        shape in prop::collection::vec(0_usize..40, 1..=3),
        seeds in prop::collection::vec(any::<u64>(), 12),
        bits in any::<u64>(),
    ) {
        let row = contract::operation(operation).unwrap();
        let given = row.parameters.iter().zip(&seeds);
        let params: Map<_, _> = given.filter_map(|(row, seed)| Some((row.name.clone(), value(row, *seed)?))).collect();
        let elements = shape.iter().product::<usize>();
        // Any bits: not only numbers of a usual size, infinite ones and none too.
        let data: Vec<u8> = bits.to_le_bytes().into_iter().cycle().take(elements * dtype.size()).collect();
        match run(operation, request(operation, dtype, &shape, &data, &params.clone().into())) {
            Ok(reply) => prop_assert!(Frame::decode(reply).is_ok()),
            Err(error) => prop_assert!(error.kind != ErrorKind::Internal, "{} {:?}: {}", operation, params, error),
        }
    }
}
