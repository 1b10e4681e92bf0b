//! Answers against OpenVINO's Python API, which wrote `*.out.safetensors`.

mod common;

use bytes::Bytes;
use common::{assert_same, compile, frame_file, options, rows, runtime};
use npufleet_wire::{Dtype, Frame};

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

/// Large inputs are read where they lie if that suits OpenVINO, from other memory each time or from the same, and copied
/// otherwise; what was read before is gone then.
#[test]
fn large_inputs_are_read_from_wherever_they_lie() {
    const ROWS: usize = 4096;
    let Some(runtime) = runtime() else { return };
    let mut options = options("two.xml");
    options.max_batch = ROWS;
    let model = runtime.compile(&options).unwrap();
    let tensor = |name, values: [f32; 2]| {
        let data = values.map(f32::to_le_bytes).concat().repeat(2 * ROWS);
        common::one(name, Dtype::F32, &[ROWS, 4], &data)
    };
    let ask = |left: f32, right: f32, offset| {
        let (a, b) = (tensor("left", [left, 1.0]), tensor("right", [right, 2.0]));
        let input = at(offset, &common::encoded(&[&a, &b]), 2 * 16 * ROWS);
        let (sum, product) = (
            tensor("sum", [left + right, 3.0]),
            tensor("product", [left * right, 2.0]),
        );
        let golden = Frame::decode(common::encoded(&[&sum, &product])).unwrap();
        for _ in 0..2 {
            let reply = model.infer(std::slice::from_ref(&input)).remove(0).unwrap();
            assert_same(&reply, &golden);
        }
    };
    for (round, offset) in [0, 0, 8, 64, 0, 24, 24, 64].into_iter().enumerate() {
        ask(round as f32, 10.0 + round as f32, offset);
    }
}

/// A frame in memory of its own; its `tensors`, so many bytes at its end, begin `offset` bytes behind a multiple of 128.
fn at(offset: usize, bytes: &[u8], tensors: usize) -> Frame {
    let start = bytes.len() - tensors;
    let mut memory = vec![0; bytes.len() + 128];
    let behind = |skipped: &usize| (memory.as_ptr().addr() + skipped + start) % 128 == offset;
    let skipped = (0..128).find(behind).unwrap();
    memory[skipped..skipped + bytes.len()].copy_from_slice(bytes);
    Frame::decode(Bytes::from(memory).slice(skipped..skipped + bytes.len())).unwrap()
}
