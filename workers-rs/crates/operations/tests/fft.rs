//! The fft against its definition, summed term by term in double precision.

use std::f64::consts::TAU;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use npufleet_operations::{Context, find, run};
use npufleet_wire::{Dtype, ErrorKind, Frame, Output, Result, frame};
use num_complex::Complex;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

type Number = Complex<f64>;

/// Numbers without a pattern, the same each time.
fn samples(count: usize) -> Vec<Number> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / f64::from(1_u32 << 30) - 1.0
    };
    (0..count).map(|_| Number::new(next(), next())).collect()
}

/// What the tensor of a type holds of a number: its real part, or both in that precision.
fn rounded(dtype: Dtype, number: Number) -> Number {
    match dtype {
        Dtype::F32 => f64::from(number.re as f32).into(),
        Dtype::F64 => number.re.into(),
        Dtype::C64 => Number::new(f64::from(number.re as f32), f64::from(number.im as f32)),
        _ => number,
    }
}

fn bytes(dtype: Dtype, numbers: &[Number]) -> Vec<u8> {
    let write = |number: &Number| match dtype {
        Dtype::F32 => (number.re as f32).to_le_bytes().to_vec(),
        Dtype::F64 => number.re.to_le_bytes().to_vec(),
        Dtype::C64 => [(number.re as f32).to_le_bytes(), (number.im as f32).to_le_bytes()].concat(),
        _ => [number.re.to_le_bytes(), number.im.to_le_bytes()].concat(),
    };
    numbers.iter().flat_map(write).collect()
}

fn read(frame: &Frame) -> (Dtype, Vec<usize>, Vec<Number>) {
    let y = frame.tensor("y").unwrap();
    let single = |bytes: &[u8]| f64::from(f32::from_le_bytes(bytes.try_into().unwrap()));
    let double = |bytes: &[u8]| f64::from_le_bytes(bytes.try_into().unwrap());
    let numbers = y.data.chunks_exact(y.info.dtype.size()).map(|bytes| {
        let (re, im) = bytes.split_at(bytes.len() / 2);
        if re.len() == 4 {
            Number::new(single(re), single(im))
        } else {
            Number::new(double(re), double(im))
        }
    });
    (y.info.dtype, y.info.shape.clone(), numbers.collect())
}

fn request(dtype: Dtype, shape: &[usize], data: &[u8], params: &Value) -> Bytes {
    let params: Map<String, Value> = serde_json::from_value(params.clone()).unwrap();
    frame::encode(
        &[Output {
            name: "x",
            dtype,
            shape,
            data,
        }],
        &params,
    )
    .unwrap()
}

fn fft(dtype: Dtype, shape: &[usize], numbers: &[Number], params: &Value) -> Result<(Dtype, Vec<usize>, Vec<Number>)> {
    let reply = run("fft", request(dtype, shape, &bytes(dtype, numbers), params))?;
    Ok(read(&Frame::decode(reply).unwrap()))
}

/// The definition, along `axis` (from the front), to `points`, keeping `bins`.
fn definition(
    shape: &[usize],
    axis: usize,
    numbers: &[Number],
    points: usize,
    bins: usize,
) -> (Vec<usize>, Vec<Number>) {
    let inner: usize = shape[axis + 1..].iter().product();
    let outer: usize = shape[..axis].iter().product();
    let mut result = Vec::new();
    for slab in 0..outer {
        for bin in 0..bins {
            for column in 0..inner {
                let kept = shape[axis].min(points);
                let term = |k: usize| {
                    let angle = -TAU * ((bin * k) % points) as f64 / points as f64;
                    numbers[(slab * shape[axis] + k) * inner + column] * Number::from_polar(1.0, angle)
                };
                result.push((0..kept).map(term).sum());
            }
        }
    }
    let mut shape = shape.to_vec();
    shape[axis] = bins;
    (shape, result)
}

fn assert_close(found: &[Number], expected: &[Number], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().map(|number| number.norm()).fold(1e-30, f64::max);
    for (index, (one, other)) in found.iter().zip(expected).enumerate() {
        assert!(
            (one - other).norm() <= tolerance * scale,
            "{what}: [{index}] {one} instead of {other}"
        );
    }
}

#[test]
fn every_type_length_and_side() {
    for dtype in [Dtype::F32, Dtype::F64, Dtype::C64, Dtype::C128] {
        let (real, single) = (
            matches!(dtype, Dtype::F32 | Dtype::F64),
            matches!(dtype, Dtype::F32 | Dtype::C64),
        );
        for length in [1, 2, 3, 4, 5, 8, 15, 16, 17, 31, 64, 97, 100, 128, 360] {
            let numbers: Vec<_> = samples(2 * length)
                .into_iter()
                .map(|number| rounded(dtype, number))
                .collect();
            let sides: &[_] = if real {
                &[json!({}), json!({"return_onesided": false})]
            } else {
                &[json!({})]
            };
            for params in sides {
                let bins = if real && params == &json!({}) {
                    length / 2 + 1
                } else {
                    length
                };
                let (shape, expected) = definition(&[2, length], 1, &numbers, length, bins);
                let (found_type, found_shape, found) = fft(dtype, &[2, length], &numbers, params).unwrap();
                let what = format!("{} {length} {params}", dtype.name());
                assert_eq!(
                    (found_type.size(), found_shape),
                    (if single { 8 } else { 16 }, shape),
                    "{what}"
                );
                assert_close(&found, &expected, if single { 1e-5 } else { 1e-13 }, &what);
            }
        }
    }
}

