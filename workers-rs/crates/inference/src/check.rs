//! Whether a frame's tensors are what a model wants.

use npufleet_wire::{Error, ErrorKind, Layout, Result};

use crate::Port;
use crate::port::shape_text;

/// Checks names, types and shapes, and gives the number of rows.
///
/// Rows are the first dimension of the first input whose first dimension is open (1 to `max_batch`), or else the first
/// dimension of the first input that has one.
pub(crate) fn rows(inputs: &[Port], max_batch: usize, layout: &Layout) -> Result<usize> {
    let together = inputs.iter().all(Port::first_is_open);
    let mut open: Option<(&str, usize)> = None;
    let mut fixed = None;
    for port in inputs {
        let name = &port.name;
        let tensor = layout
            .tensor(name)
            .ok_or_else(|| refused(format!("tensor '{name}' is missing; the model wants {port}")))?;
        if tensor.dtype != port.dtype {
            return Err(refused(format!(
                "tensor '{name}' has dtype {}; allowed: {}",
                tensor.dtype.numpy(),
                port.dtype.numpy()
            )));
        }
        let fits = tensor.shape.len() == port.shape.len()
            && tensor
                .shape
                .iter()
                .zip(&port.shape)
                .all(|(is, wanted)| wanted.is_none_or(|wanted| *is == wanted));
        if !fits {
            return Err(refused(format!(
                "tensor '{name}' has shape {:?}; the model wants {}",
                tensor.shape,
                shape_text(&port.shape)
            )));
        }
        let Some(&first) = tensor.shape.first() else {
            continue;
        };
        if !port.first_is_open() {
            fixed.get_or_insert(first);
            continue;
        }
        if first == 0 || first > max_batch {
            return Err(refused(format!(
                "tensor '{name}' has {first} rows; allowed: 1 to {max_batch} (max_batch)"
            )));
        }
        match open {
            Some((other, rows)) if together && rows != first => {
                return Err(refused(format!(
                    "tensor '{name}' has {first} rows; tensor '{other}' has {rows}"
                )));
            }
            Some(_) => {}
            None => open = Some((name, first)),
        }
    }
    if layout.tensors.len() != inputs.len() {
        return Err(unknown(inputs, layout));
    }
    Ok(open.map(|(_, rows)| rows).or(fixed).unwrap_or(1))
}

fn unknown(inputs: &[Port], layout: &Layout) -> Error {
    let stranger = layout
        .tensors
        .iter()
        .find(|tensor| inputs.iter().all(|port| port.name != tensor.name));
    let names: Vec<_> = inputs.iter().map(|port| port.name.as_str()).collect();
    refused(format!(
        "unknown tensor '{}'; the model wants {}",
        stranger.map_or("", |tensor| &tensor.name),
        names.join(", ")
    ))
}

fn refused(message: String) -> Error {
    Error::new(ErrorKind::InvalidShape, message)
}
