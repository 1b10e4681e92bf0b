//! Every line of the tensors: gathered from bytes, worked on, spread to their places.

use std::cell::OnceCell;

use npufleet_wire::Result;

use super::filters::Bank;
use super::line::{decompose, reconstruct, shrink};
#[cfg(target_arch = "x86_64")]
use super::neighbours::Neighbours;
use super::request::{MAX_LEVELS, Method, Request};
use super::work::{LANES, Levels, Real, Row, Work};
use crate::Context;
use crate::common::{Lines, POINTS_PER_CHECK, Pace, sized};

/// Strided lines are done in blocks of up to this many neighbours, so that memory is read in whole cache lines.
const BLOCK_LINES: usize = 16;

/// Works on every line. `sources` are the tensors' bytes and lengths along the axis, `targets` the beginnings in
/// `area` and the lengths of the results.
pub(super) fn run<T: Real>(
    request: &Request<'_>,
    sources: &[(&[u8], usize)],
    targets: &[(usize, usize)],
    area: &mut [T],
    work: &mut Work<T>,
    context: &Context<'_>,
) -> Result<()> {
    let bank = request.filters.bank::<T>();
    let sweep = Sweep {
        request,
        bank,
        backwards: OnceCell::new(),
        sources,
        targets,
    };
    let pace = &mut Pace::new(context);
    match (request.lines.outer, request.lines.inner) {
        (0, _) | (_, 0) => Ok(()),
        (_, 1) => sweep.contiguous(area, work, pace),
        _ => sweep.strided(area, work, pace),
    }
}

/// What is done to each line, and where the lines are.
struct Sweep<'a, T> {
    request: &'a Request<'a>,
    bank: Bank<T>,
    /// The same backwards, where something is reconstructed.
    backwards: OnceCell<Bank<T>>,
    sources: &'a [(&'a [u8], usize)],
    targets: &'a [(usize, usize)],
}

