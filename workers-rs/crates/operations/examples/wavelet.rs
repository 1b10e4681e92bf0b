//! How long a decomposition or a denoising takes, from frame to frame, as JSON lines.
//!
//! ```sh
//! cargo run --release -p npufleet-operations --example wavelet -- 1 64
//! ```
//! The arguments are batch sizes; each is measured at 1024 and 65,536 points.

use std::hint::black_box;
use std::time::{Duration, Instant};

use npufleet_operations::{Context, find};
use npufleet_wire::{Dtype, Error, Frame, Output, contract, frame};
use serde_json::{Value, json};

/// Repeats whose median is reported.
const REPEATS: usize = 15;
/// One repeat is at least this long.
const REPEAT: Duration = Duration::from_millis(5);

fn measure(points: usize, batch: usize, params: &Value) -> Result<f64, Error> {
    let samples: Vec<u8> = (0..points * batch)
        .flat_map(|index| ((index * index) as f64 * 0.001).sin().to_le_bytes())
        .collect();
    let x = Output {
        name: "x",
        dtype: Dtype::F64,
        shape: &[batch, points],
        data: &samples,
    };
    let params = params.as_object().cloned().unwrap_or_default();
    let frame = Frame::decode(frame::encode(&[x], &params)?)?;
    let (Some(operation), Some(row)) = (find("wavelet"), contract::operation("wavelet")) else {
        return Ok(f64::NAN);
    };
    let params = row.check_params(&params)?;
    let mut times = Vec::new();
    for _ in 0..REPEATS {
        let (start, mut runs) = (Instant::now(), 0_u32);
        while start.elapsed() < REPEAT {
            black_box(operation.execute(&frame, &params, &Context::never())?);
            runs += 1;
        }
        times.push(start.elapsed().as_secs_f64() * 1e6 / f64::from(runs));
    }
    times.sort_by(f64::total_cmp);
    Ok(times[REPEATS / 2])
}

fn main() -> Result<(), Error> {
    let batches: Vec<usize> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    for batch in batches {
        for points in [1024, 65536] {
            for params in [
                json!({"wavelet": "haar"}),
                json!({"wavelet": "db4"}),
                json!({"wavelet": "sym8"}),
                json!({"wavelet": "db4", "method": "denoise"}),
            ] {
                let median = measure(points, batch, &params)?;
                println!(
                    "{}",
                    json!({"params": params, "points": points, "batch": batch, "unit": "us", "median": median})
                );
            }
        }
    }
    Ok(())
}
