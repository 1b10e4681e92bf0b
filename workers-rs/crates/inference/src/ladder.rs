//! The row counts to compile for, and how many threads each inference gets: both are measured.

use std::thread::available_parallelism;

use crate::bucket::{Mode, Shop};
use crate::fixed::Bucket;
use crate::openvino::{Failure, Graph};
use crate::settings::Threads;
use crate::{ModelOptions, Port, quiet};

/// Below this time one thread is always faster: handing parts to other threads costs tens of microseconds.
const SMALL: f64 = 500.0;
/// Several threads must be this much faster to be worth keeping the other callers waiting.
const WORTH: f64 = 1.2;
/// From this time of one inference on, a larger bucket must make a row cheaper to be kept.
const LONG: f64 = 1000.0;
/// How much cheaper.
const GAIN: f64 = 0.95;

/// A model compiled for 1, 2, 4, ... rows.
pub(crate) struct Ladder {
    pub(crate) buckets: Vec<Bucket>,
    /// The outputs as the bucket of one row has them: static.
    pub(crate) outputs: Vec<Port>,
}

impl Ladder {
    /// Compiles buckets up to `max_batch` rows; stops where long inferences gain nothing from more rows.
    pub(crate) fn climb(
        shop: Shop<'_>,
        read: &impl Fn() -> Result<Graph, Failure>,
        options: &ModelOptions,
        inputs: &[Port],
    ) -> Result<Self, Failure> {
        let one_row = || shaped(read()?, inputs, 1).map(|(graph, _)| graph);
        let (_, outputs) = shaped(read()?, inputs, 1)?;
        let (first, mode) = first_bucket(shop, &one_row, options)?;
        let mut buckets = vec![first];
        let mut rows = 1;
        while rows < options.max_batch {
            rows = (rows * 2).min(options.max_batch);
            let (graph, _) = shaped(read()?, inputs, rows)?;
            let bucket = shop.bucket(graph, mode, rows)?;
            let before = buckets
                .last()
                .map_or(f64::INFINITY, |last| last.cost / last.rows as f64);
            if bucket.cost > LONG && bucket.cost / rows as f64 > before * GAIN {
                break;
            }
            buckets.push(bucket);
        }
        Ok(Self { buckets, outputs })
    }
}

/// Compiles for the shapes that `read` gives, and chooses the mode.
pub(crate) fn first_bucket(
    shop: Shop<'_>,
    read: &impl Fn() -> Result<Graph, Failure>,
    options: &ModelOptions,
) -> Result<(Bucket, Mode), Failure> {
    let graph = read()?;
    let quiet = quiet::is_quiet(shop.core, &graph, shop.settings, shop.ports)?;
    let mode = mode(options, quiet);
    let bucket = shop.bucket(graph, mode, 1)?;
    if options.threads == 0 && shop.settings.is_cpu() && bucket.cost > SMALL {
        // Helpers need every core, so that inferences side by side would only be in each other's way.
        let spread = Mode {
            threads: Threads::Caller,
            lanes: 1,
            ..mode
        };
        let helped = shop.bucket(read()?, spread, 1)?;
        if mode.threads == Threads::Caller || helped.cost * WORTH < bucket.cost {
            return Ok((helped, spread));
        }
    }
    Ok((bucket, mode))
}

/// How to run a model whose inferences cannot fail (`quiet`), or may.
pub(crate) fn mode(options: &ModelOptions, quiet: bool) -> Mode {
    let cores = available_parallelism().map_or(1, usize::from);
    Mode {
        threads: match options.threads {
            0 if quiet => Threads::Count(1),
            0 => Threads::Caller,
            count => Threads::Count(count),
        },
        quiet,
        lanes: options.parallel.clamp(1, cores),
    }
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
