//! Operations one after the other, each on what the one before gave; no tensor between them leaves the worker.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use npufleet_wire::contract::{self, OperationRow};
use npufleet_wire::frame::Heap;
use npufleet_wire::{Error, ErrorKind, Frame, Layout, Output, Result, frame, steps};
use serde_json::{Map, Value};

use crate::{Context, Operation, Worker, find};

/// The operation `pipeline`.
pub struct Pipeline;

/// A step as its request says it.
#[derive(Debug)]
pub struct Step<'a> {
    /// What is computed.
    pub operation: &'a str,
    /// By which model.
    pub model: Option<&'a str>,
    row: &'static OperationRow,
    params: &'a Map<String, Value>,
    inputs: Option<&'a Map<String, Value>>,
    request_inputs: Option<&'a Map<String, Value>>,
}

impl Operation for Pipeline {
    fn name(&self) -> &'static str {
        "pipeline"
    }

    fn rows(&self, _: &Layout) -> usize {
        1
    }

    /// Does steps that need no model.
    fn execute(&self, frame: &Frame, params: &Map<String, Value>, context: &Context<'_>) -> Result<Bytes> {
        self.execute_in(&Nobody, frame, params, context)
    }

    fn execute_in(
        &self,
        worker: &dyn Worker,
        request: &Frame,
        params: &Map<String, Value>,
        context: &Context<'_>,
    ) -> Result<Bytes> {
        let steps = params
            .get("steps")
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        let count = steps.len() as f64;
        let mut given = request.clone();
        let mut before = None;
        for (index, step) in steps.iter().enumerate() {
            let step = Step::new(step)?;
            let start = Instant::now();
            let progress = |done| context.report((index as f64 + done) / count);
            let is_last = index + 1 == steps.len();
            let part = Context {
                progress: &progress,
                // What only the next step reads is not where the caller reads.
                room: if is_last { context.room } else { &Heap },
                ..*context
            };
            let outcome = context.check().and_then(|()| {
                let frame = step.frame(&given, request, before)?;
                step.execute(worker, &frame, &part)
            });
            worker.step(&step, start, outcome.as_ref().err());
            let reply = outcome.and_then(Frame::decode);
            given = reply.map_err(|error| steps::named(index, step.operation, &error))?;
            before = Some(step.row);
            part.report(1.0);
        }
        Ok(given.bytes)
    }
}

impl<'a> Step<'a> {
    /// Reads a step that the contract has passed.
    ///
    /// # Errors
    /// `internal` when it has not.
    pub fn new(step: &'a Value) -> Result<Self> {
        let text = |key| step.get(key).and_then(Value::as_str);
        let object = |key| step.get(key).and_then(Value::as_object);
        let operation = text("operation").unwrap_or_default();
        let (Some(row), Some(params)) = (contract::operation(operation), object("params")) else {
            let message = format!("step {step} was not checked");
            return Err(Error::new(ErrorKind::Internal, message));
        };
        Ok(Self {
            operation,
            model: text("model"),
            row,
            params,
            inputs: object("inputs"),
            request_inputs: object("request_inputs"),
        })
    }

    fn execute(&self, worker: &dyn Worker, frame: &Frame, context: &Context<'_>) -> Result<Bytes> {
        if let Some(model) = self.model {
            return worker.infer(model, frame, self.params);
        }
        let unsupported = || Error::new(ErrorKind::Unsupported, "the operation is not done by this engine");
        let operation = find(self.operation).ok_or_else(unsupported)?;
        self.row.check_inputs(&frame.layout)?;
        operation.execute(frame, self.params, context)
    }

    /// The tensors that the step takes, by the names that it has for them.
    fn frame(&self, given: &Frame, request: &Frame, before: Option<&OperationRow>) -> Result<Frame> {
        let there: Vec<_> = given.layout.tensors.iter().map(|info| info.name.as_str()).collect();
        let pairs = self.pairs(&there, before)?;
        let owner = before.map_or("the request", |row| row.name.as_str());
        let mut taken = Vec::new();
        for (name, source) in &pairs {
            taken.push(tensor(name, source, given, owner)?);
        }
        for (name, source) in self.request_pairs(&pairs)? {
            taken.push(tensor(name, source, request, "the request")?);
        }
        let is_whole = taken.len() == given.layout.tensors.len()
            && pairs.len() == taken.len()
            && pairs.iter().all(|(name, source)| name == source);
        if is_whole {
            // The very bytes, with the parameters of this step.
            let mut layout = Layout::clone(&given.layout);
            layout.params.clone_from(self.params);
            return Frame::new(Arc::new(layout), given.bytes.clone());
        }
        Frame::decode(frame::encode(&taken, self.params)?)
    }

