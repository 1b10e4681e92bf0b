//! Many calls, from one thread and from several: memory stays flat and answers stay right.
//!
//! A file of its own, so that no other test allocates in this process.

mod common;

use common::{assert_same, compile, frame_file, longs, options, resident_kib, rows, runtime};

/// Growth that allocators and lazily touched pages explain.
const SLACK_KIB: u64 = 4096;

#[test]
fn memory_stays_flat() {
    let Some(runtime) = runtime() else { return };
    let model = compile(&runtime, "perceptron.xml");
    let ragged = compile(&runtime, "ragged.xml");
    let fragile = compile(&runtime, "fragile.xml");
    let input = frame_file("perceptron.in.safetensors");
    let members: Vec<_> = (0..8).map(|row| rows(&input, row, row + 1)).collect();
    let shapes: Vec<_> = (1..=8)
        .map(|width| common::floats("x", &[1, width], &vec![0.5; width]))
        .collect();
    let bad = longs("x", &[1, 2], &[4, 4]);
    let turn = |count: usize| {
        for index in 0..count {
            assert!(model.infer(&members[..=index % 8]).iter().all(Result::is_ok));
            assert!(ragged.infer(&shapes[index % 8..=index % 8])[0].is_ok());
            if index % 100 == 0 {
                assert!(fragile.infer(std::slice::from_ref(&bad))[0].is_err());
                assert_eq!(runtime.devices().len(), 3);
            }
        }
    };
    turn(1000);
    let before = resident_kib();
    turn(10_000);
    let after = resident_kib();
    assert!(
        after <= before + SLACK_KIB,
        "resident memory grew from {before} to {after} KiB"
    );

    // Models come and go with every new version.
    for _ in 0..5 {
        compile(&runtime, "perceptron.xml");
    }
    let before = resident_kib();
    for _ in 0..15 {
        compile(&runtime, "perceptron.xml");
    }
    let after = resident_kib();
    assert!(
        after <= before + SLACK_KIB,
        "resident memory grew from {before} to {after} KiB by loading models"
    );

    several_threads(&runtime);
}

fn several_threads(runtime: &npufleet_inference::Runtime) {
    let mut options = options("perceptron.xml");
    options.parallel = 4;
    let model = runtime.compile(&options).unwrap();
    let input = frame_file("perceptron.in.safetensors");
    let golden = frame_file("perceptron.out.safetensors");
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (model, input, golden) = (&model, &input, &golden);
            scope.spawn(move || {
                for turn in 0..200 {
                    let from = (thread * 3 + turn) % 12;
                    let to = (from + 1 + turn % 4).min(13);
                    let reply = model.infer(&[rows(input, from, to)]).pop().unwrap().unwrap();
                    assert_same(&reply, &rows(golden, from, to));
                }
            });
        }
    });
}
