//! How far an operation is, as whoever executes it hears it.

use std::sync::Mutex;

use npufleet_operations::{Context, find};
use npufleet_wire::{Dtype, Frame, Output, contract, frame};
use serde_json::{Value, json};

fn heard(name: &str, tensors: &[&str], params: &Value) -> Vec<f64> {
    let data = vec![1.0_f64; 9000];
    let output = |name: &&'static str| Output {
        name,
        dtype: Dtype::F64,
        shape: &[2, 4500],
        data: bytemuck::cast_slice(&data),
    };
    let outputs: Vec<_> = ["x", "d", "z"]
        .iter()
        .filter(|name| tensors.contains(name))
        .map(output)
        .collect();
    let row = contract::operation(name).unwrap();
    let params = row.check_params(params.as_object().unwrap()).unwrap();
    let frame = Frame::decode(frame::encode(&outputs, &params).unwrap()).unwrap();
    let said = Mutex::new(Vec::new());
    let progress = |done| said.lock().unwrap().push(done);
    let context = Context {
        progress: &progress,
        ..Context::never()
    };
    find(name).unwrap().execute(&frame, &params, &context).unwrap();
    said.into_inner().unwrap()
}

#[test]
fn progress_goes_from_nothing_to_all() {
    let steps = json!([{"operation": "fft"}, {"operation": "ifft"}, {"operation": "echo"}]);
    for (name, tensors, params) in [
        ("echo", &["x"][..], json!({"delay": 0.02})),
        ("adaptive", &["x", "d"], json!({"order": 2})),
        ("kalman", &["z"], json!({"smooth": true})),
        ("pipeline", &["x"], json!({"steps": steps})),
    ] {
        let said = heard(name, tensors, &params);
        assert!(said.len() >= 2, "{name}: {said:?}");
        assert!(said.is_sorted(), "{name}: {said:?}");
        assert!(said.iter().all(|done| (0.0..=1.0).contains(done)), "{name}: {said:?}");
    }
}

#[test]
fn a_step_counts_for_its_share_of_the_pipeline() {
    let slow = json!({"operation": "echo", "params": {"delay": 0.02}});
    let said = heard("pipeline", &["x"], &json!({"steps": [slow, slow]}));
    let within = |first: f64, last: f64| said.iter().any(|&done| first < done && done < last);
    assert!(within(0.0, 0.5) && within(0.5, 1.0), "{said:?}");
    assert!(said.contains(&0.5) && said.last() == Some(&1.0), "{said:?}");
}
