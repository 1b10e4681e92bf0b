//! How long one operation takes from frame to frame, without fleet, as JSON.
//!
//! ```sh
//! cargo run --release -p npufleet-operations --example operation -- filter request.safetensors 1
//! ```
//! The arguments are the operation, a file that holds a request's frame, and for how many seconds to repeat it.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use npufleet_operations::{Context, find};
use npufleet_wire::{Frame, contract};

/// One repeat is at least this long, so that the clock's own cost does not show.
const REPEAT: Duration = Duration::from_millis(2);

fn measure(name: &str, path: &str, seconds: &str) -> Result<serde_json::Value, String> {
    let seconds: f64 = seconds.parse().map_err(|error| format!("seconds: {error}"))?;
    let (Some(operation), Some(row)) = (find(name), contract::operation(name)) else {
        return Err(format!("unknown operation '{name}'"));
    };
    let bytes = std::fs::read(path).map_err(|error| format!("{path}: {error}"))?;
    let frame = Frame::decode(bytes.into()).map_err(|error| error.message)?;
    let params = row.check_params(&frame.layout.params).map_err(|error| error.message)?;
    row.check_inputs(&frame.layout).map_err(|error| error.message)?;
    let run = || {
        let reply = operation.execute(&frame, &params, &Context::never());
        reply.map(drop).map_err(|error| error.message)
    };

    // The first runs design and allocate; they also tell how many runs fill a repeat.
    let warm_up = Instant::now();
    let mut runs = 0_u32;
    while warm_up.elapsed() < 10 * REPEAT || runs < 2 {
        run()?;
        runs += 1;
    }
    let per_repeat = (runs / 10).max(1);

    let mut microseconds = Vec::new();
    let start = Instant::now();
    while start.elapsed().as_secs_f64() < seconds || microseconds.len() < 3 {
        let repeat = Instant::now();
        for _ in 0..per_repeat {
            run()?;
        }
        microseconds.push(repeat.elapsed().as_secs_f64() * 1e6 / f64::from(per_repeat));
    }
    microseconds.sort_by(f64::total_cmp);
    let (fastest, median) = (microseconds[0], microseconds[microseconds.len() / 2]);
    Ok(serde_json::json!({
        "operation": name, "repeats": microseconds.len(), "unit": "us per request",
        "fastest": fastest, "median": median,
    }))
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let report = match arguments.as_slice() {
        [name, path, seconds] => measure(name, path, seconds),
        _ => Err("allowed: OPERATION FILE SECONDS".to_owned()),
    };
    match report {
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
