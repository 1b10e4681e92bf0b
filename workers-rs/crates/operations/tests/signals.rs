//! `ifft`, `stft`, `spectral`, `resample` and `window`: what they promise beside their numbers.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use npufleet_operations::{Context, find, run};
use npufleet_wire::{Dtype, ErrorKind, Frame, Output, contract, frame};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn object(params: Value) -> Map<String, Value> {
    serde_json::from_value(params).unwrap()
}

/// A request with `x`, and with `y` where it is asked for.
fn request(dtype: Dtype, shape: &[usize], data: &[u8], pair: bool, params: Value) -> Bytes {
    let x = Output {
        name: "x",
        dtype,
        shape,
        data,
    };
    let y = Output { name: "y", ..x };
    frame::encode(&[x, y][..=usize::from(pair)], &object(params)).unwrap()
}

fn noise(count: usize) -> Vec<f64> {
    (0..count).map(|index| ((index * index) as f64 * 0.37).sin()).collect()
}

fn numbers(reply: &Bytes, name: &str) -> Vec<f64> {
    let frame = Frame::decode(reply.clone()).unwrap();
    let data = frame.tensor(name).unwrap().data;
    data.chunks_exact(8)
        .map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap()))
        .collect()
}

#[test]
fn a_spectrum_goes_back_to_its_samples() {
    let samples = noise(30);
    for (norm, one_sided) in [("backward", true), ("ortho", true), ("forward", false)] {
        let params = json!({"norm": norm, "return_onesided": one_sided, "axis": 0});
        let x = request(Dtype::F64, &[10, 3], bytemuck::cast_slice(&samples), false, params);
        let reply = Frame::decode(run("fft", x).unwrap()).unwrap();
        let spectrum = reply.tensor("y").unwrap();
        let params = json!({"norm": norm, "input_onesided": one_sided, "axis": 0});
        let back = request(Dtype::C128, &spectrum.info.shape, spectrum.data, false, params);
        let found = numbers(&run("ifft", back).unwrap(), "y");
        let parts = if one_sided { 1 } else { 2 };
        for (found, sample) in found.chunks_exact(parts).zip(&samples) {
            assert!((found[0] - sample).abs() < 1e-12);
        }
    }
}

#[test]
fn a_density_adds_up_to_the_power() {
    let samples = noise(64);
    let power = samples.iter().map(|sample| sample * sample).sum::<f64>() / 64.0;
    for params in [
        json!({"method": "periodogram", "detrend": "none", "fs": 8}),
        json!({"method": "periodogram", "detrend": "none", "fs": 8, "return_onesided": false}),
        json!({"window": "boxcar", "nperseg": 16, "noverlap": 0, "detrend": "none", "fs": 8}),
    ] {
        let x = request(Dtype::F64, &[64], bytemuck::cast_slice(&samples), false, params);
        let reply = run("spectral", x).unwrap();
        let (f, density) = (numbers(&reply, "f"), numbers(&reply, "Pxx"));
        let total = density.iter().sum::<f64>() * (f[1] - f[0]);
        assert!((total - power).abs() < 1e-12, "{total} instead of {power}");
    }
}

#[test]
fn work_is_counted_in_lines() {
    for operation in ["ifft", "stft", "spectral", "resample"] {
        let x = request(Dtype::F64, &[3, 4, 5], &[0; 480], false, json!({"axis": 1}));
        assert_eq!(find(operation).unwrap().rows(&Frame::decode(x).unwrap().layout), 15);
    }
    let nothing = Frame::decode(frame::encode(&[], &object(json!({"n": 8}))).unwrap()).unwrap();
    assert_eq!(find("window").unwrap().rows(&nothing.layout), 1);
}

#[test]
fn long_work_stops_when_told() {
    let data = vec![0; 8 << 18];
    let shape = [1 << 9, 1 << 9];
    let works = [
        ("ifft", false, json!({})),
        ("ifft", false, json!({"axis": 0, "input_onesided": true})),
        ("stft", false, json!({"nperseg": 256, "noverlap": 192})),
        ("stft", false, json!({"nperseg": 64, "axis": 0})),
        ("spectral", false, json!({"method": "periodogram"})),
        ("spectral", false, json!({"method": "welch", "axis": 0})),
        ("spectral", false, json!({"method": "welch", "average": "median"})),
        ("spectral", false, json!({"method": "spectrogram"})),
        ("spectral", true, json!({"method": "csd"})),
        ("spectral", true, json!({"method": "coherence", "axis": 0})),
        ("resample", false, json!({"num": 400})),
        (
            "resample",
            false,
            json!({"method": "polyphase", "up": 3, "down": 2, "axis": 0}),
        ),
    ];
    for (name, pair, params) in works {
        let row = contract::operation(name).unwrap();
        let checked = row.check_params(&object(params.clone())).unwrap();
        let frame = Frame::decode(request(Dtype::F64, &shape, &data, pair, params)).unwrap();
        let asked = AtomicUsize::new(0);
        let stop = || asked.fetch_add(1, Ordering::Relaxed) == 1;
        let answer = find(name).unwrap().execute(&frame, &checked, &Context::stopping(&stop));
        assert_eq!(answer.unwrap_err().kind, ErrorKind::Cancelled, "{name} {checked:?}");
        assert_eq!(asked.load(Ordering::Relaxed), 2, "{name} {checked:?}");
    }
    let params = object(json!({"n": 1 << 20, "window": "kaiser", "beta": 9}));
    let frame = Frame::decode(frame::encode(&[], &params).unwrap()).unwrap();
    let answer = find("window")
        .unwrap()
        .execute(&frame, &params, &Context::stopping(&|| true));
    assert_eq!(answer.unwrap_err().kind, ErrorKind::Cancelled);
}

/// A value that a row accepts, or nearly: a choice, a small number, a number out of range.
fn value(row: &contract::ParameterRow, seed: u64) -> Value {
    match (&row.choices, row.kind) {
        (Some(choices), _) => choices[seed as usize % choices.len()].clone().into(),
        (None, contract::ParameterType::Boolean) => seed.is_multiple_of(2).into(),
        (None, contract::ParameterType::Number) => ((seed % 50) as f64 / 4.0).into(),
        _ => (seed.cast_signed() % 12 - 1).into(),
    }
}

proptest! {
    #[test]
    fn any_request_is_answered_or_refused(
        operation in prop::sample::select(vec!["ifft", "stft", "spectral", "resample", "window"]),
        dtype in prop::sample::select(vec![Dtype::F16, Dtype::F32, Dtype::F64, Dtype::C64, Dtype::C128]),
        shape in prop::collection::vec(0_usize..7, 0..=3),
        pair in any::<bool>(),
        given in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>()), 0..5),
        noise in any::<u64>(),
    ) {
        let row = contract::operation(operation).unwrap();
        let params: Map<String, Value> = given
            .iter()
            .map(|(index, seed)| {
                let parameter = index.get(&row.parameters);
                (parameter.name.clone(), value(parameter, *seed))
            })
            .collect();
        let size = shape.iter().product::<usize>() * dtype.size();
        let data: Vec<u8> = noise.to_le_bytes().into_iter().cycle().take(size).collect();
        let content = if operation == "window" {
            frame::encode(&[], &params).unwrap()
        } else {
            request(dtype, &shape, &data, pair, Value::Object(params.clone()))
        };
        match run(operation, content) {
            Ok(reply) => prop_assert!(Frame::decode(reply).is_ok()),
            Err(error) => prop_assert!(error.kind != ErrorKind::Internal, "{} {:?}: {}", operation, params, error),
        }
    }
}