#[test]
fn every_axis() {
    let shape = [3, 20, 37];
    let numbers = samples(shape.iter().product());
    for dtype in [Dtype::F64, Dtype::C128] {
        let numbers: Vec<_> = numbers.iter().map(|number| rounded(dtype, *number)).collect();
        for axis in 0..3_usize {
            let length = shape[axis];
            for points in [length, length - 1, length + 9] {
                let bins = if dtype == Dtype::F64 { points / 2 + 1 } else { points };
                let (shape_y, expected) = definition(&shape, axis, &numbers, points, bins);
                let positive = i64::try_from(axis).unwrap();
                for signed in [positive, positive - 3] {
                    let params = json!({"axis": signed, "n": points});
                    let (_, found_shape, found) = fft(dtype, &shape, &numbers, &params).unwrap();
                    assert_eq!(found_shape, shape_y);
                    assert_close(&found, &expected, 1e-13, &params.to_string());
                }
            }
        }
    }
}

#[test]
fn long_real_lines_have_the_bins_of_complex_ones() {
    // On both sides of where another transform is taken, with and without bins that no vector holds, padded, and not.
    for (length, points) in [
        (1024, 1024),
        (2048, 2048),
        (4000, 4096),
        (8192, 8192),
        (8224, 8224),
        (9599, 9600),
        (12_000, 9600),
        (16_384, 16_384),
        (40_000, 32_768),
        (65_536, 65_536),
        (65_536, 65_538),
    ] {
        let numbers: Vec<_> = samples(length)
            .into_iter()
            .map(|number| rounded(Dtype::F64, number))
            .collect();
        let params = json!({"n": points});
        let (_, _, expected) = fft(Dtype::C128, &[length], &numbers, &params).unwrap();
        let (_, _, found) = fft(Dtype::F64, &[length], &numbers, &params).unwrap();
        let what = format!("{length} samples, {points} points");
        assert_close(&found, &expected[..=points / 2], 1e-14, &what);
        assert_eq!((found[0].im, found[points / 2].im), (0.0, 0.0), "{what}");
    }
}

#[test]
fn norms() {
    let numbers: Vec<_> = samples(50)
        .into_iter()
        .map(|number| rounded(Dtype::F64, number))
        .collect();
    let (_, _, plain) = fft(Dtype::F64, &[50], &numbers, &json!({"norm": "backward"})).unwrap();
    for (norm, factor) in [("ortho", 50_f64.sqrt().recip()), ("forward", 1.0 / 50.0)] {
        let (_, _, scaled) = fft(Dtype::F64, &[50], &numbers, &json!({"norm": norm})).unwrap();
        let expected: Vec<_> = plain.iter().map(|number| number * factor).collect();
        assert_close(&scaled, &expected, 1e-15, norm);
    }
}

#[test]
fn many_lengths_one_after_the_other() {
    // More points than a thread keeps plans for: they are dropped and made again, with the same numbers.
    for length in [1 << 19, 1 << 20, 1000, 1 << 19, 1000] {
        let (_, shape, found) = fft(Dtype::F32, &[1], &[Number::new(1.0, 0.0)], &json!({"n": length})).unwrap();
        assert_eq!(shape, [length / 2 + 1]);
        assert!(
            found.iter().all(|number| (number - 1.0).norm() < 1e-6),
            "the spectrum of an impulse is one everywhere"
        );
    }
}

#[test]
fn not_finite_numbers_pass_through() {
    let numbers = [1.0, f64::NAN, 2.0, f64::INFINITY].map(Number::from);
    let (_, _, found) = fft(Dtype::F64, &[4], &numbers, &json!({})).unwrap();
    assert!(found.iter().all(|number| number.is_nan()));
    let (_, _, found) = fft(Dtype::F64, &[2, 2], &numbers, &json!({"n": 1})).unwrap();
    assert_eq!(found.iter().map(|number| number.re).collect::<Vec<_>>(), [1.0, 2.0]);
}

#[test]
fn unaligned_input_gives_the_same() {
    for (dtype, shape, axis) in [
        (Dtype::F64, [4, 9], 1),
        (Dtype::F64, [2, 9600], 1),
        (Dtype::F64, [2, 4096], 1),
        (Dtype::F64, [4, 9], 0),
        (Dtype::C64, [4, 9], 1),
        (Dtype::C128, [9, 4], 0),
    ] {
        let aligned = request(
            dtype,
            &shape,
            &bytes(dtype, &samples(shape[0] * shape[1])),
            &json!({"axis": axis}),
        );
        let expected = run("fft", aligned.clone()).unwrap();
        for offset in 1..8 {
            let moved = Bytes::from([&[0_u8; 8][..offset], &aligned].concat()).slice(offset..);
            assert_eq!(run("fft", moved).unwrap(), expected);
        }
    }
}

