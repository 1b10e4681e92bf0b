//! Jobs that follow each other: what a plan says, and what each of its jobs takes of those before.
//!
//! A plan is a list of stages, done one after the other. A stage is one step, or a group of steps that are done at the
//! same time. A step is that of a pipeline; those of the first stage say what was submitted.

use bytes::Bytes;
use npufleet_operations::pipeline::{Step, tensor};
use npufleet_wire::contract::{self, OperationRow};
use npufleet_wire::{Dtype, Error, ErrorKind, Frame, Output, Result, steps};
use serde_json::{Value, json};

const STAGES: usize = 64;
const MEMBERS: usize = 1000;
const STAGES_NAME: &str = "stages";

/// One step and its place: `stage` and `number` count from 1, `count` is 0 where the stage is no group.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) step: Value,
    pub(super) stage: usize,
    pub(super) number: usize,
    pub(super) count: usize,
}

/// The stages, and the tensors that their steps may take of the plan itself.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) stages: Vec<Vec<Member>>,
    pub(super) constants: Frame,
}

impl Member {
    pub(super) fn operation(&self) -> &str {
        self.step["operation"].as_str().unwrap_or_default()
    }

    pub(super) fn model(&self) -> Option<&str> {
        self.step["model"].as_str()
    }

    /// The id of the step's job: the same whoever submits it, and however often.
    pub(super) fn job_id(&self, flow: &str) -> String {
        match self.count {
            0 => format!("{flow}-{}", self.stage),
            _ => format!("{flow}-{}-{}", self.stage, self.number),
        }
    }

    /// An error that names this step.
    pub(super) fn named(&self, error: &Error) -> Error {
        let Self {
            stage, number, count, ..
        } = self;
        let operation = match count {
            0 => self.operation().to_owned(),
            _ => format!("{}, member {number} of {count}", self.operation()),
        };
        steps::named(stage - 1, &operation, error)
    }

    fn read(index: usize, step: &Value, (number, count): (usize, usize)) -> Result<Self> {
        // What the first ones take is submitted already.
        let step = if index == 0 {
            submitted(step)?
        } else {
            steps::one(index, step, true)?
        };
        Ok(Self {
            step,
            stage: index + 1,
            number,
            count,
        })
    }
}

/// A step of the first stage, of which only the operation and the model matter.
fn submitted(step: &Value) -> Result<Value> {
    match step["operation"].as_str().and_then(contract::operation) {
        Some(row) => Ok(json!({"operation": row.name, "model": step.get("model").filter(|_| row.model)})),
        // It says why not.
        None => steps::one(0, step, true),
    }
}

impl Plan {
    /// Reads a plan.
    ///
    /// # Errors
    /// `invalid_frame` when it is none, `invalid_parameter` naming the step.
    pub(super) fn decode(bytes: Bytes) -> Result<Self> {
        let constants = Frame::decode(bytes)?;
        let Some(stages) = constants.layout.params.get(STAGES_NAME) else {
            let text = format!("the frame is no flow: it has no '{STAGES_NAME}'");
            return Err(Error::new(ErrorKind::InvalidFrame, text));
        };
        let listed = stages.as_array().map_or(&[][..], Vec::as_slice);
        if listed.is_empty() || listed.len() > STAGES {
            let count = listed.len();
            return Err(invalid(format!("a flow has {count} stages; allowed: 1 to {STAGES}")));
        }
        let stages = listed.iter().enumerate().map(|(index, stage)| match stage {
            Value::Array(steps) if steps.is_empty() || steps.len() > MEMBERS => {
                let (number, count) = (index + 1, steps.len());
                Err(invalid(format!(
                    "step {number} is a group of {count}; allowed: 1 to {MEMBERS}"
                )))
            }
            Value::Array(steps) => (1..)
                .zip(steps)
                .map(|(number, step)| Member::read(index, step, (number, steps.len())))
                .collect(),
            step => Ok(vec![Member::read(index, step, (1, 0))?]),
        });
        let stages = stages.collect::<Result<_>>()?;
        Ok(Self { stages, constants })
    }
}

/// The request of a step; `given` is what the steps `before` gave, in their order.
///
/// After a group, a name that all members gave is theirs stacked along a new first dimension, and `<n>.<name>` is what
/// the n-th gave.
///
/// # Errors
/// Whatever is wrong with what it takes, naming the step.
pub(super) fn request(member: &Member, before: &[Member], given: &[Frame], constants: &Frame) -> Result<Bytes> {
    taken(member, before, given, constants).map_err(|error| member.named(&error))
}

