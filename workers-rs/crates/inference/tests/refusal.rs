//! Frames that a model does not take: the kind, and a text that names the tensor, what it is and what is wanted.

mod common;

use common::{compile, floats, frame, frame_file, one, options, runtime};
use npufleet_wire::frame::Output;
use npufleet_wire::{Dtype, ErrorKind, Frame};

fn refused(model: &npufleet_inference::Model, frame: &Frame) -> String {
    let error = model.check(&frame.layout).unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidShape);
    // The same answer from the inference, and no harm to the others of its batch.
    let good = frame_file("perceptron.in.safetensors");
    let mut replies = model.infer(&[frame.clone(), good]);
    assert!(replies.pop().unwrap().is_ok());
    assert_eq!(replies.pop().unwrap().unwrap_err(), error);
    error.message
}

#[test]
fn wrong_frames_are_named() {
    let Some(runtime) = runtime() else { return };
    let model = compile(&runtime, "perceptron.xml");
    let cases = [
        (
            floats("z", &[1, 8], &[0.0; 8]),
            "tensor 'x' is missing; the model wants x: float32[?, 8]",
        ),
        (
            one("x", Dtype::F64, &[1, 8], &[0; 64]),
            "tensor 'x' has dtype float64; allowed: float32",
        ),
        (
            floats("x", &[1, 7], &[0.0; 7]),
            "tensor 'x' has shape [1, 7]; the model wants [?, 8]",
        ),
        (
            floats("x", &[8], &[0.0; 8]),
            "tensor 'x' has shape [8]; the model wants [?, 8]",
        ),
        (
            floats("x", &[], &[0.0]),
            "tensor 'x' has shape []; the model wants [?, 8]",
        ),
        (
            floats("x", &[0, 8], &[]),
            "tensor 'x' has 0 rows; allowed: 1 to 32 (max_batch)",
        ),
        (
            floats("x", &[33, 8], &[0.0; 264]),
            "tensor 'x' has 33 rows; allowed: 1 to 32 (max_batch)",
        ),
        (frame(&[]), "tensor 'x' is missing; the model wants x: float32[?, 8]"),
    ];
    for (frame, message) in cases {
        assert_eq!(refused(&model, &frame), message);
    }
    let data = [0; 32];
    let spare = frame(&[
        Output {
            name: "x",
            dtype: Dtype::F32,
            shape: &[1, 8],
            data: &data,
        },
        Output {
            name: "w",
            dtype: Dtype::U8,
            shape: &[0],
            data: &[],
        },
    ]);
    assert_eq!(refused(&model, &spare), "unknown tensor 'w'; the model wants x");
}

#[test]
fn static_shapes_are_exact() {
    let Some(runtime) = runtime() else { return };
    let model = compile(&runtime, "static.xml");
    assert_eq!((model.max_batch(), model.joins()), (4, false));
    let four = floats("x", &[4, 8], &[0.5; 32]);
    assert_eq!(model.check(&four.layout), Ok(4));
    let three = floats("x", &[3, 8], &[0.5; 24]);
    assert_eq!(
        model.check(&three.layout).unwrap_err().message,
        "tensor 'x' has shape [3, 8]; the model wants [4, 8]"
    );
    // More members than fit one inference run one by one.
    let replies = model.infer(&[four.clone(), three, four]);
    let good: Vec<_> = replies.iter().map(Result::is_ok).collect();
    assert_eq!(good, [true, false, true]);
}

#[test]
fn inputs_must_have_equally_many_rows() {
    let Some(runtime) = runtime() else { return };
    let model = compile(&runtime, "two.xml");
    let (left, right) = ([0; 32], [0; 48]);
    let uneven = frame(&[
        Output {
            name: "left",
            dtype: Dtype::F32,
            shape: &[2, 4],
            data: &left,
        },
        Output {
            name: "right",
            dtype: Dtype::F32,
            shape: &[3, 4],
            data: &right,
        },
    ]);
    assert_eq!(
        model.check(&uneven.layout).unwrap_err().message,
        "tensor 'right' has 3 rows; tensor 'left' has 2"
    );
}

#[test]
fn nan_and_infinity_pass_through() {
    let Some(runtime) = runtime() else { return };
    let model = runtime.compile(&options("two.xml")).unwrap();
    let values = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0];
    let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let one = 1.0_f32.to_le_bytes().repeat(4);
    let member = frame(&[
        Output {
            name: "left",
            dtype: Dtype::F32,
            shape: &[1, 4],
            data: &data,
        },
        Output {
            name: "right",
            dtype: Dtype::F32,
            shape: &[1, 4],
            data: &one,
        },
    ]);
    let reply = Frame::decode(model.infer(&[member]).pop().unwrap().unwrap()).unwrap();
    let product: Vec<_> = common::numbers(reply.tensor("product").unwrap().data).collect();
    assert!(product[0].is_nan());
    assert_eq!(product[1..], [f32::INFINITY, f32::NEG_INFINITY, -0.0]);
}
