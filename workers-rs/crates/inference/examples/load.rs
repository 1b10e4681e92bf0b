//! How long a model takes to load from the cache, and what it costs: `load MODEL [--loads 20] [--max-batch 32]
//! [--cache DIR] [--digest NAME]`.
//!
//! The first load fills the cache and is not counted. Every load ends with an inference of one row of zeros. Prints one
//! JSON object: milliseconds of a load (median and minimum), loads per second, bytes of the model's files, and by how
//! many bytes resident memory grew with one of them.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Instant;

use npufleet_inference::{Model, ModelOptions, Port, Runtime};
use npufleet_wire::frame::{Output, encode};
use npufleet_wire::{Frame, frame};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let mut options = ModelOptions::new("");
    options.devices = vec!["CPU".to_owned()];
    let mut loads = 20;
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--loads" => loads = value()?.parse()?,
            "--max-batch" => options.max_batch = value()?.parse()?,
            "--cache" => options.cache_dir = Some(value()?.into()),
            "--digest" => options.digest = Some(value()?),
            "--parallel" => options.parallel = value()?.parse()?,
            model => options.path = model.into(),
        }
    }
    let runtime = Runtime::load(None)?;
    load(&runtime, &options)?;
    let before = resident()?;
    let model = load(&runtime, &options)?;
    let grown = resident()?.saturating_sub(before);
    drop(model);
    let mut times = Vec::new();
    for _ in 0..loads {
        let start = Instant::now();
        let model = load(&runtime, &options)?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
        drop(model);
    }
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    let report = serde_json::json!({
        "model": options.path,
        "load_ms": median,
        "fastest_ms": times[0],
        "loads_per_second": 1e3 / median,
        "file_bytes": size(&options.path) + size(&options.path.with_extension("bin")),
        "resident_growth_bytes": grown,
    });
    println!("{report}");
    Ok(())
}

fn load(runtime: &Runtime, options: &ModelOptions) -> Outcome<Model> {
    let model = runtime.compile(options)?;
    let zeros = zeros(model.inputs())?;
    for reply in model.infer(&[zeros]) {
        reply?;
    }
    Ok(model)
}

/// One row of zeros.
fn zeros(ports: &[Port]) -> Outcome<Frame> {
    let shapes: Vec<Vec<usize>> = ports
        .iter()
        .map(|port| port.shape.iter().map(|size| size.unwrap_or(1)).collect())
        .collect();
    let data: Vec<Vec<u8>> = ports
        .iter()
        .zip(&shapes)
        .map(|(port, shape)| vec![0; shape.iter().product::<usize>() * port.dtype.size()])
        .collect();
    let outputs: Vec<Output<'_>> = ports
        .iter()
        .zip(shapes.iter().zip(&data))
        .map(|(port, (shape, data))| frame::Output {
            name: &port.name,
            dtype: port.dtype,
            shape,
            data,
        })
        .collect();
    Ok(Frame::decode(encode(&outputs, &serde_json::Map::new())?)?)
}

fn size(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.len())
}

/// Resident memory of this process in bytes.
fn resident() -> Outcome<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().nth(1)).ok_or("no VmRSS")?;
    Ok(kibibytes.parse::<u64>()? * 1024)
}
