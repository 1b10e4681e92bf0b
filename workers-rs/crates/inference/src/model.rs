//! A compiled model: frames in, frames out.

use bytes::Bytes;
use npufleet_wire::{Frame, Layout, Result};

use crate::batch::{Member, Run, run_split};
use crate::fixed::Fixed;
use crate::flexible::Flexible;
use crate::memory::GiveBack;
use crate::usual::Usual;
use crate::{Port, check};

/// How a model is executed.
pub(crate) enum Backend {
    Fixed(Fixed),
    Flexible(Flexible),
}

impl Run for Backend {
    fn run(&self, members: &[Member<'_>]) -> Result<Vec<Bytes>> {
        match self {
            Self::Fixed(fixed) => fixed.run(members),
            Self::Flexible(flexible) => flexible.run(members),
        }
    }
}

/// Rows that are worth joining.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joint {
    /// In one inference: with more of them a row becomes no cheaper.
    pub inference: usize,
    /// In all: the first answers of a batch wait for its last ones, and with more rows they would only do that.
    pub rows: usize,
}

impl Joint {
    pub(crate) fn of(rows: usize) -> Self {
        Self { inference: rows, rows }
    }
}

/// A model on a device, warmed up and ready; share it between threads with an `Arc`.
pub struct Model {
    pub(crate) device: String,
    pub(crate) notes: Vec<String>,
    pub(crate) inputs: Vec<Port>,
    pub(crate) outputs: Vec<Port>,
    pub(crate) max_batch: usize,
    pub(crate) joins: bool,
    pub(crate) backend: Backend,
    /// Last, so that all of the above is free by then.
    pub(crate) _freed: GiveBack,
}

impl Model {
    /// Where it runs: `NPU`, `GPU` or `CPU`.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// Why it does not run elsewhere or otherwise: devices that were skipped, and batching that was turned off.
    pub fn device_notes(&self) -> &[String] {
        &self.notes
    }

    /// The tensors it wants.
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// The tensors it gives.
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// Most rows in one batch; for a model with a static first dimension, exactly the rows of every request.
    pub fn max_batch(&self) -> usize {
        self.max_batch
    }

    /// How many rows are worth joining; 1 where requests may not share an inference.
    pub fn joint(&self) -> Joint {
        match &self.backend {
            _ if !self.joins => Joint::of(1),
            Backend::Fixed(fixed) => fixed.joint(),
            Backend::Flexible(flexible) => flexible.joint().unwrap_or(Joint::of(self.max_batch)),
        }
    }

    /// Whether requests may share an inference. If not, `infer` runs them one by one.
    pub fn joins(&self) -> bool {
        self.joins
    }

    /// Checks the tensors of a request and gives its number of rows.
    ///
    /// # Errors
    /// `invalid_shape` naming the tensor, what it is and what the model wants.
    pub fn check(&self, layout: &Layout) -> Result<usize> {
        check::rows(&self.inputs, self.max_batch, layout)
    }

    /// Whether the device still does its work: infers once on zeros, which it could when the model was loaded.
    ///
    /// # Errors
    /// `device_lost` or `internal` when it does not; never for a model whose shapes are open.
    pub fn answers(&self) -> Result<()> {
        match &self.backend {
            Backend::Fixed(fixed) => fixed.try_zeros(),
            Backend::Flexible(_) => Ok(()),
        }
    }

    /// The shapes after the rows for which a model of open shapes has been compiled, because most requests have them;
    /// none while there is no such majority, and for any other model.
    pub fn usual_shapes(&self) -> Option<Vec<Vec<usize>>> {
        match &self.backend {
            Backend::Fixed(_) => None,
            Backend::Flexible(flexible) => flexible.usual.as_ref().and_then(Usual::shapes),
        }
    }

    /// Answers every member with a reply frame or an error, in their order.
    ///
    /// Members that fit together run in one inference; when it fails they are run in halves, so that only those fail
    /// that fail alone. Blocks the calling thread; several threads may call at the same time.
    ///
    /// # Errors
    /// Per member: `invalid_shape` as from `check`, `device_lost` when the device is gone, `internal` when the
    /// inference failed.
    pub fn infer(&self, members: &[Frame]) -> Vec<Result<Bytes>> {
        let checked: Vec<_> = members.iter().map(|frame| self.check(&frame.layout)).collect();
        let mut replies: Vec<Option<Result<Bytes>>> = checked
            .iter()
            .map(|rows| rows.as_ref().err().map(|error| Err(error.clone())))
            .collect();
        let mut waiting: Vec<usize> = (0..members.len()).filter(|index| checked[*index].is_ok()).collect();
        let mut group = Vec::with_capacity(waiting.len());
        let mut answers = Vec::with_capacity(waiting.len());
        while let Some(first) = waiting.first().copied() {
            let (taken, rest): (Vec<_>, Vec<_>) = self.select(members, &checked, &waiting, first);
            group.clear();
            group.extend(taken.iter().map(|index| Member {
                frame: &members[*index],
                rows: *checked[*index].as_ref().unwrap_or(&0),
            }));
            answers.clear();
            run_split(&self.backend, &group, &mut answers);
            for (index, answer) in taken.into_iter().zip(answers.drain(..)) {
                replies[index] = Some(answer);
            }
            waiting = rest;
        }
        replies.into_iter().flatten().collect()
    }

    /// Those of `waiting` that may run with `first`, and the others.
    fn select(
        &self,
        members: &[Frame],
        checked: &[Result<usize>],
        waiting: &[usize],
        first: usize,
    ) -> (Vec<usize>, Vec<usize>) {
        if !self.joins {
            return waiting.iter().partition(|index| **index == first);
        }
        if matches!(self.backend, Backend::Fixed(_)) {
            return (waiting.to_vec(), Vec::new());
        }
        let mut room = self.max_batch;
        waiting.iter().partition(|index| {
            let rows = *checked[**index].as_ref().unwrap_or(&0);
            let fits = rows <= room && self.alike(&members[first].layout, &members[**index].layout);
            room -= if fits { rows } else { 0 };
            fits
        })
    }

    /// Whether two requests have equal shapes but for the first dimension.
    fn alike(&self, a: &Layout, b: &Layout) -> bool {
        self.inputs.iter().all(|port| {
            let shapes = (a.tensor(&port.name), b.tensor(&port.name));
            matches!(shapes, (Some(a), Some(b)) if a.shape.get(1..) == b.shape.get(1..))
        })
    }
}
