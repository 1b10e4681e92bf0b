//! Answers against OpenVINO's Python API, which wrote `*.out.safetensors`.

mod common;

use common::{assert_same, compile, frame_file, options, rows, runtime};

fn whole(name: &str, file: &str) {
    let Some(runtime) = runtime() else { return };
    let model = compile(&runtime, file);
    let input = frame_file(&format!("{name}.in.safetensors"));
    let golden = frame_file(&format!("{name}.out.safetensors"));
    // Twice: the second time the tensors hold what the first one left.
    for _ in 0..2 {
        let mut replies = model.infer(std::slice::from_ref(&input));
        assert_same(&replies.pop().unwrap().unwrap(), &golden);
    }
}

#[test]
fn perceptron() {
    whole("perceptron", "perceptron.xml");
}

#[test]
fn static_rows() {
    whole("static", "static.xml");
}

#[test]
fn one_static_row() {
    whole("single", "single.xml");
}

#[test]
fn two_inputs_and_outputs() {
    whole("two", "two.xml");
}

#[test]
fn half_long_byte_and_flag() {
    whole("types", "types.xml");
}

#[test]
fn rows_that_see_each_other() {
    whole("sequence", "sequence.xml");
}

#[test]
fn open_last_dimension() {
    whole("ragged", "ragged.xml");
}

#[test]
fn first_dimensions_that_differ() {
    whole("state", "state.xml");
}

#[test]
fn shape_written_into_the_model() {
    whole("frozen", "frozen.xml");
}

#[test]
fn value_dependent() {
    whole("fragile", "fragile.xml");
}

#[test]
fn value_as_index() {
    whole("scatter", "scatter.xml");
}

#[test]
fn onnx() {
    whole("linear", "linear.onnx");
}

/// Members of every size share inferences, and each gets its own rows back.
#[test]
fn joined_members_get_their_own_rows() {
    let Some(runtime) = runtime() else { return };
    for name in ["perceptron", "two", "types"] {
        let model = compile(&runtime, &format!("{name}.xml"));
        assert!(model.joins(), "{:?}", model.device_notes());
        let input = frame_file(&format!("{name}.in.safetensors"));
        let golden = frame_file(&format!("{name}.out.safetensors"));
        let total = input.layout.tensors[0].shape[0];
        for step in 1..=total {
            let cuts: Vec<_> = (0..total)
                .step_by(step)
                .map(|from| (from, (from + step).min(total)))
                .collect();
            let members: Vec<_> = cuts.iter().map(|(from, to)| rows(&input, *from, *to)).collect();
            let replies = model.infer(&members);
            assert_eq!(replies.len(), members.len());
            for (reply, (from, to)) in replies.iter().zip(cuts) {
                assert_same(reply.as_ref().unwrap(), &rows(&golden, from, to));
            }
        }
    }
}

/// More rows than the largest bucket, and every number below it, which all split differently.
#[test]
fn every_number_of_rows_gives_the_same_rows() {
    let Some(runtime) = runtime() else { return };
    let mut options = options("perceptron.xml");
    options.max_batch = 5;
    let model = runtime.compile(&options).unwrap();
    let input = frame_file("perceptron.in.safetensors");
    let golden = frame_file("perceptron.out.safetensors");
    let singles: Vec<_> = (0..13).map(|row| rows(&input, row, row + 1)).collect();
    for count in 1..=13 {
        for (row, reply) in model.infer(&singles[..count]).into_iter().enumerate() {
            assert_same(&reply.unwrap(), &rows(&golden, row, row + 1));
        }
    }
}

#[test]
fn open_shapes_join_only_their_like() {
    let Some(runtime) = runtime() else { return };
    let model = compile(&runtime, "ragged.xml");
    assert!(model.joins());
    let shapes = [[2, 3], [1, 5], [1, 3], [2, 5], [1, 1]];
    let members: Vec<_> = shapes
        .iter()
        .map(|shape| common::floats("x", shape, &vec![1.0; shape[0] * shape[1]]))
        .collect();
    for (reply, shape) in model.infer(&members).into_iter().zip(shapes) {
        let share = 1.0 / shape[1] as f32;
        let wanted = common::floats("y", &shape, &vec![share; shape[0] * shape[1]]);
        assert_same(&reply.unwrap(), &wanted);
    }
}
