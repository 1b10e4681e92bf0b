//! Reply frames: the header is written once per shape, then copied.

use std::ops::Range;

use npufleet_wire::{Result, frame};

use crate::Port;

/// A frame of given shapes, with its tensors still to be filled.
#[derive(Debug)]
pub(crate) struct Template {
    /// Length and JSON header: everything before the data.
    header: Box<[u8]>,
    total: usize,
    /// The place of each output, in the model's order.
    pub(crate) ranges: Vec<Range<usize>>,
}

impl Template {
    /// The frame that holds `outputs` with these shapes.
    pub(crate) fn new(outputs: &[Port], shapes: &[Vec<usize>]) -> Result<Self> {
        let specs: Vec<_> = outputs
            .iter()
            .zip(shapes)
            .map(|(port, shape)| (port.name.as_str(), port.dtype, shape.as_slice()))
            .collect();
        let (draft, ranges) = frame::draft(&frame::Heap, &specs)?;
        let total = draft.len();
        let start = ranges.iter().map(|range| range.start).min().unwrap_or(total);
        Ok(Self {
            header: draft[..start].into(),
            total,
            ranges,
        })
    }

    /// A new frame, its tensors zero.
    pub(crate) fn start(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.total);
        bytes.extend_from_slice(&self.header);
        bytes.resize(self.total, 0);
        bytes
    }
}
