//! Jobs that follow each other: what a plan says, and what each of its jobs takes of those before.
//!
//! A plan is a list of stages, done one after the other. A stage is one step, or a group of steps that are done at the
//! same time. A step is that of a pipeline; those of the first stage say what was submitted.

use bytes::Bytes;
use npufleet_operations::pipeline::{Step, tensor};
use npufleet_wire::contract::{self, OperationRow};
use npufleet_wire::{Dtype, Error, ErrorKind, Frame, Output, Result, steps};
use serde_json::{Map, Value, json};

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
        let stages: Vec<Vec<Member>> = stages.collect::<Result<_>>()?;
        for pair in stages.windows(2) {
            let (before, stage) = (row_of(&pair[0]), &pair[1]);
            for member in stage {
                check_wiring(before, member).map_err(|error| member.named(&error))?;
            }
        }
        Ok(Self { stages, constants })
    }
}

/// Refuses what can be known to fail before anything has run; `before` is the operation of the stage before, if it is one.
fn check_wiring(before: Option<&OperationRow>, member: &Member) -> Result<()> {
    let Some(row) = contract::operation(member.operation()).filter(|row| row.declared_inputs().is_some()) else {
        return Ok(());
    };
    let given = ["inputs", "request_inputs"].map(|key| member.step[key].as_object());
    for name in given.into_iter().flatten().flat_map(Map::keys) {
        row.input(name).map_err(|error| invalid(error.message))?;
    }
    if before.is_none() && given[0].is_none() {
        let text = "'inputs' is missing; it is needed after a group of different operations";
        return Err(invalid(text.to_owned()));
    }
    Ok(())
}

/// The request of a step; `given` is what the steps `before` gave, in their order.
///
/// After a group, a name that all members gave is theirs stacked along a new first dimension, and `<n>.<name>` is what
/// the n-th gave. It is checked as far as the contract's rows say: what only the operation can refuse, its job does.
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
        let index = number.parse::<usize>().ok()?.checked_sub(1)?;
        // Only as it is listed: neither `+1` nor `01`.
        let is_plain = number.bytes().all(|byte| byte.is_ascii_digit()) && !number.starts_with('0');
        let frame = given.get(index).filter(|_| is_plain)?;
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

    use super::*;

    const VECTORS: &str = include_str!("../../../../../broker/contract/vectors/plans.json");

    fn cases(group: &str) -> Vec<Value> {
        let mut vectors: Value = serde_json::from_str(VECTORS).unwrap();
        serde_json::from_value(vectors[group].take()).unwrap()
    }

    fn bytes(hex: &Value) -> Bytes {
        let digits = hex.as_str().unwrap();
        let bytes = (0..digits.len()).step_by(2);
        bytes
            .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
            .collect()
    }

    fn assert_refused<T: std::fmt::Debug>(found: Result<T>, case: &Value) {
        let (name, error) = (&case["name"], found.unwrap_err());
        assert_eq!(case["kind"], error.kind.as_str(), "{name}: {error:?}");
        assert!(
            error.message.starts_with(case["says"].as_str().unwrap()),
            "{name}: {error:?}"
        );
    }

    #[test]
    fn valid_plans() {
        for case in cases("valid") {
            let plan = Plan::decode(bytes(&case["frame_hex"])).unwrap();
            let of_all = |show: &dyn Fn(&Member) -> String| {
                let stages = plan.stages.iter();
                json!(
                    stages
                        .map(|stage| stage.iter().map(show).collect::<Vec<_>>())
                        .collect::<Vec<_>>()
                )
            };
            assert_eq!(case["jobs"], of_all(&|member| member.job_id("f")), "{}", case["name"]);
            let what = of_all(&|member| match member.model() {
                Some(model) => format!("{}.{model}", member.operation()),
                None => member.operation().to_owned(),
            });
            assert_eq!(case["what"], what, "{}", case["name"]);
        }
    }

    #[test]
    fn invalid_plans() {
        for case in cases("invalid") {
            assert_refused(Plan::decode(bytes(&case["frame_hex"])), &case);
        }
    }

    #[test]
    fn requests_of_steps() {
        for case in cases("requests") {
            let name = &case["name"];
            let plan = Plan::decode(bytes(&case["frame_hex"])).unwrap();
            let given = case["given_hex"].as_array().unwrap();
            let given: Vec<_> = given.iter().map(|each| Frame::decode(bytes(each)).unwrap()).collect();
            let [before, stage] = &plan.stages[..] else {
                panic!("{name}: not two stages");
            };
            let made = request(stage.last().unwrap(), before, &given, &plan.constants);
            let Some(expected) = case.get("expect_hex") else {
                assert_refused(made, &case);
                continue;
            };
            let (made, expected) = (
                Frame::decode(made.unwrap()).unwrap(),
                Frame::decode(bytes(expected)).unwrap(),
            );
            assert_eq!(made.layout.params, expected.layout.params, "{name}");
            assert_eq!(made.layout.tensors.len(), expected.layout.tensors.len(), "{name}");
            for expected in expected.tensors() {
                let made = made.tensor(&expected.info.name).unwrap();
                let described = |info: &npufleet_wire::TensorInfo| (info.dtype, info.shape.clone());
                assert_eq!(described(made.info), described(expected.info), "{name}");
                assert_eq!(made.data, expected.data, "{name}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            prop_assert!(Plan::decode(bytes.into()).is_err());
        }
    }
}
