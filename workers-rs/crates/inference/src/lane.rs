//! Requests that run side by side, and how a request that failed is made anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::openvino::{Call, Compiled, Core, Failure, Graph, Request};
use crate::settings::{Settings, Threads};

/// Everything it takes to compile a graph, as it is shaped now, and to make a request.
pub(crate) struct Recipe {
    pub(crate) core: Arc<Core>,
    pub(crate) graph: Mutex<Graph>,
    pub(crate) settings: Settings,
    pub(crate) threads: Threads,
    /// Whether its inferences cannot fail; see `quiet`.
    pub(crate) quiet: bool,
    /// Numbers of inputs and outputs.
    pub(crate) ports: (usize, usize),
}

impl Recipe {
    pub(crate) fn compile(&self) -> Result<Compiled, Failure> {
        let properties = self.settings.properties(self.threads);
        self.core
            .compile(&self.graph.lock(), &self.settings.device, &properties)
    }

    /// A request of a compiled model of its own.
    pub(crate) fn again(&self) -> Result<Request, Failure> {
        self.request(&self.compile()?)
    }

    pub(crate) fn request(&self, compiled: &Compiled) -> Result<Request, Failure> {
        let (inputs, outputs) = self.ports;
        compiled.request(inputs, outputs, self.call(compiled))
    }
}

impl Recipe {
    /// One thread, called directly, loses failures; OpenVINO may settle on one although more were asked for.
    fn call(&self, compiled: &Compiled) -> Call {
        let several = match self.threads {
            Threads::Caller => true,
            Threads::Count(_) => compiled
                .property("INFERENCE_NUM_THREADS")
                .is_ok_and(|threads| threads != "1"),
        };
        if self.quiet || several || !self.settings.is_cpu() {
            Call::Direct
        } else {
            Call::Queued
        }
    }
}

/// A request, and for graphs with dynamic shapes what it takes to make it anew.
///
/// OpenVINO's CPU plugin remembers the shapes of the last inference, also of one that failed half-way: when the next
/// one has the same shapes, nothing is worked out again, and it can succeed with wrong results. Such a model is
/// compiled again after a failure.
struct Lane {
    request: Request,
    recipe: Option<Arc<Recipe>>,
    spoilt: bool,
}

impl Lane {
    fn run<R>(&mut self, work: impl FnOnce(&mut Request) -> npufleet_wire::Result<R>) -> npufleet_wire::Result<R> {
        if self.spoilt
            && let Some(recipe) = &self.recipe
        {
            self.request = recipe
                .again()
                .map_err(|failure| failure.into_run_error(&recipe.settings.device))?;
            self.spoilt = false;
        }
        let result = work(&mut self.request);
        self.spoilt = result.is_err();
        result
    }
}

/// One request per thread that infers at the same time.
pub(crate) struct Lanes {
    lanes: Vec<Mutex<Lane>>,
    next: AtomicUsize,
}

impl Lanes {
    /// Lanes of one graph; its recipe is kept if failures spoil it.
    pub(crate) fn new(requests: Vec<Request>, recipe: Recipe) -> Self {
        let dynamic = recipe.graph.lock().is_dynamic();
        let recipe = dynamic.then(|| Arc::new(recipe));
        let lanes = requests.into_iter().map(|request| {
            Mutex::new(Lane {
                request,
                recipe: recipe.clone(),
                spoilt: false,
            })
        });
        Self {
            lanes: lanes.collect(),
            next: AtomicUsize::new(0),
        }
    }

    /// Runs `work` with a free request, or waits for one.
    pub(crate) fn with<R>(
        &self,
        work: impl FnOnce(&mut Request) -> npufleet_wire::Result<R>,
    ) -> npufleet_wire::Result<R> {
        for lane in &self.lanes {
            if let Some(mut lane) = lane.try_lock() {
                return lane.run(work);
            }
        }
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.lanes.len();
        self.lanes[turn].lock().run(work)
    }
}