fn taken(member: &Member, before: &[Member], given: &[Frame], constants: &Frame) -> Result<Bytes> {
    let step = Step::new(&member.step)?;
    let row = row_of(before);
    let is_group = before.first().is_some_and(|first| first.count > 0);
    let common = common_names(given);
    let owner = row.map_or("the group", |row| row.name.as_str());
    if is_group && row.is_none() && member.step.get("inputs").is_none() {
        let text = "'inputs' is missing; it is needed after a group of different operations";
        return Err(invalid(text.to_owned()));
    }
    let pairs = step.pairs(&common, row)?;
    let constant_pairs = step.request_pairs(&pairs)?;
    let (mut parts, mut whole) = (Vec::new(), Vec::new());
    for (name, source) in &pairs {
        if !is_group {
            whole.push(tensor(name, source, &given[0], owner)?);
        } else if common.contains(source) {
            parts.push(Stacked::of(name, source, given)?);
        } else {
            whole.push(single(name, source, given, owner)?);
        }
    }
    for (name, source) in constant_pairs {
        whole.push(tensor(name, source, constants, "the request")?);
    }
    let stacked = parts.iter().map(|part| Output {
        name: part.name,
        dtype: part.dtype,
        shape: &part.shape,
        data: &part.data,
    });
    let outputs: Vec<_> = stacked.chain(whole).collect();
    step.request(&outputs)
}

/// The names that every frame has, in the order of the first.
fn common_names(given: &[Frame]) -> Vec<&str> {
    let first = given.first().into_iter().flat_map(|frame| &frame.layout.tensors);
    let names = first.map(|info| info.name.as_str());
    names
        .filter(|name| given.iter().all(|frame| frame.tensor(name).is_some()))
        .collect()
}

/// What one member of a group gave, as `<n>.<name>` says it.
fn single<'a>(name: &'a str, source: &str, given: &'a [Frame], owner: &str) -> Result<Output<'a>> {
    let found = source.split_once('.').and_then(|(number, rest)| {
        let frame = given.get(number.parse::<usize>().ok()?.checked_sub(1)?)?;
        tensor(name, rest, frame, owner).ok()
    });
    found.ok_or_else(|| {
        let mut listed: Vec<String> = common_names(given).into_iter().map(str::to_owned).collect();
        for (number, frame) in (1..).zip(given) {
            listed.extend(
                frame
                    .layout
                    .tensors
                    .iter()
                    .map(|info| format!("{number}.{}", info.name)),
            );
        }
        let listed = listed.join(", ");
        let text = format!("tensor '{name}' would be '{source}', but {owner} gives: {listed}");
        Error::new(ErrorKind::InvalidShape, text)
    })
}

/// What all members of a group gave, one after the other.
struct Stacked<'a> {
    name: &'a str,
    dtype: Dtype,
    shape: Vec<usize>,
    data: Vec<u8>,
}

impl<'a> Stacked<'a> {
    fn of(name: &'a str, source: &str, given: &[Frame]) -> Result<Self> {
        let tensors: Vec<_> = given.iter().filter_map(|frame| frame.tensor(source)).collect();
        let mut kinds: Vec<_> = tensors
            .iter()
            .map(|each| format!("{}{:?}", each.info.dtype.numpy(), each.info.shape))
            .collect();
        kinds.sort();
        kinds.dedup();
        let [first, ..] = &tensors[..] else {
            return Err(Error::new(ErrorKind::Internal, "a group of none was stacked"));
        };
        if kinds.len() > 1 {
            let shown = kinds.join(", ");
            let text = format!("tensor '{source}' of the group is {shown}; allowed: all alike, or 'inputs' by number");
            return Err(Error::new(ErrorKind::InvalidShape, text));
        }
        let shape = std::iter::once(tensors.len())
            .chain(first.info.shape.iter().copied())
            .collect();
        let data = tensors.iter().flat_map(|each| each.data).copied().collect();
        Ok(Self {
            name,
            dtype: first.info.dtype,
            shape,
            data,
        })
    }
}

/// The operation of all of them, if it is one.
fn row_of(members: &[Member]) -> Option<&'static OperationRow> {
    let (first, rest) = members.split_first()?;
    let is_one = rest.iter().all(|each| each.operation() == first.operation());
    contract::operation(first.operation()).filter(|_| is_one)
}

