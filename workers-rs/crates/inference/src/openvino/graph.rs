//! A model as read, before it is compiled.

use std::ptr;

use openvino_sys::{
    ov_model_const_input_by_index, ov_model_const_output_by_index, ov_model_free, ov_model_inputs_size,
    ov_model_is_dynamic, ov_model_outputs_size, ov_model_reshape_by_port_indexes, ov_model_t,
    ov_output_const_port_free, ov_output_const_port_t, ov_partial_shape_t, ov_port_get_any_name,
    ov_port_get_element_type, ov_port_get_partial_shape, ov_rank_t,
};

use crate::memory::FREEING;

use super::Failure;
use super::failure::{check, take_text};
use super::shape::{partial_dims_of, rank_of, take_partial_shape};

/// An input or output as OpenVINO describes it.
#[derive(Clone, Debug)]
pub(crate) struct RawPort {
    /// A name of its tensor; some models have ports without one.
    pub(crate) name: Option<String>,
    /// OpenVINO's number of the element type.
    pub(crate) element_type: u32,
    /// `None`: even the rank is open. A dimension that is `None` is open.
    pub(crate) shape: Option<Vec<Option<usize>>>,
}

/// A model in memory; changing its shapes changes it in place.
pub(crate) struct Graph {
    model: *mut ov_model_t,
}

// SAFETY: a model is plain data; OpenVINO binds it to no thread.
unsafe impl Send for Graph {}

impl Graph {
    pub(super) fn new(model: *mut ov_model_t) -> Self {
        Self { model }
    }

    pub(super) fn as_ptr(&self) -> *const ov_model_t {
        self.model
    }

    /// The inputs, in the model's order.
    pub(crate) fn inputs(&self) -> Result<Vec<RawPort>, Failure> {
        let mut count = 0;
        // SAFETY: the model lives as long as `self`; `count` is valid for one write.
        check(unsafe { ov_model_inputs_size(self.model, &raw mut count) })?;
        (0..count)
            .map(|index| {
                let mut port = ptr::null_mut();
                // SAFETY: `index` is below the count; `port` is valid for one write.
                check(unsafe { ov_model_const_input_by_index(self.model, index, &raw mut port) })?;
                // SAFETY: OpenVINO gave the port to the caller; it is freed there, once.
                unsafe { take_port(port) }
            })
            .collect()
    }

    /// The outputs, in the model's order.
    pub(crate) fn outputs(&self) -> Result<Vec<RawPort>, Failure> {
        let mut count = 0;
        // SAFETY: the model lives as long as `self`; `count` is valid for one write.
        check(unsafe { ov_model_outputs_size(self.model, &raw mut count) })?;
        (0..count)
            .map(|index| {
                let mut port = ptr::null_mut();
                // SAFETY: `index` is below the count; `port` is valid for one write.
                check(unsafe { ov_model_const_output_by_index(self.model, index, &raw mut port) })?;
                // SAFETY: OpenVINO gave the port to the caller; it is freed there, once.
                unsafe { take_port(port) }
            })
            .collect()
    }

    /// Whether any shape, of a port or inside, is known only when it runs.
    pub(crate) fn is_dynamic(&self) -> bool {
        // SAFETY: the model lives as long as `self`.
        unsafe { ov_model_is_dynamic(self.model) }
    }

    /// Gives every input a new shape; the outputs follow, or it fails.
    pub(crate) fn reshape(&mut self, shapes: &[Vec<Option<usize>>]) -> Result<(), Failure> {
        let mut dims = shapes
            .iter()
            .map(|shape| partial_dims_of(shape))
            .collect::<Result<Vec<_>, Failure>>()?;
        let partial: Vec<_> = dims
            .iter_mut()
            .map(|dims| ov_partial_shape_t {
                rank: ov_rank_t {
                    min: rank_of(dims),
                    max: rank_of(dims),
                },
                dims: dims.as_mut_ptr(),
            })
            .collect();
        let indexes: Vec<usize> = (0..partial.len()).collect();
        // SAFETY: both arrays have `len` entries, and the dimensions outlive the call, which copies them. `&mut self`
        // keeps everyone else off the model.
        check(unsafe {
            ov_model_reshape_by_port_indexes(self.model, indexes.as_ptr(), partial.as_ptr(), partial.len())
        })
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        let _freeing = FREEING.read();
        // SAFETY: read by the core, freed once; compiled models keep what they need of it.
        unsafe { ov_model_free(self.model) };
    }
}

/// Describes a port and frees it.
///
/// # Safety
/// `port` came from OpenVINO and nobody frees it afterwards.
unsafe fn take_port(port: *mut ov_output_const_port_t) -> Result<RawPort, Failure> {
    let described = (|| {
        let mut name = ptr::null_mut();
        // SAFETY: `port` is valid; `name` is valid for one write. A port without a name is a failure here.
        let named = check(unsafe { ov_port_get_any_name(port, &raw mut name) });
        // SAFETY: OpenVINO allocated the name for the caller; freed here, once.
        let name = named.ok().and_then(|()| unsafe { take_text(name) });

        let mut element_type = 0_u32;
        // SAFETY: the C enumeration is a 32-bit number. Written as a number because a newer library may know types
        // that the Rust enumeration lacks.
        check(unsafe { ov_port_get_element_type(port, (&raw mut element_type).cast()) })?;

        let mut shape = ov_partial_shape_t {
            rank: ov_rank_t { min: 0, max: 0 },
            dims: ptr::null_mut(),
        };
        // SAFETY: `port` is valid; `shape` is valid for writes.
        check(unsafe { ov_port_get_partial_shape(port, &raw mut shape) })?;
        Ok(RawPort {
            name,
            element_type,
            // SAFETY: filled by OpenVINO above; freed there, once.
            shape: unsafe { take_partial_shape(shape) },
        })
    })();
    // SAFETY: the caller gave the port away.
    unsafe { ov_output_const_port_free(port) };
    described
}