    /// What the step takes of the step before: its own name for each tensor, and the name there. `given` are the names
    /// of what there is; an operation `before` says which of them is the main one.
    ///
    /// # Errors
    /// `invalid_shape` when it is open which of them is meant.
    pub fn pairs<'b>(&'b self, given: &[&'b str], before: Option<&'b OperationRow>) -> Result<Vec<(&'b str, &'b str)>> {
        if self.inputs.is_some() {
            return Ok(names(self.inputs).collect());
        }
        let all = || given.iter().copied();
        let rows = self.row.declared_inputs();
        let takes = |name: &str| rows.is_none_or(|rows| rows.iter().any(|row| row.matches(name)));
        match (before, self.row.main_input()) {
            (Some(before), Some(main)) if !all().all(takes) => {
                let declared = before.main_output().map(|row| row.name.as_str());
                let source = all().find(|name| Some(*name) == declared);
                let only = || all().next().filter(|_| given.len() == 1);
                let source = source.or_else(only).ok_or_else(|| {
                    let listed = all().collect::<Vec<_>>().join(", ");
                    shape_error(format!("{} gives {listed}; say by 'inputs' which to take", before.name))
                })?;
                Ok(vec![(main.name.as_str(), source)])
            }
            _ => Ok(all().map(|name| (name, name)).collect()),
        }
    }

    /// What the step takes of the request beside `pairs` of the step before, in the same form.
    ///
    /// # Errors
    /// `invalid_shape` for a tensor that it would have twice.
    pub fn request_pairs(&self, pairs: &[(&str, &str)]) -> Result<Vec<(&'a str, &'a str)>> {
        let found: Vec<_> = names(self.request_inputs).collect();
        for (name, _) in &found {
            if pairs.iter().any(|(other, _)| other == name) {
                let message = format!("tensor '{name}' is given twice: of the step before, and of the request");
                return Err(shape_error(message));
            }
        }
        Ok(found)
    }

    /// The frame of a request for the step with these tensors.
    ///
    /// # Errors
    /// `invalid_shape` for tensors that the operation does not take, `invalid_frame` for more than fits.
    pub fn request(&self, tensors: &[Output<'_>]) -> Result<Bytes> {
        let frame = frame::encode(tensors, self.params)?;
        self.row.check_inputs(&Frame::decode(frame.clone())?.layout)?;
        Ok(frame)
    }
}

/// A tensor of a frame by another name.
///
/// # Errors
/// `invalid_shape` when it is not there; `owner` is who should have given it.
pub fn tensor<'a>(name: &'a str, source: &str, frame: &'a Frame, owner: &str) -> Result<Output<'a>> {
    let found = frame.layout.tensors.iter().find(|info| info.name == source);
    let info = found.ok_or_else(|| {
        let listed = frame
            .layout
            .tensors
            .iter()
            .map(|info| info.name.as_str())
            .collect::<Vec<_>>();
        let listed = if listed.is_empty() {
            "none".to_owned()
        } else {
            listed.join(", ")
        };
        shape_error(format!(
            "tensor '{name}' would be '{source}', but {owner} gives: {listed}"
        ))
    })?;
    Ok(Output {
        name,
        dtype: info.dtype,
        shape: &info.shape,
        data: &frame.bytes[info.start..info.end],
    })
}

fn names(map: Option<&Map<String, Value>>) -> impl Iterator<Item = (&str, &str)> {
    map.into_iter()
        .flatten()
        .filter_map(|(name, source)| Some((name.as_str(), source.as_str()?)))
}

/// Where there is no worker, there are no models.
struct Nobody;

impl Worker for Nobody {
    fn infer(&self, model: &str, _: &Frame, _: &Map<String, Value>) -> Result<Bytes> {
        let message = format!("model '{model}' is not here: models run in workers");
        Err(Error::new(ErrorKind::Unsupported, message))
    }

    fn step(&self, _: &Step<'_>, _: Instant, _: Option<&Error>) {}
}

fn shape_error(message: String) -> Error {
    Error::new(ErrorKind::InvalidShape, message)
}
