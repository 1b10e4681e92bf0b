//! The row counts to compile for, and how many threads each inference gets: both are measured.

use std::cell::Cell;
use std::path::Path;
use std::thread::available_parallelism;

use crate::bucket::{Mode, Shop};
use crate::facts::Facts;
use crate::fixed::Bucket;
use crate::openvino::{Failure, Graph};
use crate::settings::Threads;
use crate::{Hint, ModelOptions, Port, quiet};

/// Below this time one thread is always faster: handing parts to other threads costs tens of microseconds.
const SMALL: f64 = 500.0;
/// Several threads must be this much faster to be worth keeping the other callers waiting.
const WORTH: f64 = 1.2;
/// From this time of one inference on, a larger bucket must make a row cheaper to be kept.
const LONG: f64 = 1000.0;
/// Bytes of a model's files from which on its weights, rather than its code, are what a compiled model costs.
const HEAVY: u64 = 16 << 20;
/// How much cheaper.
const GAIN: f64 = 0.95;

/// A model compiled for 1, 2, 4, ... rows.
pub(crate) struct Ladder {
    pub(crate) buckets: Vec<Bucket>,
    /// The outputs as the bucket of one row has them: static.
    pub(crate) outputs: Vec<Port>,
    pub(crate) mode: Mode,
}

impl Ladder {
    /// Compiles buckets up to `max_batch` rows; stops where long inferences gain nothing from more rows. Of what is
    /// known already nothing is measured.
    pub(crate) fn climb(
        shop: Shop<'_>,
        read: &impl Fn() -> Result<Graph, Failure>,
        options: &ModelOptions,
        inputs: &[Port],
        known: Option<&Facts>,
    ) -> Result<Self, Failure> {
        let (graph, outputs) = shaped(read()?, inputs, 1)?;
        let first = Cell::new(Some(graph));
        let one_row = || match first.take() {
            Some(graph) => Ok(graph),
            None => shaped(read()?, inputs, 1).map(|(graph, _)| graph),
        };
        let (first, mode) = first_bucket(shop, &one_row, options, known)?;
        let mut buckets = vec![first];
        if let Some(facts) = known {
            for (rows, cost) in &facts.buckets[1..] {
                let (graph, _) = shaped(read()?, inputs, *rows)?;
                buckets.push(shop.bucket(graph, mode, *rows, Some(*cost))?);
            }
            return Ok(Self { buckets, outputs, mode });
        }
        let mut rows = 1;
        while rows < options.max_batch {
            rows = (rows * 2).min(options.max_batch);
            let (graph, _) = shaped(read()?, inputs, rows)?;
            let bucket = shop.bucket(graph, mode, rows, None)?;
            let before = buckets
                .last()
                .map_or(f64::INFINITY, |last| last.cost / last.rows as f64);
            if bucket.cost > LONG && bucket.cost / rows as f64 > before * GAIN {
                break;
            }
            buckets.push(bucket);
        }
        Ok(Self { buckets, outputs, mode })
    }
}

/// Compiles for the shapes that `read` gives, and chooses the mode.
pub(crate) fn first_bucket(
    shop: Shop<'_>,
    read: &impl Fn() -> Result<Graph, Failure>,
    options: &ModelOptions,
    known: Option<&Facts>,
) -> Result<(Bucket, Mode), Failure> {
    let graph = read()?;
    if let Some(facts) = known
        && let Some((_, cost)) = facts.buckets.first()
    {
        return Ok((shop.bucket(graph, facts.mode, 1, Some(*cost))?, facts.mode));
    }
    let heavy = is_heavy(options);
    let quiet = !heavy && quiet::is_quiet(shop.core, &graph, shop.settings, shop.ports)?;
    let mut mode = mode(options, quiet, heavy);
    let mut bucket = shop.bucket(graph, mode, 1, None)?;
    if mode.threads == Threads::Caller && mode.lanes > 1 && bucket.cost > SMALL {
        // Callers that help each other are in each other's way; handing over costs nothing beside long inferences.
        mode.threads = Threads::Streams(mode.lanes);
        bucket = shop.bucket(read()?, mode, 1, None)?;
    }
    let helpers = Mode {
        // Helpers need every core, so that inferences side by side would only be in each other's way.
        threads: all_of(options),
        lanes: 1,
        ..mode
    };
    let open = options.threads == 0 && options.hint != Some(Hint::Throughput) && options.instances.is_none();
    if open && shop.settings.is_cpu() && bucket.cost > SMALL && helpers != mode {
        let helped = shop.bucket(read()?, helpers, 1, None)?;
        let worth = if options.hint == Some(Hint::Latency) {
            1.0
        } else {
            WORTH
        };
        if helped.cost * worth < bucket.cost {
            return Ok((helped, helpers));
        }
    }
    Ok((bucket, mode))
}

/// How to run a model whose inferences cannot fail (`quiet`), or may, and which is large (`heavy`), or not.
pub(crate) fn mode(options: &ModelOptions, quiet: bool, heavy: bool) -> Mode {
    let throughput = options.hint == Some(Hint::Throughput);
    let most = options.parallel.min(options.budget.total()).max(1);
    let lanes = match options.instances {
        Some(instances) => instances,
        None if heavy && options.hint == Some(Hint::Latency) => 1,
        None => most,
    };
    let threads = match options.threads {
        // Every compiled model has its weights prepared for itself: the inferences of a large one share one.
        0 if heavy && lanes > 1 => Threads::Streams(lanes),
        0 if heavy => all_of(options),
        0 if quiet || throughput || options.budget.total() < cores() => Threads::Count(1),
        0 => Threads::Caller,
        count => Threads::Count(count),
    };
    Mode { threads, quiet, lanes }
}

/// Whether a model's weights are so large that it must not be compiled more often than needed.
pub(crate) fn is_heavy(options: &ModelOptions) -> bool {
    let size = |path: &Path| path.metadata().map_or(0, |metadata| metadata.len());
    size(&options.path) + size(&options.path.with_extension("bin")) >= HEAVY
}

/// The whole budget for one inference.
fn all_of(options: &ModelOptions) -> Threads {
    Threads::Count(options.budget.total().min(cores()))
}

fn cores() -> usize {
    available_parallelism().map_or(1, usize::from)
}

/// Gives the graph `rows` rows; every output must follow.
fn shaped(mut graph: Graph, inputs: &[Port], rows: usize) -> Result<(Graph, Vec<Port>), Failure> {
    let shapes: Vec<_> = inputs
        .iter()
        .map(|port| {
            let mut shape = port.shape.clone();
            shape[0] = Some(rows);
            shape
        })
        .collect();
    graph.reshape(&shapes)?;
    let outputs = graph
        .outputs()?
        .iter()
        .enumerate()
        .map(|(index, raw)| Port::new(raw, "output", index))
        .collect::<Result<Vec<_>, Failure>>()?;
    match outputs
        .iter()
        .find(|port| port.shape.first() != Some(&Some(rows)) || port.shape.contains(&None))
    {
        Some(port) => Err(Failure::new(format!(
            "output {port} does not follow {rows} rows of input"
        ))),
        None => Ok((graph, outputs)),
    }
}
