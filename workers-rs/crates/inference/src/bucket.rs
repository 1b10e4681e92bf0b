//! A model compiled for one row count, warmed up and measured.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::ModelOptions;
use crate::fixed::Bucket;
use crate::lane::{Lanes, Recipe};
use crate::openvino::{Compiled, Core, Failure, Graph, Request};
use crate::settings::{Settings, Threads};

/// Most time for measuring a bucket, after one inference to warm it up.
const MEASURE: Duration = Duration::from_millis(20);
/// Most inferences for measuring a bucket.
const REPEATS: usize = 20;

/// How inferences share the machine.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Mode {
    pub(crate) threads: Threads,
    /// Whether inferences cannot fail.
    pub(crate) quiet: bool,
    /// Inferences side by side.
    pub(crate) lanes: usize,
}

/// What the buckets of one model have in common.
#[derive(Clone, Copy)]
pub(crate) struct Shop<'a> {
    pub(crate) core: &'a Arc<Core>,
    pub(crate) options: &'a ModelOptions,
    pub(crate) settings: &'a Settings,
    /// Numbers of inputs and outputs.
    pub(crate) ports: (usize, usize),
}

impl Shop<'_> {
    /// Compiles a graph whose shapes hold `rows` rows; warms it up, and measures what an inference costs if that is not
    /// `known`.
    pub(crate) fn bucket(&self, graph: Graph, mode: Mode, rows: usize, known: Option<f64>) -> Result<Bucket, Failure> {
        let recipe = self.recipe(graph, mode);
        let mut requests = self.requests(&recipe, mode.lanes)?;
        let mut cost = f64::INFINITY;
        for request in &mut requests {
            match measure(request, self.ports.0, known) {
                Ok(measured) => cost = cost.min(measured),
                // Zeros may be what a model cannot take; a device that is not the CPU may as well be broken.
                Err(_) if self.settings.is_cpu() => *request = recipe.again()?,
                Err(failure) => return Err(failure),
            }
        }
        if cost.is_infinite() {
            cost = 100.0 * rows as f64;
        }
        Ok(Bucket {
            rows,
            cost,
            lanes: Lanes::new(requests, recipe),
        })
    }

    /// Compiles a graph of dynamic shapes.
    pub(crate) fn lanes(&self, graph: Graph, mode: Mode) -> Result<Lanes, Failure> {
        let recipe = self.recipe(graph, mode);
        Ok(Lanes::new(self.requests(&recipe, mode.lanes)?, recipe))
    }

    fn recipe(&self, graph: Graph, mode: Mode) -> Recipe {
        Recipe {
            core: Arc::clone(self.core),
            graph: graph.into(),
            settings: self.settings.clone(),
            threads: mode.threads,
            quiet: mode.quiet,
            ports: self.ports,
            patience: self.options.patience,
            budget: self.options.budget.clone(),
        }
    }

    fn requests(&self, recipe: &Recipe, lanes: usize) -> Result<Vec<Request>, Failure> {
        let compiled = recipe.compile()?;
        let mut requests = vec![recipe.request(&compiled)?];
        if matches!(recipe.threads, Threads::Streams(_)) {
            for _ in 1..lanes {
                requests.push(recipe.request(&compiled)?);
            }
        } else if self.settings.is_cpu() {
            // A compiled model runs one inference at a time there, so that each lane has its own.
            for _ in 1..lanes {
                requests.push(recipe.again()?);
            }
        } else {
            for _ in 1..side_by_side(&compiled, lanes) {
                requests.push(recipe.request(&compiled)?);
            }
        }
        Ok(requests)
    }
}

/// How many requests the device runs at the same time, up to `wanted`.
fn side_by_side(compiled: &Compiled, wanted: usize) -> usize {
    compiled
        .property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        .ok()
        .and_then(|number| number.parse().ok())
        .unwrap_or(1)
        .clamp(1, wanted.max(1))
}

/// Microseconds of the fastest of a few inferences over zeros; the first is not counted, and is the only one if that is
/// `known`.
fn measure(request: &mut Request, inputs: usize, known: Option<f64>) -> Result<f64, Failure> {
    for index in 0..inputs {
        request.input(index).clear();
    }
    request.infer()?;
    if let Some(cost) = known {
        return Ok(cost);
    }
    let (begin, mut fastest) = (Instant::now(), Duration::MAX);
    for _ in 0..REPEATS {
        let start = Instant::now();
        request.infer()?;
        fastest = fastest.min(start.elapsed());
        if begin.elapsed() > MEASURE {
            break;
        }
    }
    Ok(fastest.as_secs_f64() * 1e6)
}
