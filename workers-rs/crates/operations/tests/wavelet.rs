//! The wavelet transform against what it promises: what is taken apart comes together again, and nothing panics.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use npufleet_operations::{Context, find, run};
use npufleet_wire::{Dtype, ErrorKind, Frame, Output, contract, frame};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const MODES: [&str; 9] = [
    "symmetric",
    "reflect",
    "periodic",
    "periodization",
    "zero",
    "constant",
    "smooth",
    "antisymmetric",
    "antireflect",
];

fn wavelets() -> Vec<String> {
    let row = contract::operation("wavelet").unwrap();
    let parameter = row.parameters.iter().find(|row| row.name == "wavelet").unwrap();
    parameter.choices.clone().unwrap()
}

fn object(params: Value) -> Map<String, Value> {
    serde_json::from_value(params).unwrap()
}

fn request(samples: &[f64], shape: &[usize], params: Value) -> Bytes {
    let x = Output {
        name: "x",
        dtype: Dtype::F64,
        shape,
        data: bytemuck::cast_slice(samples),
    };
    frame::encode(&[x], &object(params)).unwrap()
}

/// The same tensors with other parameters.
fn again(reply: &Bytes, params: Value) -> Bytes {
    let frame = Frame::decode(reply.clone()).unwrap();
    let outputs: Vec<_> = frame.tensors().map(|tensor| Output::from(&tensor)).collect();
    frame::encode(&outputs, &object(params)).unwrap()
}

fn numbers(reply: Bytes, name: &str) -> Vec<f64> {
    let frame = Frame::decode(reply).unwrap();
    let data = frame.tensor(name).unwrap().data;
    data.chunks_exact(8)
        .map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap()))
        .collect()
}

fn noise(count: usize) -> Vec<f64> {
    (0..count).map(|index| ((index * index) as f64 * 0.37).sin()).collect()
}

#[test]
fn what_is_decomposed_comes_together_again() {
    for wavelet in wavelets() {
        for mode in MODES {
            for count in [1, 2, 17, 64, 1023, 4099] {
                let samples = noise(count);
                let params = json!({"wavelet": wavelet, "mode": mode});
                let coefficients = run("wavelet", request(&samples, &[count], params.clone())).unwrap();
                let mut back = params;
                back["method"] = "reconstruct".into();
                let found = numbers(run("wavelet", again(&coefficients, back)).unwrap(), "y");
                assert!(found.len() - count < 2);
                for (found, expected) in found.iter().zip(&samples) {
                    assert!(
                        (found - expected).abs() < 1e-8,
                        "{wavelet} {mode} {count}: {found} {expected}"
                    );
                }
            }
        }
    }
}

#[test]
fn lines_across_memory_are_those_along_it() {
    let (rows, columns) = (50, 37);
    let samples = noise(rows * columns);
    let turned: Vec<f64> = (0..rows * columns)
        .map(|index| samples[(index % rows) * columns + index / rows])
        .collect();
    for method in ["decompose", "denoise"] {
        let along = run("wavelet", request(&turned, &[columns, rows], json!({"method": method}))).unwrap();
        let across = json!({"method": method, "axis": 0});
        let across = run("wavelet", request(&samples, &[rows, columns], across)).unwrap();
        for tensor in Frame::decode(along.clone()).unwrap().tensors() {
            let (along, across) = (
                numbers(along.clone(), &tensor.info.name),
                numbers(across.clone(), &tensor.info.name),
            );
            let length = along.len() / columns;
            for (index, value) in along.iter().enumerate() {
                let other = across[(index % length) * columns + index / length];
                assert!((value - other).abs() < 1e-12, "{method} {}", tensor.info.name);
            }
        }
    }
}

#[test]
fn lines_side_by_side_are_those_alone() {
    let rows = 6;
    let check = |samples: &[f64], params: &Value, near: &dyn Fn(f64, f64) -> bool| {
        let count = samples.len() / rows;
        let mut back = params.clone();
        back["method"] = "reconstruct".into();
        let beside = run("wavelet", request(samples, &[rows, count], params.clone())).unwrap();
        let joined = run("wavelet", again(&beside, back.clone())).unwrap();
        for (row, line) in samples.chunks_exact(count).enumerate() {
            let check = |alone: &Bytes, beside: &Bytes, near: &dyn Fn(f64, f64) -> bool| {
                for tensor in Frame::decode(alone.clone()).unwrap().tensors() {
                    let name = &tensor.info.name;
                    let (alone, beside) = (numbers(alone.clone(), name), numbers(beside.clone(), name));
                    for (alone, beside) in alone.iter().zip(&beside[row * alone.len()..]) {
                        assert!(
                            near(*alone, *beside),
                            "{params} {count} {name} {row}: {beside}, alone {alone}"
                        );
                    }
                }
            };
            let alone = run("wavelet", request(line, &[count], params.clone())).unwrap();
            check(&alone, &beside, near);
            // Rounding is that of the largest coefficients nearby.
            let largest = line.iter().map(|sample| sample.abs()).fold(1.0, f64::max);
            let is_near = |alone: f64, beside: f64| (alone - beside).abs() < 1e-13 * largest;
            let near = |alone, beside| near(alone, beside) || largest.is_finite() && is_near(alone, beside);
            check(&run("wavelet", again(&alone, back.clone())).unwrap(), &joined, &near);
        }
    };
    for wavelet in wavelets() {
        for mode in MODES {
            for count in [35, 64, 131] {
                let params = json!({"wavelet": wavelet, "mode": mode});
                check(&noise(rows * count), &params, &|alone, beside| {
                    (alone - beside).abs() < 1e-13 * alone.abs().max(1.0)
                });
            }
        }
    }
    for odd in [f64::NAN, f64::INFINITY, 1.7e308] {
        for place in [0, 50, 99] {
            let mut samples = noise(rows * 100);
            samples[100 + place] = odd;
            let is_same =
                |alone: f64, beside: f64| alone.to_bits() == beside.to_bits() || alone.is_nan() && beside.is_nan();
            let is_near = |alone: f64, beside: f64| {
                is_same(alone, beside) || (alone - beside).abs() < 1e-10 * alone.abs().max(1e-3)
            };
            let params = json!({"wavelet": "db4"});
            check(&samples, &params, if odd.is_finite() { &is_near } else { &is_same });
        }
    }
}

