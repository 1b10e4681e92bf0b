//! Execution with static shapes: a model compiled for a few row counts.

use std::sync::OnceLock;

use bytes::Bytes;
use npufleet_wire::Result;

use crate::batch::{Member, Run};
use crate::lane::Lanes;
use crate::openvino::{Failure, Request};
use crate::plan::Plan;
use crate::reply::Template;
use crate::{Joint, Port};

/// Inputs from this size on are read where they lie, in bytes: below, the copy costs less than telling OpenVINO.
const IN_PLACE: usize = 64 * 1024;
/// What OpenVINO aligns its own tensors to.
const ALIGNMENT: usize = 64;
/// Microseconds that the inferences of one turn may take together. Requests that wait anyway are answered together, which
/// wakes the broker and the callers once for all of them; the first answer waits no longer than this for the last.
const TURN: f64 = 6000.0;

/// The model compiled for one row count.
pub(crate) struct Bucket {
    pub(crate) rows: usize,
    /// Measured time of one inference in microseconds.
    pub(crate) cost: f64,
    pub(crate) lanes: Lanes,
}

/// A piece of a member that goes through one inference.
#[derive(Clone, Copy)]
struct Segment {
    member: usize,
    /// First row within the member.
    from: usize,
    rows: usize,
}

/// A model with static shapes. Where its rows may not be mixed, the whole of each tensor counts as one row here.
pub(crate) struct Fixed {
    pub(crate) device: String,
    pub(crate) inputs: Vec<Port>,
    pub(crate) outputs: Vec<Port>,
    /// Shapes of one row of every output.
    row_shapes: Vec<Vec<usize>>,
    input_bytes: Vec<usize>,
    output_bytes: Vec<usize>,
    /// Rows of a member are its first dimension; otherwise every member is one row.
    by_rows: bool,
    pub(crate) buckets: Vec<Bucket>,
    plan: Plan,
    /// Reply headers by the member's rows.
    templates: Vec<OnceLock<Template>>,
}

/// What `Fixed` is made of; the shapes are those of the smallest bucket.
pub(crate) struct Parts {
    pub(crate) device: String,
    pub(crate) inputs: Vec<Port>,
    pub(crate) outputs: Vec<Port>,
    pub(crate) input_shapes: Vec<Vec<usize>>,
    pub(crate) output_shapes: Vec<Vec<usize>>,
    pub(crate) by_rows: bool,
    pub(crate) buckets: Vec<Bucket>,
    pub(crate) max_batch: usize,
}

impl Fixed {
    pub(crate) fn new(parts: Parts) -> Result<Self> {
        let bytes = |ports: &[Port], shapes: &[Vec<usize>]| -> Vec<usize> {
            ports
                .iter()
                .zip(shapes)
                .map(|(port, shape)| shape.iter().product::<usize>() * port.dtype.size())
                .collect()
        };
        let most = if parts.by_rows { parts.max_batch } else { 1 };
        let costs: Vec<_> = parts.buckets.iter().map(|bucket| (bucket.rows, bucket.cost)).collect();
        let fixed = Self {
            input_bytes: bytes(&parts.inputs, &parts.input_shapes),
            output_bytes: bytes(&parts.outputs, &parts.output_shapes),
            device: parts.device,
            inputs: parts.inputs,
            outputs: parts.outputs,
            row_shapes: parts.output_shapes,
            by_rows: parts.by_rows,
            buckets: parts.buckets,
            plan: Plan::new(&costs, most),
            templates: (0..=most).map(|_| OnceLock::new()).collect(),
        };
        // A reply that no frame can hold is found out when the model loads, not when it is first asked.
        fixed.new_template(1)?;
        Ok(fixed)
    }

    fn new_template(&self, rows: usize) -> Result<Template> {
        let shapes: Vec<_> = self
            .row_shapes
            .iter()
            .map(|shape| {
                let mut shape = shape.clone();
                if self.by_rows
                    && let Some(first) = shape.first_mut()
                {
                    *first = rows;
                }
                shape
            })
            .collect();
        Template::new(&self.outputs, &shapes)
    }

    fn template(&self, rows: usize) -> Result<&Template> {
        let place = &self.templates[rows];
        if let Some(template) = place.get() {
            return Ok(template);
        }
        let template = self.new_template(rows)?;
        Ok(place.get_or_init(|| template))
    }

    fn rows_of(&self, member: &Member<'_>) -> usize {
        if self.by_rows { member.rows } else { 1 }
    }

    /// What is worth joining: the largest bucket, or several inferences of it that fit into one turn.
    pub(crate) fn joint(&self) -> Joint {
        let most = self.templates.len() - 1;
        self.buckets.last().map_or(Joint::of(1), |bucket| Joint {
            inference: bucket.rows,
            rows: turn(bucket.rows, bucket.cost, most),
        })
    }

    /// Runs the smallest bucket over zeros.
    pub(crate) fn try_zeros(&self) -> Result<()> {
        let Some(bucket) = self.buckets.first() else {
            return Ok(());
        };
        bucket.lanes.with(|request| {
            for index in 0..self.inputs.len() {
                request.input(index).clear();
            }
            request.infer().map_err(|failure| failure.into_run_error(&self.device))
        })
    }