fn invalid(text: String) -> Error {
    Error::new(ErrorKind::InvalidParameter, text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Map;

    use super::*;

    fn plan(stages: Value) -> Result<Plan> {
        let params = Map::from_iter([(STAGES_NAME.to_owned(), stages)]);
        Plan::decode(npufleet_wire::frame::encode(&[], &params).unwrap())
    }

    fn frame(tensors: &[(&str, &[f64])]) -> Frame {
        let data: Vec<Vec<u8>> = tensors
            .iter()
            .map(|(_, values)| values.iter().flat_map(|value| value.to_le_bytes()).collect())
            .collect();
        let shapes: Vec<_> = tensors.iter().map(|(_, values)| [values.len()]).collect();
        let outputs: Vec<_> = tensors
            .iter()
            .zip(data.iter().zip(&shapes))
            .map(|((name, _), (data, shape))| Output {
                name,
                dtype: Dtype::F64,
                shape,
                data,
            })
            .collect();
        Frame::decode(npufleet_wire::frame::encode(&outputs, &Map::new()).unwrap()).unwrap()
    }

    /// Name, shape and numbers of a tensor.
    type Taken = (String, Vec<usize>, Vec<f64>);

    /// What a step takes after a group of two echoes.
    fn after(step: &Value, given: &[Frame]) -> Result<Vec<Taken>> {
        let plan = plan(json!([[{"operation": "echo"}, {"operation": "echo"}], step]))?;
        let made = request(&plan.stages[1][0], &plan.stages[0], given, &frame(&[("w", &[7.0])]))?;
        let made = Frame::decode(made)?;
        let numbers = |data: &[u8]| {
            data.chunks_exact(8)
                .map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap()))
                .collect()
        };
        let mut taken: Vec<_> = made
            .tensors()
            .map(|each| (each.info.name.clone(), each.info.shape.clone(), numbers(each.data)))
            .collect();
        taken.sort_by(|one, other| one.0.cmp(&other.0));
        Ok(taken)
    }

    #[test]
    fn ids_follow_from_the_plan() {
        let plan = plan(json!([{"operation": "fft"}, [{"operation": "echo"}, {"operation": "echo"}]])).unwrap();
        let ids: Vec<_> = plan.stages.iter().flatten().map(|member| member.job_id("f")).collect();
        assert_eq!(ids, ["f-1", "f-2-1", "f-2-2"]);
    }

    #[test]
    fn of_the_first_stage_only_the_operation_and_the_model_are_looked_at() {
        let plan = plan(
            json!([{"operation": "infer", "model": "m", "params": 3}, {"operation": "pipeline",
            "params": {"steps": [{"operation": "fft"}]}}]),
        );
        let first = &plan.unwrap().stages[0][0];
        assert_eq!((first.operation(), first.model()), ("infer", Some("m")));
    }

    #[test]
    fn what_a_step_takes_after_a_group() {
        let given = [
            frame(&[("x", &[0.0, 0.0]), ("a", &[1.0])]),
            frame(&[("x", &[1.0, 1.0])]),
        ];
        let stacked = vec![("x".to_owned(), vec![2, 2], vec![0.0, 0.0, 1.0, 1.0])];
        assert_eq!(after(&json!({"operation": "echo"}), &given).unwrap(), stacked);
        let picked = json!({"operation": "echo", "inputs": {"one": "2.x", "a": "1.a"}, "request_inputs": {"w": "w"}});
        let taken = after(&picked, &given).unwrap();
        let names: Vec<_> = taken.iter().map(|(name, _, numbers)| (&**name, numbers[0])).collect();
        assert_eq!(names, [("a", 1.0), ("one", 1.0), ("w", 7.0)]);
        let missing = after(&json!({"operation": "echo", "inputs": {"x": "3.x"}}), &given).unwrap_err();
        assert_eq!(missing.kind, ErrorKind::InvalidShape);
        assert!(missing.message.starts_with("step 2 (echo): ") && missing.message.contains("'3.x'"));
        let uneven = [frame(&[("x", &[0.0])]), frame(&[("x", &[1.0, 1.0])])];
        let error = after(&json!({"operation": "echo"}), &uneven).unwrap_err();
        assert!(error.message.contains("all alike"), "{error:?}");
    }

    #[test]
    fn what_is_no_plan_is_refused() {
        for stages in [
            json!([]),
            json!([[]]),
            json!("fft"),
            json!([{"operation": 3}]),
            json!([{"operation": "no"}]),
        ] {
            assert_eq!(
                plan(stages.clone()).unwrap_err().kind,
                ErrorKind::InvalidParameter,
                "{stages}"
            );
        }
        assert_eq!(
            Plan::decode(frame(&[]).bytes).unwrap_err().kind,
            ErrorKind::InvalidFrame
        );
        let many = Value::Array(vec![json!({"operation": "fft"}); STAGES + 1]);
        assert!(plan(many).unwrap_err().message.contains("65 stages"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            prop_assert!(Plan::decode(bytes.into()).is_err());
        }
    }
}
