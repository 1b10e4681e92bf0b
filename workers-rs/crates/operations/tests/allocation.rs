//! Repeated work allocates its reply and nothing else.
//!
//! One test in a file of its own: the counters are the process's.

use std::alloc::System;

use bytes::Bytes;
use npufleet_operations::common::{Lines, Norm};
use npufleet_operations::{Context, fft, find};
use npufleet_wire::{Dtype, Frame, Output, contract, frame};
use num_complex::Complex;
use serde_json::{Map, Value, json};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[test]
fn the_steady_state_allocates_the_reply_only() {
    let samples = vec![0; 8 * 1024];
    for (operation, name, params) in [
        ("fft", "x", json!({"axis": 1})),
        ("fft", "x", json!({"axis": 0})),
        ("filter", "x", json!({"cutoff": [0.3], "axis": 1})),
        ("filter", "x", json!({"cutoff": [0.3], "axis": 0})),
        ("filter", "x", json!({"cutoff": [0.3], "zero_phase": true})),
        ("kalman", "z", json!({})),
        ("kalman", "z", json!({"axis": 0, "smooth": true})),
        ("adaptive", "x", json!({})),
        ("adaptive", "x", json!({"axis": 0, "method": "rls"})),
    ] {
        let params: Map<String, Value> = serde_json::from_value(params).unwrap();
        let signal = |name| Output {
            name,
            dtype: Dtype::F64,
            shape: &[4, 256],
            data: &samples,
        };
        let signals = [signal(name), signal("d")];
        let signals = &signals[..if operation == "adaptive" { 2 } else { 1 }];
        let frame = Frame::decode(frame::encode(signals, &params).unwrap()).unwrap();
        let operation = find(operation).unwrap();
        let execute = || operation.execute(&frame, &params, &Context::never()).unwrap();
        let reply: Bytes = execute();
        let region = Region::new(ALLOCATOR);
        drop(execute());
        let change = region.change();
        assert!(
            change.allocations <= 12,
            "{}: {} allocations",
            operation.name(),
            change.allocations
        );
        assert!(
            change.bytes_allocated < reply.len() + 1024,
            "{} bytes for {}",
            change.bytes_allocated,
            reply.len()
        );
    }

    wavelet(&samples);
    signals(&samples);

    let spec = fft::Spec {
        points: 1024,
        one_sided: true,
        norm: Norm::Ortho,
    };
    let lines = Lines {
        outer: 1,
        length: 1024,
        inner: 1,
    };
    let mut spectrum = vec![Complex::default(); spec.bins()];
    let mut transform = || fft::transform::<f64>(&samples, lines, &spec, &mut spectrum, &Context::never()).unwrap();
    transform();
    let region = Region::new(ALLOCATOR);
    transform();
    assert_eq!(region.change().allocations, 0);
}

/// Lists of its tensors it makes as well, whatever their size is.
fn wavelet(samples: &[u8]) {
    let operation = find("wavelet").unwrap();
    let row = contract::operation("wavelet").unwrap();
    for params in [json!({"axis": 1}), json!({"axis": 0}), json!({"method": "denoise"})] {
        let params = row.check_params(params.as_object().unwrap()).unwrap();
        let x = Output {
            name: "x",
            dtype: Dtype::F64,
            shape: &[32, 32],
            data: samples,
        };
        let frame = Frame::decode(frame::encode(&[x], &params).unwrap()).unwrap();
        let execute = || operation.execute(&frame, &params, &Context::never()).unwrap();
        let reply = execute();
        let region = Region::new(ALLOCATOR);
        drop(execute());
        let change = region.change();
        assert!(change.allocations <= 16, "{} allocations", change.allocations);
        assert!(
            change.bytes_allocated < reply.len() + 2048,
            "{} bytes",
            change.bytes_allocated
        );
    }
}

/// Two or three tensors are named in a reply, each with its dimensions.
fn signals(samples: &[u8]) {
    for (operation, params) in [
        ("ifft", json!({"axis": 0, "input_onesided": true})),
        ("ifft", json!({"axis": 1})),
        ("stft", json!({"nperseg": 16, "window": "kaiser", "beta": 5})),
        ("spectral", json!({"nperseg": 16, "axis": 0, "detrend": "linear"})),
        ("spectral", json!({"method": "spectrogram", "nperseg": 8})),
        ("spectral", json!({"nperseg": 8, "average": "median"})),
        ("resample", json!({"num": 50})),
        (
            "resample",
            json!({"method": "polyphase", "up": 3, "down": 2, "padtype": "median"}),
        ),
    ] {
        let row = contract::operation(operation).unwrap();
        let params = row.check_params(params.as_object().unwrap()).unwrap();
        let x = Output {
            name: "x",
            dtype: Dtype::F64,
            shape: &[32, 32],
            data: samples,
        };
        let frame = Frame::decode(frame::encode(&[x], &params).unwrap()).unwrap();
        let execute = || {
            let operation = find(operation).unwrap();
            operation.execute(&frame, &params, &Context::never()).unwrap()
        };
        let reply = execute();
        let region = Region::new(ALLOCATOR);
        drop(execute());
        let change = region.change();
        assert!(
            change.allocations <= 16,
            "{operation}: {} allocations",
            change.allocations
        );
        assert!(
            change.bytes_allocated < reply.len() + 2048,
            "{operation}: {} bytes",
            change.bytes_allocated
        );
    }
}