#[test]
fn rows_are_lines() {
    let rows = |shape: &[usize], axis: i64| {
        let samples = noise(shape.iter().product());
        let frame = Frame::decode(request(&samples, shape, json!({"axis": axis}))).unwrap();
        find("wavelet").unwrap().rows(&frame.layout)
    };
    assert_eq!(rows(&[5], -1), 1);
    assert_eq!(rows(&[3, 4, 5], 0), 20);
    assert_eq!(rows(&[0, 5], -1), 1);
    assert_eq!(rows(&[3, 5], 7), 1);
}

#[test]
fn long_work_stops_when_told() {
    let asked = AtomicUsize::new(0);
    let stop = || asked.fetch_add(1, Ordering::Relaxed) == 1;
    for (shape, axis) in [([1, 1 << 18], 1), ([1 << 10, 1 << 8], 0), ([1 << 10, 1 << 8], 1)] {
        asked.store(0, Ordering::Relaxed);
        let params = json!({"axis": axis, "method": "decompose", "wavelet": "db4", "mode": "zero"});
        let frame = Frame::decode(request(&noise(1 << 18), &shape, params)).unwrap();
        let context = Context::stopping(&stop);
        let error = find("wavelet")
            .unwrap()
            .execute(&frame, &frame.layout.params, &context)
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::Cancelled);
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }
}

proptest! {
    #[test]
    fn any_request_is_answered_or_refused(
        dtype in prop::sample::select(vec![Dtype::F32, Dtype::F64]),
        shapes in prop::collection::vec((0_usize..4, prop::collection::vec(0_usize..40, 0..=3)), 0..4),
        wavelet in prop::sample::select(wavelets()),
        mode in prop::sample::select(MODES.to_vec()),
        method in prop::sample::select(vec!["decompose", "reconstruct", "denoise"]),
        axis in -3_i64..=3,
        level in prop::option::of(0_u64..8),
        noise in any::<u64>(),
    ) {
        let names = ["x", "cA1", "cD1", "cA2"];
        let tensors: Vec<_> = shapes
            .iter()
            .map(|(name, shape)| {
                let bytes = shape.iter().product::<usize>() * dtype.size();
                let data: Vec<u8> = noise.to_le_bytes().into_iter().cycle().take(bytes).collect();
                (names[*name], shape, data)
            })
            .collect();
        let outputs: Vec<_> = tensors
            .iter()
            .map(|(name, shape, data)| Output { name, dtype, shape, data })
            .collect();
        let mut params = json!({"wavelet": wavelet, "mode": mode, "method": method, "axis": axis});
        if let Some(level) = level { params["level"] = level.into(); }
        if let Ok(request) = frame::encode(&outputs, &object(params))
            && let Err(error) = run("wavelet", request)
        {
            prop_assert!(error.kind != ErrorKind::Internal, "{}", error);
        }
    }

    #[test]
    fn any_coefficients_that_fit_are_joined(
        half in 1_usize..=8,
        counts in prop::collection::vec((0_usize..12, any::<bool>()), 1..5),
        mode in prop::sample::select(vec!["zero", "periodization"]),
    ) {
        // Lengths as they come from any decomposition: each the last one's samples, or one less.
        let lost = if mode == "zero" { 2 * half - 2 } else { 0 };
        let mut length = half + counts[0].0;
        let mut tensors = vec![(format!("cA{}", counts.len()), noise(length))];
        for (index, (_, is_less)) in counts.iter().enumerate() {
            let least = if mode == "zero" { half } else { 1 };
            let details = (length - usize::from(*is_less)).max(least).min(length);
            tensors.push((format!("cD{}", counts.len() - index), noise(details)));
            length = 2 * details - lost;
            prop_assume!(length >= least || index + 1 == counts.len());
        }
        let shapes: Vec<_> = tensors.iter().map(|(_, values)| [values.len()]).collect();
        let outputs: Vec<_> = tensors
            .iter()
            .zip(&shapes)
            .map(|((name, values), shape)| Output {
                name,
                dtype: Dtype::F64,
                shape,
                data: bytemuck::cast_slice(values),
            })
            .collect();
        let params = json!({"method": "reconstruct", "wavelet": format!("db{half}"), "mode": mode});
        let y = numbers(run("wavelet", frame::encode(&outputs, &object(params)).unwrap()).unwrap(), "y");
        prop_assert_eq!(y.len(), length);
        prop_assert!(y.iter().all(|sample| sample.is_finite()));
    }
}
