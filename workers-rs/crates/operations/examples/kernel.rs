//! How long the bare fft kernel takes, without frames and fleet, as JSON: `--points --batch --seconds`.
//!
//! ```sh
//! cargo run --release -p npufleet-operations --example kernel -- --points 1024 --batch 64 --seconds 1
//! ```

use std::process::ExitCode;
use std::time::{Duration, Instant};

use npufleet_operations::Context;
use npufleet_operations::common::{Lines, Norm};
use npufleet_operations::fft::{Spec, transform};
use num_complex::Complex;

/// Repeats whose median is reported: enough that a busy machine's outliers do not move it.
const MIN_REPEATS: usize = 11;
/// One repeat is at least this long, so that the clock's own cost does not show.
const REPEAT: Duration = Duration::from_millis(2);

struct Arguments {
    points: usize,
    batch: usize,
    seconds: f64,
}

fn arguments() -> Result<Arguments, String> {
    let mut arguments = Arguments {
        points: 1024,
        batch: 64,
        seconds: 1.0,
    };
    let mut words = std::env::args().skip(1);
    while let Some(name) = words.next() {
        let value = words.next().ok_or_else(|| format!("{name} needs a value"))?;
        let number = value
            .parse::<f64>()
            .ok()
            .filter(|number| number.is_finite() && *number > 0.0);
        let number = number.ok_or_else(|| format!("{name} is '{value}'; allowed: a positive number"))?;
        match name.as_str() {
            "--points" => arguments.points = (number as usize).max(1),
            "--batch" => arguments.batch = (number as usize).max(1),
            "--seconds" => arguments.seconds = number,
            _ => {
                return Err(format!(
                    "unknown argument {name}; allowed: --points, --batch, --seconds"
                ));
            }
        }
    }
    Ok(arguments)
}

fn measure(Arguments { points, batch, seconds }: &Arguments) -> Result<serde_json::Value, String> {
    let spec = Spec {
        points: *points,
        one_sided: true,
        norm: Norm::Backward,
    };
    let lines = Lines {
        outer: *batch,
        length: *points,
        inner: 1,
    };
    let samples: Vec<f64> = (0..points * batch)
        .map(|index| ((index * index) as f64 * 0.001).sin())
        .collect();
    let mut spectra = vec![Complex::default(); batch * spec.bins()];
    let mut run = || {
        transform::<f64>(
            bytemuck::cast_slice(&samples),
            lines,
            &spec,
            &mut spectra,
            &Context::never(),
        )
        .map_err(|error| error.message)
    };

    // The first runs make the plan and fill the caches; they also tell how many runs fill a repeat.
    let warm_up = Instant::now();
    let mut runs = 0_u32;
    while warm_up.elapsed() < 10 * REPEAT || runs < 2 {
        run()?;
        runs += 1;
    }
    let per_repeat = (runs / 10).max(1);

    let mut nanoseconds = Vec::new();
    let start = Instant::now();
    while start.elapsed().as_secs_f64() < *seconds || nanoseconds.len() < MIN_REPEATS {
        let repeat = Instant::now();
        for _ in 0..per_repeat {
            run()?;
        }
        nanoseconds.push(repeat.elapsed().as_secs_f64() * 1e9 / f64::from(per_repeat) / *batch as f64);
    }
    nanoseconds.sort_by(f64::total_cmp);
    let quantile = |part: f64| nanoseconds[((nanoseconds.len() - 1) as f64 * part).round() as usize];
    Ok(serde_json::json!({
        "kernel": "fft", "dtype": "float64", "points": points, "batch": batch, "repeats": nanoseconds.len(),
        "unit": "ns per transform", "median": quantile(0.5), "p10": quantile(0.1), "p90": quantile(0.9),
    }))
}

fn main() -> ExitCode {
    match arguments().and_then(|arguments| measure(&arguments)) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}