impl<T: Real> Sweep<'_, T> {
    /// Lines whose elements are neighbours: results go straight to their places.
    fn contiguous(&self, area: &mut [T], work: &mut Work<T>, pace: &mut Pace<'_>) -> Result<()> {
        let lines = sized(&mut work.sources, total(self.sources));
        let mut places = [(0, 0); MAX_LEVELS + 1];
        let places = &mut places[..self.targets.len()];
        let mut is_done = false;
        for slab in 0..self.request.lines.outer {
            if slab % LANES == 0 {
                is_done = self.neighbours(slab, area, &mut work.rows, pace)?;
            }
            if is_done {
                continue;
            }
            let own = |length| slab * length * size_of::<T>()..(slab + 1) * length * size_of::<T>();
            let alone = match *self.sources {
                [(bytes, length)] => bytemuck::try_cast_slice(&bytes[own(length)]).ok(),
                _ => None,
            };
            let line = alone.unwrap_or_else(|| {
                let mut offset = 0;
                for &(bytes, length) in self.sources {
                    bytemuck::cast_slice_mut(&mut lines[offset..][..length]).copy_from_slice(&bytes[own(length)]);
                    offset += length;
                }
                &*lines
            });
            for (place, &(start, length)) in places.iter_mut().zip(self.targets) {
                *place = (start + slab * length, length);
            }
            self.line(line, area, places, &mut work.coefficients, &mut work.levels, pace)?;
        }
        Ok(())
    }

    /// Works on some lines from one on side by side; false where that is not possible.
    #[cfg(target_arch = "x86_64")]
    fn neighbours(&self, slab: usize, area: &mut [T], rows: &mut [Vec<Row>; 2], pace: &mut Pace<'_>) -> Result<bool> {
        let Request {
            method,
            filters,
            mode,
            lines,
            level,
            ..
        } = self.request;
        let (Some(lattice), Some(simd)) = (&filters.lattice, pulp::x86::V3::try_new()) else {
            return Ok(false);
        };
        if size_of::<T>() != size_of::<f64>() || *level == 0 || slab + LANES > lines.outer {
            return Ok(false);
        }
        let neighbours = Neighbours {
            simd,
            first: slab,
            lattice,
            mode: *mode,
            rows,
            pace,
        };
        let (area, (x, length), (start, count)) = (bytemuck::cast_slice_mut(area), self.sources[0], self.targets[0]);
        match method {
            Method::Decompose => neighbours.decompose(x, length, area, self.targets),
            Method::Reconstruct => neighbours.reconstruct(self.sources, count, &mut area[start..]),
            Method::Denoise(..) => Ok(false),
        }
    }

    /// None are where the vectors for it are missing.
    #[cfg(not(target_arch = "x86_64"))]
    fn neighbours(&self, _: usize, _: &mut [T], _: &mut [Vec<Row>; 2], _: &mut Pace<'_>) -> Result<bool> {
        Ok(false)
    }

    /// Lines across memory, a block of neighbours at a time.
    fn strided(&self, area: &mut [T], work: &mut Work<T>, pace: &mut Pace<'_>) -> Result<()> {
        let Lines { outer, inner, .. } = self.request.lines;
        let (source, result) = (total(self.sources), total(self.targets));
        let block = (POINTS_PER_CHECK / source).clamp(1, BLOCK_LINES).min(inner);
        let lines = sized(&mut work.sources, block * source);
        let results = sized(&mut work.results, block * result);
        let mut places = [(0, 0); MAX_LEVELS + 1];
        let places = &mut places[..self.targets.len()];
        let mut offset = 0;
        for (place, &(_, length)) in places.iter_mut().zip(self.targets) {
            *place = (offset, length);
            offset += length;
        }
        for slab in 0..outer {
            for first in (0..inner).step_by(block) {
                let width = block.min(inner - first);
                self.gather(lines, source, [slab, first, width]);
                for column in 0..width {
                    let line = &lines[column * source..][..source];
                    let result = &mut results[column * result..][..result];
                    self.line(line, result, places, &mut work.coefficients, &mut work.levels, pace)?;
                }
                self.scatter(results, result, area, [slab, first, width]);
            }
        }
        Ok(())
    }

    fn gather(&self, lines: &mut [T], line: usize, [slab, first, width]: [usize; 3]) {
        let mut offset = 0;
        for &(bytes, length) in self.sources {
            for step in 0..length {
                let row = ((slab * length + step) * self.request.lines.inner + first) * size_of::<T>();
                let row = &bytes[row..][..width * size_of::<T>()];
                for (column, bytes) in row.chunks_exact(size_of::<T>()).enumerate() {
                    lines[column * line + offset + step] = bytemuck::pod_read_unaligned(bytes);
                }
            }
            offset += length;
        }
    }

    fn scatter(&self, results: &[T], result: usize, area: &mut [T], [slab, first, width]: [usize; 3]) {
        let mut offset = 0;
        for &(start, length) in self.targets {
            for step in 0..length {
                let row = start + (slab * length + step) * self.request.lines.inner + first;
                for (column, place) in area[row..][..width].iter_mut().enumerate() {
                    *place = results[column * result + offset + step];
                }
            }
            offset += length;
        }
    }

    fn backwards(&self) -> &Bank<T> {
        self.backwards.get_or_init(|| self.bank.backwards())
    }

    fn line(
        &self,
        source: &[T],
        results: &mut [T],
        places: &[(usize, usize)],
        coefficients: &mut Vec<T>,
        levels: &mut Levels<T>,
        pace: &mut Pace<'_>,
    ) -> Result<()> {
        let mode = self.request.mode;
        let mut own = [(0, 0); MAX_LEVELS + 1];
        let own = self.request.places(&mut own);
        let (start, length) = places[0];
        match self.request.method {
            Method::Decompose => decompose(source, results, places, mode, &self.bank, levels, pace),
            Method::Reconstruct => {
                let samples = &mut results[start..][..length];
                reconstruct(source, own, samples, mode, self.backwards(), levels, pace)
            }
            Method::Denoise(threshold, way) => {
                let inside = sized(coefficients, total(own));
                decompose(source, inside, own, mode, &self.bank, levels, pace)?;
                shrink(inside, own, source.len(), threshold, way, &mut levels.magnitudes);
                let samples = &mut results[start..][..length];
                reconstruct(inside, own, samples, mode, self.backwards(), levels, pace)
            }
        }
    }
}

/// The elements of all parts of a line.
fn total<P>(parts: &[(P, usize)]) -> usize {
    parts.iter().map(|(_, length)| length).sum()
}
