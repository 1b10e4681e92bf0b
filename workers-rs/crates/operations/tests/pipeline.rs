//! A pipeline in a worker: models as steps, what is told of each step, and stopping between them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use npufleet_operations::pipeline::Step;
use npufleet_operations::{Context, Worker, find};
use npufleet_wire::{Dtype, Error, ErrorKind, Frame, Output, Result, contract, frame};
use serde_json::{Map, Value, json};

/// A step's operation, model and failure.
type Told = (String, Option<String>, Option<ErrorKind>);

/// A worker whose models negate `x`, and which remembers the steps.
#[derive(Default)]
struct Recorder {
    steps: Mutex<Vec<Told>>,
}

impl Worker for Recorder {
    fn infer(&self, model: &str, request: &Frame, params: &Map<String, Value>) -> Result<Bytes> {
        if model != "minus" {
            return Err(Error::new(
                ErrorKind::UnknownModel,
                format!("model '{model}' is not here"),
            ));
        }
        assert_eq!(params.get("version"), Some(&json!(3)));
        let x = request.tensor("x").unwrap();
        let negated: Vec<u8> = x
            .data
            .chunks_exact(8)
            .flat_map(|bytes| (-f64::from_le_bytes(bytes.try_into().unwrap())).to_le_bytes())
            .collect();
        let output = Output {
            name: "scores",
            data: &negated,
            ..Output::from(&x)
        };
        frame::encode(&[output], &Map::new())
    }

    fn step(&self, step: &Step<'_>, start: Instant, error: Option<&Error>) {
        assert!(start <= Instant::now());
        let told = (
            step.operation.to_owned(),
            step.model.map(str::to_owned),
            error.map(|error| error.kind),
        );
        self.steps.lock().unwrap().push(told);
    }
}

fn run(worker: &Recorder, steps: &Value, context: &Context<'_>) -> Result<Frame> {
    let params = json!({"steps": steps});
    let x = Output {
        name: "x",
        dtype: Dtype::F64,
        shape: &[2],
        data: bytemuck::cast_slice(&[1.0, 3.0]),
    };
    let params = contract::operation("pipeline")
        .unwrap()
        .check_params(params.as_object().unwrap())?;
    let request = Frame::decode(frame::encode(&[x], &params)?)?;
    let reply = find("pipeline")
        .unwrap()
        .execute_in(worker, &request, &params, context)?;
    Frame::decode(reply)
}

#[test]
fn a_model_is_a_step() {
    let worker = Recorder::default();
    let infer = json!({"operation": "infer", "model": "minus", "params": {"version": 3}});
    let steps = json!([{"operation": "echo"}, infer, {"operation": "fft"}]);
    let reply = run(&worker, &steps, &Context::never()).unwrap();
    let y = reply.tensor("y").unwrap();
    assert_eq!(y.data, bytemuck::cast_slice::<f64, u8>(&[-4.0, 0.0, 2.0, 0.0]));
    assert!(reply.layout.params.is_empty());
    let told = |operation: &str, model: Option<&str>| (operation.to_owned(), model.map(str::to_owned), None);
    assert_eq!(
        *worker.steps.lock().unwrap(),
        [told("echo", None), told("infer", Some("minus")), told("fft", None)]
    );
}

#[test]
fn an_error_names_its_step_and_ends_the_work() {
    let worker = Recorder::default();
    let steps = json!([{"operation": "echo"}, {"operation": "infer", "model": "plus"}, {"operation": "echo"}]);
    let error = run(&worker, &steps, &Context::never()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::UnknownModel);
    assert!(error.message.starts_with("step 2 (infer): model 'plus'"), "{error}");
    let steps = worker.steps.lock().unwrap();
    assert_eq!(steps.len(), 2);
    assert_eq!(steps[1].2, Some(ErrorKind::UnknownModel));
}

#[test]
fn the_context_is_asked_before_each_step() {
    let worker = Recorder::default();
    let asked = AtomicUsize::new(0);
    let stop = || asked.fetch_add(1, Ordering::Relaxed) == 2;
    let echo = json!({"operation": "echo"});
    let error = run(&worker, &json!([echo, echo, echo, echo]), &Context::stopping(&stop)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Cancelled);
    assert!(error.message.starts_with("step 3 (echo)"), "{error}");
    assert_eq!(worker.steps.lock().unwrap().len(), 3);
}
