//! The shape that most requests have, of a model that leaves shapes open: it is compiled for, beside serving.
//!
//! On the CPU static shapes are a fifth faster than open ones, and twice as fast where the number of rows changes from
//! one inference to the next, since every change has all shapes worked out again.

use std::cell::{Cell, OnceCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use parking_lot::{Mutex, RwLock};

use crate::attempt::Attempt;
use crate::batch::{Member, Run as _};
use crate::openvino::Core;
use crate::settings::Settings;
use crate::{Joint, Model, ModelOptions, Port};

/// By how many batches a shape must lead before it is compiled for: shapes that take turns never get there, and what is
/// asked for in earnest does within a second.
const LEAD: u32 = 64;

/// The shapes after the rows, in the order of the inputs.
type Shapes = Vec<Vec<usize>>;

/// Finds the usual shape, and has it compiled for on a thread of its own, which ends with this at the latest.
pub(crate) struct Usual(Arc<Inner>);

struct Inner {
    core: Arc<Core>,
    options: ModelOptions,
    settings: Settings,
    inputs: Vec<Port>,
    outputs: usize,
    vote: Mutex<Vote>,
    form: RwLock<Option<Arc<Form>>>,
    builder: Mutex<Option<JoinHandle<()>>>,
    stop: AtomicBool,
}

/// A model compiled for one shape.
pub(crate) struct Form {
    shapes: Shapes,
    model: Model,
}

/// Votes as Boyer and Moore count them: whoever has the majority is the candidate in the end.
#[derive(Default)]
struct Vote {
    candidate: Shapes,
    lead: u32,
    /// The last one that was compiled for, or did not let itself be.
    tried: Option<Shapes>,
}

impl Usual {
    /// Nothing is usual yet of what is being built.
    pub(crate) fn new(attempt: &Attempt<'_>) -> Self {
        Self(Arc::new(Inner {
            core: Arc::clone(attempt.core),
            options: attempt.options.clone(),
            settings: attempt.settings.without_cache(),
            inputs: attempt.inputs.to_vec(),
            outputs: attempt.outputs,
            vote: Mutex::default(),
            form: RwLock::default(),
            builder: Mutex::default(),
            stop: AtomicBool::new(false),
        }))
    }

    /// What was compiled for the shape of these members, which is the same for all but for the rows; counts it.
    pub(crate) fn form_for(&self, members: &[Member<'_>]) -> Option<Arc<Form>> {
        let layout = &members.first()?.frame.layout;
        let shape = |port: &Port| layout.tensor(&port.name)?.shape.get(1..);
        let shapes = self.0.inputs.iter().map(shape).collect::<Option<Vec<_>>>()?;
        let is = |known: &Shapes| shapes == *known;
        let form = self.0.form.read().as_ref().filter(|form| is(&form.shapes)).cloned();
        let mut vote = self.0.vote.lock();
        if vote.lead > 0 && is(&vote.candidate) {
            vote.lead = (vote.lead + 1).min(LEAD);
        } else if vote.lead > 0 {
            vote.lead -= 1;
        } else {
            vote.candidate = shapes.iter().map(|shape| shape.to_vec()).collect();
            vote.lead = 1;
        }
        if vote.lead == LEAD && vote.tried.as_ref() != Some(&vote.candidate) {
            self.start(&mut vote);
        }
        form
    }

    /// Compiles for the candidate, unless that is still going on for another one.
    fn start(&self, vote: &mut Vote) {
        let mut builder = self.0.builder.lock();
        if builder.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return;
        }
        let (inner, shapes) = (Arc::clone(&self.0), vote.candidate.clone());
        let started = thread::Builder::new()
            .name("usual-shape".to_owned())
            .spawn(move || inner.build(shapes));
        // A system without room for a thread has none next time either, so that this shape counts as tried.
        vote.tried = Some(vote.candidate.clone());
        *builder = started.ok();
    }

    /// What there is a compiled form for.
    pub(crate) fn shapes(&self) -> Option<Shapes> {
        self.0.form.read().as_ref().map(|form| form.shapes.clone())
    }

    /// What is worth joining, where that is known.
    pub(crate) fn joint(&self) -> Option<Joint> {
        self.0.form.read().as_ref().map(|form| form.model.joint())
    }
}

impl Drop for Usual {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
        // OpenVINO must not be at work when the process ends.
        if let Some(builder) = self.0.builder.lock().take() {
            drop(builder.join());
        }
    }
}

impl Inner {
    /// A shape that does not let itself be compiled for is served as before.
    fn build(&self, shapes: Shapes) {
        let mut inputs = self.inputs.clone();
        for (port, shape) in inputs.iter_mut().zip(&shapes) {
            port.shape = std::iter::once(None).chain(shape.iter().copied().map(Some)).collect();
        }
        let attempt = Attempt {
            core: &self.core,
            options: &self.options,
            inputs: &inputs,
            settings: self.settings.clone(),
            stop: &self.stop,
            graph: Cell::default(),
            outputs: self.outputs,
            known: None,
            found: OnceCell::new(),
        };
        if let Ok(model) = attempt.by_rows() {
            *self.form.write() = Some(Arc::new(Form { shapes, model }));
        }
    }
}

impl Form {
    /// As the model itself would.
    pub(crate) fn run(&self, members: &[Member<'_>]) -> npufleet_wire::Result<Vec<bytes::Bytes>> {
        self.model.backend.run(members)
    }
}
