//! The registry and the contract name the same operations, and `run` answers as a worker would.

use bytes::Bytes;
use npufleet_operations::{find, registry, run};
use npufleet_wire::{Dtype, ErrorKind, Frame, Output, contract, frame};
use serde_json::{Map, Value, json};

/// Done by the `inference` crate, since it needs models.
const ELSEWHERE: [&str; 1] = ["infer"];

fn request(tensors: &[Output<'_>], params: Value) -> Bytes {
    frame::encode(tensors, &serde_json::from_value::<Map<_, _>>(params).unwrap()).unwrap()
}

#[test]
fn the_registry_is_the_contract() {
    let mut ours: Vec<_> = registry()
        .iter()
        .map(|operation| operation.name())
        .chain(ELSEWHERE)
        .collect();
    let mut theirs: Vec<_> = contract::operations().iter().map(|row| row.name.as_str()).collect();
    ours.sort_unstable();
    theirs.sort_unstable();
    assert_eq!(ours, theirs);
    for operation in registry() {
        assert_eq!(find(operation.name()).unwrap().name(), operation.name());
    }
    assert!(find("infer").is_none());
}

#[test]
fn echo_gives_back_the_very_bytes() {
    let tensors = [
        Output {
            name: "a",
            dtype: Dtype::F64,
            shape: &[],
            data: &f64::NAN.to_le_bytes(),
        },
        Output {
            name: "b",
            dtype: Dtype::U8,
            shape: &[0, 3],
            data: &[],
        },
    ];
    let bytes = request(&tensors, json!({}));
    let reply = run("echo", bytes.clone()).unwrap();
    assert_eq!((reply.as_ptr(), reply.len()), (bytes.as_ptr(), bytes.len()));
    assert_eq!(find("echo").unwrap().rows(&Frame::decode(bytes).unwrap().layout), 1);
    assert_eq!(run("echo", request(&[], json!({}))).unwrap(), request(&[], json!({})));
}

#[test]
fn a_delayed_echo_waits_and_stops_when_told() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    let start = Instant::now();
    run("echo", request(&[], json!({"delay": 0.02}))).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(20));

    let frame = Frame::decode(request(&[], json!({"delay": 60.0}))).unwrap();
    let asked = AtomicUsize::new(0);
    let stop = || asked.fetch_add(1, Ordering::Relaxed) >= 3;
    let context = npufleet_operations::Context::stopping(&stop);
    let error = find("echo")
        .unwrap()
        .execute(&frame, &frame.layout.params, &context)
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Cancelled);
    assert!(start.elapsed() < Duration::from_secs(30));
}

#[test]
fn what_a_worker_refuses() {
    let x = [Output {
        name: "x",
        dtype: Dtype::F64,
        shape: &[1],
        data: &[0; 8],
    }];
    let y = [Output { name: "y", ..x[0] }];
    let integers = [Output {
        dtype: Dtype::I64,
        ..x[0]
    }];
    let scalar = [Output { shape: &[], ..x[0] }];
    let refused = [
        ("sing", request(&x, json!({})), ErrorKind::UnknownOperation),
        ("infer", request(&x, json!({})), ErrorKind::UnknownOperation),
        ("fft", Bytes::from_static(b"no frame at all."), ErrorKind::InvalidFrame),
        ("fft", request(&x, json!({"m": 1})), ErrorKind::InvalidParameter),
        ("fft", request(&[], json!({})), ErrorKind::InvalidShape),
        ("fft", request(&y, json!({})), ErrorKind::InvalidShape),
        ("fft", request(&[x[0], y[0]], json!({})), ErrorKind::InvalidShape),
        ("fft", request(&integers, json!({})), ErrorKind::InvalidShape),
        ("fft", request(&scalar, json!({})), ErrorKind::InvalidShape),
        ("echo", request(&x, json!({"delay": 61})), ErrorKind::InvalidParameter),
    ];
    for (operation, frame, kind) in refused {
        assert_eq!(run(operation, frame).unwrap_err().kind, kind, "{operation}");
    }
}
