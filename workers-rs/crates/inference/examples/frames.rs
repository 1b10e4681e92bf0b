//! What the crate adds to bare OpenVINO: rows per second through `Model::infer`, from frame to reply frame.
//!
//! `frames MODEL [--members 1,32] [--seconds 1] [--threads 1] [--max-batch 32]`
//!
//! Prints one JSON object per number of members; each member is a frame of one row of zeros. Compare with `bare`.

use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

use npufleet_inference::{Model, ModelOptions, Runtime};
use npufleet_wire::Frame;
use npufleet_wire::frame::{Output, encode};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn row(model: &Model) -> Outcome<Frame> {
    let tensors: Vec<_> = model
        .inputs()
        .iter()
        .map(|port| {
            let shape: Vec<_> = port.shape.iter().map(|dim| dim.unwrap_or(1)).collect();
            let data = vec![0; shape.iter().product::<usize>() * port.dtype.size()];
            (port, shape, data)
        })
        .collect();
    let outputs: Vec<_> = tensors
        .iter()
        .map(|(port, shape, data)| Output {
            name: &port.name,
            dtype: port.dtype,
            shape,
            data,
        })
        .collect();
    Ok(Frame::decode(encode(&outputs, &serde_json::Map::new())?)?)
}

fn measure() -> Outcome<()> {
    let (mut path, mut members, mut seconds, mut threads, mut max_batch) =
        (String::new(), "1,32".to_owned(), 1.0, 1, 32);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--members" => members = value()?,
            "--seconds" => seconds = value()?.parse()?,
            "--threads" => threads = value()?.parse()?,
            "--max-batch" => max_batch = value()?.parse()?,
            model => model.clone_into(&mut path),
        }
    }
    let begin = Instant::now();
    let model = Runtime::load(None)?.compile(&ModelOptions {
        max_batch,
        parallel: threads,
        ..ModelOptions::new(path)
    })?;
    eprintln!(
        "compiled for {} in {:.0} ms; {}",
        model.device(),
        begin.elapsed().as_secs_f64() * 1e3,
        model.device_notes().join("; ")
    );
    let one = row(&model)?;
    for count in members.split(',') {
        let batch = vec![one.clone(); count.parse()?];
        let mut calls = thread::scope(|scope| {
            let workers: Vec<_> = (0..threads)
                .map(|_| {
                    scope.spawn(|| {
                        let (begin, mut calls) = (Instant::now(), Vec::new());
                        let mut start = begin;
                        while start - begin < Duration::from_secs_f64(seconds) {
                            for reply in model.infer(&batch) {
                                reply?;
                            }
                            let end = Instant::now();
                            calls.push((end - start).as_secs_f64() * 1e6);
                            start = end;
                        }
                        Outcome::Ok(calls)
                    })
                })
                .collect();
            workers
                .into_iter()
                .map(|worker| worker.join().map_err(|_| "a thread panicked")?)
                .try_fold(Vec::new(), |mut all, own: Outcome<Vec<f64>>| {
                    all.extend(own?);
                    Outcome::Ok(all)
                })
        })?;
        calls.sort_by(f64::total_cmp);
        let rate = calls.len() as f64 / seconds;
        let report = serde_json::json!({
            "members": batch.len(),
            "threads": threads,
            "calls_per_second": rate,
            "rows_per_second": rate * batch.len() as f64,
            "p50_us": calls[calls.len() / 2],
            "p99_us": calls[(calls.len() - 1) * 99 / 100],
        });
        println!("{report}");
    }
    Ok(())
}

fn main() {
    if let Err(error) = measure() {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}
