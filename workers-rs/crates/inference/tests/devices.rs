//! A device that takes static shapes only and fails when told (a double; see `openvino::double`): buckets with padding
//! and slicing, and how each way of failing is told from a request that is at fault itself.
//!
//! One test function: the double is one file, and the environment that names it is set before anything else runs.

mod common;

use std::fs;
use std::time::Duration;

use common::{assert_same, frame_file, longs, path, rows, runtime};
use npufleet_inference::{Model, ModelOptions, Runtime};
use npufleet_wire::{ErrorKind, Frame};

fn options(name: &str) -> ModelOptions {
    ModelOptions {
        max_batch: 8,
        precision: Some("f32".to_owned()),
        patience: Duration::from_millis(50),
        ..ModelOptions::new(path(name))
    }
}

#[test]
#[allow(unsafe_code, reason = "the environment is set while this process has one thread")]
fn an_npu_is_served_and_watched() {
    let file = std::env::temp_dir().join(format!("npufleet-double-{}", std::process::id()));
    fs::write(&file, "").unwrap();
    // SAFETY: the only test of this program, before it starts any thread of its own.
    unsafe { std::env::set_var("NPUFLEET_DEVICE_DOUBLE", &file) };
    let Some(runtime) = runtime() else { return };
    let npu = runtime.devices().remove(0);
    assert_eq!((npu.name.as_str(), npu.available), ("NPU", true));

    every_row_count_comes_back_as_it_went(&runtime);
    open_shapes_go_to_the_next_device(&runtime);
    let tell = |word: &str| fs::write(&file, word).unwrap();
    faults_are_told_from_bad_requests(&runtime, &tell);
    fs::remove_file(&file).unwrap();
}

fn every_row_count_comes_back_as_it_went(runtime: &Runtime) {
    let model = runtime.compile(&options("perceptron.xml")).unwrap();
    assert_eq!((model.device(), model.joins(), model.max_batch()), ("NPU", true, 8));
    let (input, golden) = (
        frame_file("perceptron.in.safetensors"),
        frame_file("perceptron.out.safetensors"),
    );
    for count in 1..=8 {
        let reply = model.infer(&[rows(&input, 0, count)]).pop().unwrap();
        assert_same(&reply.unwrap(), &rows(&golden, 0, count));
    }
    // Requests of 3, 1, 2, 5 and 2 rows: more than one inference takes, and cut across its borders.
    let ranges = [(0, 3), (3, 4), (4, 6), (6, 11), (11, 13)];
    let members: Vec<_> = ranges.iter().map(|(from, to)| rows(&input, *from, *to)).collect();
    for ((from, to), reply) in ranges.iter().zip(model.infer(&members)) {
        assert_same(&reply.unwrap(), &rows(&golden, *from, *to));
    }
}

fn open_shapes_go_to_the_next_device(runtime: &Runtime) {
    let model = runtime.compile(&options("ragged.xml")).unwrap();
    assert_eq!(model.device(), "CPU");
    let notes = model.device_notes().join("; ");
    assert!(notes.contains("NPU: to_shape was called on a dynamic shape"), "{notes}");
}

fn faults_are_told_from_bad_requests(runtime: &Runtime, tell: &dyn Fn(&str)) {
    let model = runtime.compile(&options("scatter.xml")).unwrap();
    assert_eq!(model.device(), "NPU");
    let (good, bad) = (longs("x", &[1], &[1]), longs("x", &[1], &[9]));
    let kinds = |model: &Model, members: &[Frame]| -> Vec<Option<ErrorKind>> {
        let replies = model.infer(members);
        replies
            .into_iter()
            .map(|reply| reply.err().map(|error| error.kind))
            .collect()
    };
    let pair = [good, bad];
    assert_eq!(kinds(&model, &pair), [None, Some(ErrorKind::Internal)]);
    assert!(model.answers().is_ok(), "the request was at fault");
    tell("error");
    assert_eq!(kinds(&model, &pair), [Some(ErrorKind::Internal); 2]);
    assert!(model.answers().is_err(), "the device is at fault");
    for fault in ["lost", "hang"] {
        tell(fault);
        assert_eq!(kinds(&model, &pair), [Some(ErrorKind::DeviceLost); 2], "{fault}");
    }
    // A device that is lost compiles nothing either: the next one does.
    let other = runtime.compile(&options("perceptron.xml")).unwrap();
    assert_eq!(other.device(), "CPU");
    tell("");
    assert_eq!(
        kinds(&model, &pair),
        [None, Some(ErrorKind::Internal)],
        "it works again"
    );
}
