//! The row counts to compile for, and how many threads each inference gets: both are measured.

use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use crate::fixed::{Bucket, Lanes};
use crate::openvino::{Compiled, Core, Failure, Graph, Request};
use crate::settings::Settings;
use crate::{ModelOptions, Port};

/// Below this time one thread is always faster: handing parts to other threads costs tens of microseconds.
const SMALL: f64 = 500.0;
/// Several threads must be this much faster to be worth keeping the other callers waiting.
const WORTH: f64 = 1.2;
/// From this time of one inference on, a larger bucket must make a row cheaper to be kept.
const LONG: f64 = 1000.0;
/// How much cheaper.
const GAIN: f64 = 0.95;
/// Most time for measuring a bucket, after one inference to warm it up.
const MEASURE: Duration = Duration::from_millis(20);
/// Most inferences for measuring a bucket.
const REPEATS: usize = 20;

/// A model compiled for 1, 2, 4, ... rows.
pub(crate) struct Ladder {
    pub(crate) buckets: Vec<Bucket>,
    /// The outputs as the bucket of one row has them: static.
    pub(crate) outputs: Vec<Port>,
}

impl Ladder {
    /// Compiles buckets up to `max_batch` rows; stops where long inferences gain nothing from more rows.
    pub(crate) fn climb(
        core: &Arc<Core>,
        graph: &mut Graph,
        settings: &Settings,
        options: &ModelOptions,
        inputs: &[Port],
    ) -> Result<Self, Failure> {
        let outputs = shaped(graph, inputs, 1)?;
        let ports = (inputs.len(), outputs.len());
        let (first, mode) = compile_first(core, graph, settings, options, ports)?;
        let mut buckets = vec![first];
        let mut rows = 1;
        while rows < options.max_batch {
            rows = (rows * 2).min(options.max_batch);
            shaped(graph, inputs, rows)?;
            let bucket = compile(core, graph, settings, mode, ports, rows)?;
            let before = buckets.last().map_or(f64::INFINITY, |last| last.cost / last.rows as f64);
            if bucket.cost > LONG && bucket.cost / rows as f64 > before * GAIN {
                break;
            }
            buckets.push(bucket);
        }
        Ok(Self { buckets, outputs })
    }
}

/// How inferences share the machine.
#[derive(Clone, Copy)]
pub(crate) struct Mode {
    /// Threads per inference; `None` leaves it to OpenVINO.
    threads: Option<usize>,
    /// Inferences side by side.
    lanes: usize,
    /// Whether each lane is a compiled model of its own: on the CPU, one lets a single inference run at a time.
    apart: bool,
}

/// Compiles for the graph's present shapes, and chooses the mode.
pub(crate) fn compile_first(
    core: &Arc<Core>,
    graph: &Graph,
    settings: &Settings,
    options: &ModelOptions,
    ports: (usize, usize),
) -> Result<(Bucket, Mode), Failure> {
    let cores = available_parallelism().map_or(1, usize::from);
    let parallel = options.parallel.clamp(1, cores);
    let mode = |threads, apart| Mode { threads, lanes: parallel, apart };
    if !settings.is_cpu() {
        let mode = mode(None, false);
        return Ok((compile(core, graph, settings, mode, ports, 1)?, mode));
    }
    if options.threads > 0 {
        let mode = mode(Some(options.threads), true);
        return Ok((compile(core, graph, settings, mode, ports, 1)?, mode));
    }
    let one = mode(Some(1), true);
    let single = compile(core, graph, settings, one, ports, 1)?;
    if single.cost > SMALL && cores > 1 {
        let many = mode(None, false);
        let spread = compile(core, graph, settings, many, ports, 1)?;
        if spread.cost * WORTH < single.cost {
            return Ok((spread, many));
        }
    }
    Ok((single, one))
}

/// Gives the graph `rows` rows; every output must follow.
fn shaped(graph: &mut Graph, inputs: &[Port], rows: usize) -> Result<Vec<Port>, Failure> {
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
        Some(port) => Err(Failure::new(format!("output {port} does not follow {rows} rows of input"))),
        None => Ok(outputs),
    }
}

fn compile(
    core: &Arc<Core>,
    graph: &Graph,
    settings: &Settings,
    mode: Mode,
    (inputs, outputs): (usize, usize),
    rows: usize,
) -> Result<Bucket, Failure> {
    let properties = settings.properties(mode.threads);
    let compiled = core.compile(graph, &settings.device, &properties)?;
    let lanes = if mode.apart { mode.lanes } else { side_by_side(&compiled, mode.lanes) };
    let mut requests = vec![compiled.request(inputs, outputs)?];
    for _ in 1..lanes {
        requests.push(if mode.apart {
            core.compile(graph, &settings.device, &properties)?.request(inputs, outputs)?
        } else {
            compiled.request(inputs, outputs)?
        });
    }
    let mut cost = f64::INFINITY;
    for request in &mut requests {
        match measure(request, inputs) {
            Ok(measured) => cost = cost.min(measured),
            // Zeros may be what a model cannot take; a device that is not the CPU may as well be broken.
            Err(_) if settings.is_cpu() => {}
            Err(failure) => return Err(failure),
        }
    }
    if cost.is_infinite() {
        cost = 100.0 * rows as f64;
    }
    Ok(Bucket {
        rows,
        cost,
        lanes: Lanes::new(requests),
    })
}

/// How many requests the device runs at the same time, up to `wanted`.
fn side_by_side(compiled: &Compiled, wanted: usize) -> usize {
    compiled
        .property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        .ok()
        .and_then(|number| number.parse().ok())
        .unwrap_or(1)
        .clamp(1, wanted)
}

/// Microseconds of the fastest of a few inferences over zeros; the first is not counted.
fn measure(request: &mut Request, inputs: usize) -> Result<f64, Failure> {
    for index in 0..inputs {
        let tensor = request.input(index);
        let zeros = vec![0; tensor.length()];
        tensor.write(0, &zeros);
    }
    request.infer()?;
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
