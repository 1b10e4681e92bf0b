//! One function over every line of an array: contiguous lines where they lie, strided ones in blocks of neighbours.

use bytemuck::Pod;
use npufleet_wire::{Error, ErrorKind, Result};

use super::plans::{Float, SweepWork};
use super::{Lines, POINTS_PER_CHECK, Pace, sized};
use crate::Context;

/// Strided lines are done in blocks of up to this many neighbours, so that memory is read in whole cache lines.
const BLOCK_LINES: usize = 16;

/// What is read and written of each line; the result has the shape `[outer, cells, inner, cell]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sweep {
    /// The lines of the input.
    pub lines: Lines,
    /// How many samples at the front of a line are read.
    pub kept: usize,
    /// How many cells a line becomes.
    pub cells: usize,
    /// The elements of a cell, which stay together.
    pub cell: usize,
    /// How many points of work a line is.
    pub work: usize,
}

impl Sweep {
    /// Calls `each` with the bytes of every line (one line of each of the `K` inputs) and the place of its result.
    ///
    /// # Errors
    /// Those of `each`, `internal` when a length does not fit the others, `cancelled` when the context stops it.
    pub(crate) fn run<const K: usize, I: Pod, O: Pod, T: Float>(
        self,
        inputs: [&[u8]; K],
        output: &mut [O],
        buffers: &mut SweepWork<T>,
        context: &Context<'_>,
        mut each: impl FnMut([&[u8]; K], &mut [O], &mut Pace<'_>) -> Result<()>,
    ) -> Result<()> {
        let Lines { outer, length, inner } = self.lines;
        let (size, result) = (size_of::<I>(), self.cells * self.cell);
        let elements = |length| outer.checked_mul(length)?.checked_mul(inner);
        let expected = elements(length).and_then(|elements| elements.checked_mul(size));
        let fits = inputs.iter().all(|input| Some(input.len()) == expected) && self.kept <= length;
        if !fits || Some(output.len()) != elements(result) {
            let message = format!("{} elements of results do not fit {self:?}", output.len());
            return Err(Error::new(ErrorKind::Internal, message));
        }
        if output.is_empty() {
            return Ok(());
        }
        let mut pace = Pace::new(context);
        if inner == 1 {
            let (line, kept) = (length * size, self.kept * size);
            for (index, place) in output.chunks_exact_mut(result).enumerate() {
                pace.step(self.work)?;
                each(inputs.map(|input| &input[index * line..][..kept]), place, &mut pace)?;
            }
            return Ok(());
        }
        let block = (POINTS_PER_CHECK / self.work.max(1)).clamp(1, BLOCK_LINES).min(inner);
        let (line, floats) = (self.kept * size, self.kept * size / size_of::<T>());
        let gathered = sized(&mut buffers.gathered, K * block * floats);
        let results = sized(&mut buffers.results, block * result * (size_of::<O>() / size_of::<T>()));
        let results: &mut [O] = bytemuck::cast_slice_mut(results);
        for slab in 0..outer {
            for first in (0..inner).step_by(block) {
                pace.step(block * self.work)?;
                let width = block.min(inner - first);
                for (input, gathered) in inputs.iter().zip(gathered.chunks_mut((block * floats).max(1))) {
                    let gathered: &mut [I] = bytemuck::cast_slice_mut(gathered);
                    for sample in 0..self.kept {
                        let row = &input[((slab * length + sample) * inner + first) * size..][..width * size];
                        for (column, bytes) in row.chunks_exact(size).enumerate() {
                            gathered[column * self.kept + sample] = bytemuck::pod_read_unaligned(bytes);
                        }
                    }
                }
                let gathered: &[u8] = bytemuck::cast_slice(gathered);
                for column in 0..width {
                    let sources = std::array::from_fn(|input| &gathered[(input * block + column) * line..][..line]);
                    each(sources, &mut results[column * result..][..result], &mut pace)?;
                }
                for cell in 0..self.cells {
                    let row = ((slab * self.cells + cell) * inner + first) * self.cell;
                    let row = &mut output[row..][..width * self.cell];
                    for (column, place) in row.chunks_exact_mut(self.cell).enumerate() {
                        place.copy_from_slice(&results[column * result + cell * self.cell..][..self.cell]);
                    }
                }
            }
        }
        Ok(())
    }
}
