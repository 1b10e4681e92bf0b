//! Each way of a real transform that this processor has, also those that it would not choose, has the bins of rustfft's
//! complex one.

use std::sync::Arc;

use npufleet_wire::frame::CACHE_LINE;
use num_complex::Complex;
use pulp::Arch;
use realfft::RealFftPlanner;
use rustfft::{Fft, FftPlanner, FftPlannerScalar};

use super::super::plans::LineWork;
use super::{Halved, OneSided};

type Way = (&'static str, OneSided<f64>);

fn ways(points: usize) -> Vec<Way> {
    let mut planner = FftPlanner::new();
    let half: Arc<dyn Fft<f64>> = FftPlannerScalar::new().plan_fft_forward(points / 2);
    let portable = Halved {
        arch: Arch::Scalar,
        ..Halved::new(half)
    };
    let vectors = Halved::new(planner.plan_fft_forward(points / 2));
    let mut ways = vec![
        ("portable", OneSided::Own(Box::new(portable))),
        ("halved", OneSided::Own(Box::new(vectors))),
        (
            "realfft",
            OneSided::Other(RealFftPlanner::new().plan_fft_forward(points)),
        ),
    ];
    #[cfg(target_arch = "x86_64")]
    {
        use super::super::{quarters::Quarters, sixteenths::sixteenths};

        let (quarters, own) = (Quarters::new(&mut planner, points), sixteenths(&mut planner, points));
        assert_eq!(
            quarters.is_some(),
            is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
        );
        assert_eq!(
            own.is_some(),
            is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq")
        );
        ways.extend(quarters.map(|plan| ("quarters", OneSided::Own(Box::new(plan)))));
        ways.extend(own.map(|plan| ("sixteenths", OneSided::Own(plan))));
    }
    ways
}

#[test]
fn every_way_of_a_real_line_has_the_same_bins() {
    // Bytes from the beginning of a cache line to the samples: none, some samples, and no whole number of them.
    for (points, offsets) in (10..=16).map(|log| (1_u32 << log, [0, 8, 40, 56, 3])) {
        let samples: Vec<f64> = (0..points)
            .map(|index| f64::from(index * index).mul_add(1e-3, 0.3).sin())
            .collect();
        let mut expected: Vec<_> = samples.iter().map(|sample| Complex::new(*sample, 0.0)).collect();
        let length = expected.len();
        FftPlanner::new().plan_fft_forward(length).process(&mut expected);
        for (way, plan) in ways(length) {
            let (mut spectrum, mut work) = (
                vec![Complex::new(f64::NAN, f64::NAN); length / 2 + 1],
                LineWork::default(),
            );
            for offset in offsets {
                let mut memory = vec![0_u8; 8 * length + 2 * CACHE_LINE];
                let start = memory.as_ptr().align_offset(CACHE_LINE) + offset;
                let source = &mut memory[start..][..8 * length];
                source.copy_from_slice(bytemuck::cast_slice(&samples));
                plan.line(source, &mut spectrum, &mut work).unwrap();
                for (bin, (found, expected)) in spectrum.iter().zip(&expected).enumerate() {
                    let near = (found - expected).norm() < 1e-9;
                    assert!(
                        near,
                        "{way}, {points} points, {offset} bytes off, bin {bin}: {found}, not {expected}"
                    );
                }
                spectrum.fill(Complex::new(f64::NAN, f64::NAN));
            }
        }
    }
}
