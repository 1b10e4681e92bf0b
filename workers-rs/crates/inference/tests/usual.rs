//! The shape that most requests have is compiled for, and nobody notices but by the time it takes.

mod common;

use std::time::{Duration, Instant};

use common::{assert_same, compile, floats, runtime};
use npufleet_inference::Model;

/// Asks for the softmax of equal numbers; the answer must be right whatever computes it.
fn ask(model: &Model, shape: [usize; 2]) {
    let count = shape[0] * shape[1];
    let reply = model.infer(&[floats("x", &shape, &vec![1.0; count])]).remove(0);
    let wanted = floats("y", &shape, &vec![1.0 / shape[1] as f32; count]);
    assert_same(&reply.unwrap(), &wanted);
}

/// Asks until the model is compiled for rows of so many columns.
fn ask_until_usual(model: &Model, columns: usize) {
    let begin = Instant::now();
    while model.usual_shapes() != Some(vec![vec![columns]]) {
        assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", model.usual_shapes());
        ask(model, [2, columns]);
    }
}

#[test]
fn the_usual_shape_is_compiled_for_and_may_change() {
    let Some(runtime) = runtime() else { return };
    let model = compile(&runtime, "ragged.xml");
    assert_eq!(model.joint().rows, 32);
    ask_until_usual(&model, 3);
    for shape in [[5, 3], [1, 3], [32, 3], [2, 5], [3, 1]] {
        ask(&model, shape);
    }
    ask_until_usual(&model, 5);
    ask(&model, [4, 3]);
}

#[test]
fn shapes_that_take_turns_are_compiled_for_never() {
    let Some(runtime) = runtime() else { return };
    let model = compile(&runtime, "ragged.xml");
    for turn in 0..400 {
        ask(&model, [1, 3 + turn % 4]);
    }
    assert_eq!(model.usual_shapes(), None);
}

#[test]
fn a_model_may_go_while_it_is_compiled_for_a_shape() {
    let Some(runtime) = runtime() else { return };
    for _ in 0..3 {
        let model = compile(&runtime, "ragged.xml");
        for _ in 0..80 {
            ask(&model, [2, 3]);
        }
    }
}