#[test]
fn empty_tensors() {
    let (_, shape, _) = fft(Dtype::F64, &[0, 4], &[], &json!({})).unwrap();
    assert_eq!(shape, [0, 3]);
    let (_, shape, found) = fft(Dtype::F64, &[2, 0], &[], &json!({"n": 3})).unwrap();
    assert_eq!((shape, found), (vec![2, 2], vec![Number::default(); 4]));
    assert_eq!(
        fft(Dtype::F64, &[2, 0], &[], &json!({})).unwrap_err().kind,
        ErrorKind::InvalidShape
    );
    assert_eq!(
        fft(Dtype::F64, &[0, 2], &[], &json!({"axis": 0})).unwrap_err().kind,
        ErrorKind::InvalidShape
    );
}

#[test]
fn empty_tensors_with_dimensions_beyond_any_product() {
    for (axis, expected) in [(1, Ok(())), (2, Ok(())), (0, Err(ErrorKind::PayloadTooLarge))] {
        let params = json!({"axis": axis, "n": 4});
        let answer = fft(Dtype::F32, &[0, 1 << 62, 1 << 62], &[], &params);
        assert_eq!(answer.map(|_| ()).map_err(|error| error.kind), expected, "{axis}");
    }
}

#[test]
fn what_the_contract_cannot_say() {
    let numbers = samples(4);
    let refused = [
        (Dtype::F64, json!({"axis": 2}), ErrorKind::InvalidParameter),
        (Dtype::F64, json!({"axis": -3}), ErrorKind::InvalidParameter),
        (
            Dtype::C128,
            json!({"return_onesided": true}),
            ErrorKind::InvalidParameter,
        ),
        (
            Dtype::C64,
            json!({"return_onesided": true}),
            ErrorKind::InvalidParameter,
        ),
    ];
    for (dtype, params, kind) in refused {
        assert_eq!(
            fft(dtype, &[2, 2], &numbers, &params).unwrap_err().kind,
            kind,
            "{params}"
        );
    }
    let half = run("fft", request(Dtype::F16, &[2], &[0; 4], &json!({})));
    assert_eq!(half.unwrap_err().kind, ErrorKind::Unsupported);
    let many = vec![Number::default(); 200];
    let huge = fft(Dtype::C128, &[200, 1], &many, &json!({"n": 16_777_216}));
    assert_eq!(huge.unwrap_err().kind, ErrorKind::PayloadTooLarge);
}

#[test]
fn rows_are_lines() {
    let rows = |shape: &[usize], axis: i64| {
        let data = vec![0; shape.iter().product::<usize>() * 4];
        let frame = Frame::decode(request(Dtype::F32, shape, &data, &json!({"axis": axis}))).unwrap();
        find("fft").unwrap().rows(&frame.layout)
    };
    assert_eq!(rows(&[5], -1), 1);
    assert_eq!(rows(&[3, 4, 5], -1), 12);
    assert_eq!(rows(&[3, 4, 5], 0), 20);
    assert_eq!(rows(&[0, 5], -1), 1, "no work is still a row to be queued");
    assert_eq!(rows(&[3, 5], 7), 1, "refused later, but counted before");
}

#[test]
fn long_work_stops_when_told() {
    let shape = [1 << 10, 1 << 8];
    let data = vec![0; 8 << 18];
    let asked = AtomicUsize::new(0);
    let stop = || asked.fetch_add(1, Ordering::Relaxed) == 1;
    for axis in [0, 1] {
        asked.store(0, Ordering::Relaxed);
        let frame = Frame::decode(request(Dtype::F64, &shape, &data, &json!({"axis": axis}))).unwrap();
        let error = find("fft")
            .unwrap()
            .execute(&frame, &frame.layout.params, &Context::stopping(&stop))
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::Cancelled);
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }
}

proptest! {
    #[test]
    fn any_request_is_answered_or_refused(
        dtype in prop::sample::select(Dtype::ALL.to_vec()),
        shape in prop::collection::vec(0_usize..6, 0..=4),
        n in prop::option::of(1_i64..20),
        axis in -8_i64..=7,
        sides in prop::option::of(any::<bool>()),
        norm in prop::sample::select(vec!["backward", "ortho", "forward"]),
        noise in any::<u64>(),
    ) {
        let elements = shape.iter().product::<usize>();
        let data: Vec<u8> = noise.to_le_bytes().into_iter().cycle().take(elements * dtype.size()).collect();
        let mut params = json!({"axis": axis, "norm": norm});
        if let Some(n) = n { params["n"] = n.into(); }
        if let Some(sides) = sides { params["return_onesided"] = sides.into(); }
        match run("fft", request(dtype, &shape, &data, &params)) {
            Ok(reply) => {
                let y = Frame::decode(reply).unwrap();
                prop_assert_eq!(y.tensor("y").unwrap().info.shape.len(), shape.len());
            }
            Err(error) => prop_assert!(error.kind != ErrorKind::Internal, "{}", error),
        }
    }
}
