//! Execution with dynamic shapes: tensors take the shape of each batch.

use bytes::Bytes;
use npufleet_wire::{Error, ErrorKind, Result};

use crate::batch::{Member, Run};
use crate::lane::Lanes;
use crate::openvino::{Failure, Request};
use crate::reply::Template;
use crate::usual::Usual;
use crate::{Joint, Port};

/// A model with dynamic shapes. Members that run together have equal shapes but for the first dimension.
pub(crate) struct Flexible {
    pub(crate) device: String,
    pub(crate) inputs: Vec<Port>,
    pub(crate) outputs: Vec<Port>,
    pub(crate) lanes: Lanes,
    /// Where members are joined, what is compiled for the shape that most of them have.
    pub(crate) usual: Option<Usual>,
}

impl Flexible {
    /// What is worth joining, where that is known.
    pub(crate) fn joint(&self) -> Option<Joint> {
        self.usual.as_ref()?.joint()
    }

    fn gather(&self, request: &mut Request, members: &[Member<'_>]) -> Result<()> {
        let rows = members.iter().map(|member| member.rows).sum();
        for (index, port) in self.inputs.iter().enumerate() {
            let mut shape = members[0]
                .frame
                .layout
                .tensor(&port.name)
                .map(|tensor| tensor.shape.clone())
                .unwrap_or_default();
            if members.len() > 1
                && let Some(first) = shape.first_mut()
            {
                *first = rows;
            }
            let tensor = request.input(index);
            tensor
                .set_shape(&shape)
                .map_err(|failure| failure.into_run_error(&self.device))?;
            let mut at = 0;
            for member in members {
                let data = member.data(&port.name)?;
                if at + data.len() > tensor.length() {
                    let text = format!("tensor '{}' does not fit with the others of its batch", port.name);
                    return Err(Error::new(ErrorKind::Internal, text));
                }
                tensor.write(at, data);
                at += data.len();
            }
        }
        Ok(())
    }

    fn scatter(&self, request: &Request, members: &[Member<'_>]) -> Result<Vec<Bytes>> {
        let wrong = |failure: Failure| failure.into_run_error(&self.device);
        let rows: usize = members.iter().map(|member| member.rows).sum();
        let shapes = (0..self.outputs.len())
            .map(|index| request.output(index).shape().map_err(wrong))
            .collect::<Result<Vec<_>>>()?;
        let joined = members.len() > 1;
        if joined && let Some(index) = shapes.iter().position(|shape| shape.first() != Some(&rows)) {
            // The members then run alone, where any output shape will do.
            return Err(wrong(Failure::new(format!(
                "output '{}' has shape {:?} for {rows} rows",
                self.outputs[index].name, shapes[index]
            ))));
        }
        let mut from = 0;
        members
            .iter()
            .map(|member| {
                let mut own = shapes.clone();
                if joined {
                    for shape in &mut own {
                        shape[0] = member.rows;
                    }
                }
                let template = Template::new(&self.outputs, &own)?;
                let mut reply = template.start();
                for (index, range) in template.ranges.iter().enumerate() {
                    let at = if joined { range.len() / member.rows * from } else { 0 };
                    let tensor = request.output(index);
                    if at + range.len() > tensor.length() {
                        let text = format!("output '{}' is too short", self.outputs[index].name);
                        return Err(wrong(Failure::new(text)));
                    }
                    tensor.read(at, &mut reply[range.clone()]);
                }
                from += member.rows;
                Ok(Bytes::from(reply))
            })
            .collect()
    }
}

impl Run for Flexible {
    fn run(&self, members: &[Member<'_>]) -> Result<Vec<Bytes>> {
        if let Some(form) = self.usual.as_ref().and_then(|usual| usual.form_for(members)) {
            return form.run(members);
        }
        self.lanes.with(|request| {
            self.gather(request, members)?;
            request
                .infer_flexible()
                .map_err(|failure| failure.into_run_error(&self.device))?;
            self.scatter(request, members)
        })
    }
}
