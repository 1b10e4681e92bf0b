//! What this processor can do at most, one thread, as JSON: `--seconds`.
//!
//! Fused multiply-adds per second, in 64 bits, that wait for nothing: no kernel passes that with the vectors for which ours
//! are compiled.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use pulp::{Arch, NullaryFnOnce};

/// Multiply-adds that do not wait for each other: enough vectors to hide the latency of each.
const LANES: usize = 48;
/// Steps between two looks at the clock.
const STEPS: usize = 1 << 14;

/// Multiplies and adds all lanes, `STEPS` times.
struct Steps<'a>(&'a mut [f64; LANES]);

impl NullaryFnOnce for Steps<'_> {
    type Output = ();

    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "what is not inlined is compiled for the oldest processor"
    )]
    fn call(self) {
        let (factor, summand) = (black_box(0.999_999), black_box(1e-6));
        let mut lanes = *self.0;
        for _ in 0..STEPS {
            for lane in &mut lanes {
                *lane = lane.mul_add(factor, summand);
            }
        }
        *self.0 = lanes;
    }
}

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let seconds = match words.as_slice() {
        [] => Some(0.5),
        [name, value] if name == "--seconds" => value.parse().ok().filter(|number: &f64| *number > 0.0),
        _ => None,
    };
    let Some(seconds) = seconds else {
        eprintln!("arguments are {words:?}; allowed: --seconds and a positive number");
        return ExitCode::FAILURE;
    };
    let (arch, mut lanes) = (Arch::new(), [0.5; LANES]);
    let (begin, mut best) = (Instant::now(), f64::INFINITY);
    while begin.elapsed().as_secs_f64() < seconds {
        let start = Instant::now();
        arch.dispatch(Steps(black_box(&mut lanes)));
        best = best.min(start.elapsed().as_secs_f64());
    }
    let report = serde_json::json!({ "fused_per_second": (LANES * STEPS) as f64 / best });
    println!("{report}");
    ExitCode::SUCCESS
}