    /// Runs all members in one inference of the given bucket, which must have room for them.
    pub(crate) fn run_in(&self, bucket: &Bucket, members: &[Member<'_>]) -> Result<Vec<Bytes>> {
        self.run_through(members, |_| bucket)
    }

    fn run_through<'a>(
        &'a self,
        members: &[Member<'_>],
        bucket_for: impl Fn(usize) -> &'a Bucket,
    ) -> Result<Vec<Bytes>> {
        let templates = members
            .iter()
            .map(|member| self.template(self.rows_of(member)))
            .collect::<Result<Vec<_>>>()?;
        let mut replies: Vec<_> = templates.iter().map(|template| template.start()).collect();
        let mut left: usize = members.iter().map(|member| self.rows_of(member)).sum();
        let mut segments = Vec::with_capacity(members.len());
        let (mut member, mut from) = (0, 0);
        while left > 0 {
            let bucket = bucket_for(left);
            let mut room = bucket.rows.min(left);
            left -= room;
            segments.clear();
            while room > 0 {
                let rows = (self.rows_of(&members[member]) - from).min(room);
                segments.push(Segment { member, from, rows });
                room -= rows;
                from += rows;
                if from == self.rows_of(&members[member]) {
                    (member, from) = (member + 1, 0);
                }
            }
            bucket.lanes.with(|request| {
                let borrowed = match &segments[..] {
                    [only] if only.rows == bucket.rows && request.reads_in_place() => self.in_place(members, *only)?,
                    _ => Vec::new(),
                };
                self.gather(request, bucket.rows, members, &segments, &borrowed)?;
                request
                    .infer_over(&borrowed)
                    .map_err(|failure| failure.into_run_error(&self.device))?;
                self.scatter(request, &templates, &segments, &mut replies)
            })?;
        }
        Ok(replies.into_iter().map(Bytes::from).collect())
    }

    /// The inputs that a member's own bytes can be, without a copy.
    fn in_place<'a>(&self, members: &[Member<'a>], segment: Segment) -> Result<Vec<(usize, &'a [u8])>> {
        let mut found = Vec::new();
        for (index, (port, bytes)) in self.inputs.iter().zip(&self.input_bytes).enumerate() {
            let data = members[segment.member].data(&port.name)?;
            let rows = &data[segment.from * bytes..(segment.from + segment.rows) * bytes];
            if rows.len() >= IN_PLACE && rows.as_ptr().align_offset(ALIGNMENT) == 0 {
                found.push((index, rows));
            }
        }
        Ok(found)
    }

    fn gather(
        &self,
        request: &mut Request,
        bucket_rows: usize,
        members: &[Member<'_>],
        segments: &[Segment],
        borrowed: &[(usize, &[u8])],
    ) -> Result<()> {
        for (index, (port, bytes)) in self.inputs.iter().zip(&self.input_bytes).enumerate() {
            if borrowed.iter().any(|(other, _)| *other == index) {
                continue;
            }
            let tensor = request.input(index);
            let mut at = 0;
            let mut last: &[u8] = &[];
            for segment in segments {
                let data = members[segment.member].data(&port.name)?;
                let rows = &data[segment.from * bytes..(segment.from + segment.rows) * bytes];
                tensor.write(at, rows);
                at += rows.len();
                last = &rows[rows.len() - bytes..];
            }
            // Padding repeats a row of the batch: any other value might be one that the model cannot take.
            while at < bucket_rows * bytes {
                tensor.write(at, last);
                at += bytes;
            }
        }
        Ok(())
    }

    fn scatter(
        &self,
        request: &Request,
        templates: &[&Template],
        segments: &[Segment],
        replies: &mut [Vec<u8>],
    ) -> Result<()> {
        for (index, bytes) in self.output_bytes.iter().enumerate() {
            let tensor = request.output(index);
            let mut at = 0;
            for segment in segments {
                let start = templates[segment.member].ranges[index].start + segment.from * bytes;
                let length = segment.rows * bytes;
                if at + length > tensor.length() {
                    let text = format!(
                        "output '{}' has {} bytes; expected: {}",
                        self.outputs[index].name,
                        tensor.length(),
                        at + length
                    );
                    return Err(Failure::new(text).into_run_error(&self.device));
                }
                tensor.read(at, &mut replies[segment.member][start..start + length]);
                at += length;
            }
        }
        Ok(())
    }
}

/// Rows of a turn, of inferences of `rows` rows that take `cost` microseconds each; not above `most` in several.
fn turn(rows: usize, cost: f64, most: usize) -> usize {
    let inferences = (TURN / cost).min(most as f64) as usize;
    (rows * inferences).min(most).max(rows)
}

impl Run for Fixed {
    fn run(&self, members: &[Member<'_>]) -> Result<Vec<Bytes>> {
        self.run_through(members, |left| &self.buckets[self.plan.bucket(left)])
    }
}

#[cfg(test)]
mod tests {
    use super::turn;

    #[test]
    fn a_turn_has_as_many_inferences_as_its_time_has_room_for() {
        assert_eq!(turn(4, 1270.0, 32), 16);
        assert_eq!(turn(4, 33_000.0, 32), 4, "one that is longer than a turn");
        assert_eq!(turn(32, 12.0, 32), 32, "no more than a batch may have");
        assert_eq!(turn(1, 0.0, 1), 1);
    }
}
