//! Requests that run side by side, and how a request that failed is made anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::Budget;
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
    /// How long a device that is not the CPU may take.
    pub(crate) patience: Duration,
    pub(crate) budget: Budget,
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

    /// One thread, called directly, loses failures; OpenVINO may settle on one although more were asked for.
    fn call(&self, compiled: &Compiled) -> Call {
        if !self.settings.is_cpu() {
            return Call::Watched(self.patience);
        }
        let several = match self.threads {
            Threads::Caller => true,
            Threads::Streams(_) => false,
            Threads::Count(_) => compiled
                .property("INFERENCE_NUM_THREADS")
                .is_ok_and(|threads| threads != "1"),
        };
        let shared = matches!(self.threads, Threads::Streams(_));
        if (self.quiet || several) && !shared {
            Call::Direct
        } else {
            Call::Queued
        }
    }

    /// Threads of the budget that one of `lanes` inferences takes.
    fn share(&self, lanes: usize) -> usize {
        match self.threads {
            _ if !self.settings.is_cpu() => 0,
            Threads::Count(count) => count,
            // Helpers are lent where they are free; one that runs alone is made to use them all.
            Threads::Caller if lanes == 1 => self.budget.total(),
            Threads::Caller | Threads::Streams(_) => 1,
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
    spoilt: bool,
}

impl Lane {
    fn run<R>(
        &mut self,
        recipe: Option<&Recipe>,
        work: impl FnOnce(&mut Request) -> npufleet_wire::Result<R>,
    ) -> npufleet_wire::Result<R> {
        if self.spoilt
            && let Some(recipe) = recipe
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
    all: Vec<Mutex<Lane>>,
    next: AtomicUsize,
    /// Kept where failures spoil a request.
    recipe: Option<Recipe>,
    budget: Budget,
    share: usize,
}

impl Lanes {
    /// Lanes of one graph.
    pub(crate) fn new(requests: Vec<Request>, recipe: Recipe) -> Self {
        let (budget, share) = (recipe.budget.clone(), recipe.share(requests.len()));
        let dynamic = recipe.graph.lock().is_dynamic();
        let lanes = requests
            .into_iter()
            .map(|request| Mutex::new(Lane { request, spoilt: false }));
        Self {
            all: lanes.collect(),
            next: AtomicUsize::new(0),
            recipe: dynamic.then_some(recipe),
            budget,
            share,
        }
    }

    /// Runs `work` with a free request, or waits for one, and for its threads.
    pub(crate) fn with<R>(
        &self,
        work: impl FnOnce(&mut Request) -> npufleet_wire::Result<R>,
    ) -> npufleet_wire::Result<R> {
        let free = self.all.iter().find_map(Mutex::try_lock);
        let mut lane = free.unwrap_or_else(|| {
            let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.all.len();
            self.all[turn].lock()
        });
        let _share = self.budget.take(self.share);
        lane.run(self.recipe.as_ref(), work)
    }
}
