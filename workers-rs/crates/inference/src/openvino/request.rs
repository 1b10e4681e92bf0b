//! One inference at a time, with the tensors that belong to it.

use std::collections::BTreeSet;
use std::mem::ManuallyDrop;
use std::ptr;
use std::time::Duration;

use openvino_sys::{
    ov_infer_request_free, ov_infer_request_get_input_tensor_by_index, ov_infer_request_get_output_tensor_by_index,
    ov_infer_request_infer, ov_infer_request_set_input_tensor_by_index, ov_infer_request_start_async,
    ov_infer_request_t, ov_infer_request_wait, ov_infer_request_wait_for, ov_status_e,
};

use super::failure::check;
use super::profile::node_types;
use super::tensor::Tensor;
use super::{Compiled, Failure};

/// How a request runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// On the calling thread.
    Direct,
    /// Handed to a thread of OpenVINO's and awaited.
    Queued,
    /// As `Queued`, for a device that may never answer: after so long it counts as lost.
    Watched(Duration),
}

/// An infer request. Its own tensors are written in place, which is the way without further copies on every device.
pub(crate) struct Request {
    /// Left alone at the end where the device may still be writing.
    parts: ManuallyDrop<Parts>,
    output_count: usize,
    call: Call,
    hangs: bool,
}

struct Parts {
    /// Dropped before the request and the model behind it, as `borrowed`.
    inputs: Vec<Tensor>,
    /// What an input reads instead of its own tensor. The memory may be somebody else's by now: each inference says first
    /// what it reads.
    borrowed: Vec<Option<Tensor>>,
    /// Filled by the first inference: before it, the shapes of a flexible model's outputs are open.
    outputs: Vec<Tensor>,
    handle: Handle,
}

impl Drop for Request {
    fn drop(&mut self) {
        if !self.hangs {
            // SAFETY: dropped here only, once.
            unsafe { ManuallyDrop::drop(&mut self.parts) };
        }
    }
}

struct Handle {
    request: *mut ov_infer_request_t,
    /// Outlives the request.
    _model: Compiled,
}

// SAFETY: a request may be used from any thread, one at a time, which `&mut self` of `infer` ensures.
unsafe impl Send for Handle {}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: created by the compiled model, freed once; no inference runs, as `infer` waits for its end.
        unsafe { ov_infer_request_free(self.request) };
    }
}

impl Request {
    pub(super) fn new(
        request: *mut ov_infer_request_t,
        model: Compiled,
        inputs: usize,
        outputs: usize,
        call: Call,
    ) -> Result<Self, Failure> {
        let handle = Handle { request, _model: model };
        let inputs: Vec<_> = (0..inputs)
            .map(|index| {
                let mut tensor = ptr::null_mut();
                // SAFETY: the request is valid; an index out of range is a failure; `tensor` is valid for one write.
                check(unsafe { ov_infer_request_get_input_tensor_by_index(request, index, &raw mut tensor) })?;
                Tensor::new(tensor)
            })
            .collect::<Result<_, Failure>>()?;
        let parts = Parts {
            borrowed: inputs.iter().map(|_| None).collect(),
            inputs,
            outputs: Vec::with_capacity(outputs),
            handle,
        };
        Ok(Self {
            parts: ManuallyDrop::new(parts),
            output_count: outputs,
            call,
            hangs: false,
        })
    }

    /// An input's tensor, to be filled.
    pub(crate) fn input(&mut self, index: usize) -> &mut Tensor {
        &mut self.parts.inputs[index]
    }

    /// An output's tensor as the last inference left it; there is none before the first.
    pub(crate) fn output(&self, index: usize) -> &Tensor {
        &self.parts.outputs[index]
    }

    /// Runs the model and waits for the end. Outputs keep their shapes.
    pub(crate) fn infer(&mut self) -> Result<(), Failure> {
        self.infer_over(&[])
    }

    /// As `infer`, with inputs that are read where their bytes lie, each as large as the input's own tensor.
    ///
    /// Not where `reads_in_place` says no: a device that never answers might go on reading.
    pub(crate) fn infer_over(&mut self, borrowed: &[(usize, &[u8])]) -> Result<(), Failure> {
        self.parts.read_from(borrowed)?;
        self.run()?;
        if self.parts.outputs.len() < self.output_count {
            return self.fetch_outputs();
        }
        for tensor in &mut self.parts.outputs {
            tensor.refresh()?;
        }
        Ok(())
    }

    /// Whether `infer_over` may borrow.
    pub(crate) fn reads_in_place(&self) -> bool {
        !matches!(self.call, Call::Watched(_))
    }

    /// As `infer`, for a model whose outputs may have new shapes each time.
    pub(crate) fn infer_flexible(&mut self) -> Result<(), Failure> {
        self.parts.read_from(&[])?;
        self.run()?;
        self.fetch_outputs()
    }

    /// Node types of the last inference, where the model was compiled with `PERF_COUNT`.
    pub(crate) fn node_types(&mut self) -> Result<BTreeSet<String>, Failure> {
        node_types(self.parts.handle.request)
    }

    fn run(&mut self) -> Result<(), Failure> {
        let request = self.parts.handle.request;
        match self.call {
            // SAFETY: the request is valid, and `&mut self` keeps every other use away while it runs.
            Call::Direct => check(unsafe { ov_infer_request_infer(request) }),
            Call::Queued => {
                // SAFETY: as above; the wait below ends before `&mut self` does.
                check(unsafe { ov_infer_request_start_async(request) })?;
                // SAFETY: as above.
                check(unsafe { ov_infer_request_wait(request) })
            }
            Call::Watched(patience) => {
                if self.hangs {
                    return Err(Failure::hangs(patience));
                }
                #[cfg(feature = "double")]
                super::double::work(patience)?;
                // SAFETY: as above; a request that does not end is never used or freed again.
                check(unsafe { ov_infer_request_start_async(request) })?;
                let milliseconds = i64::try_from(patience.as_millis()).unwrap_or(i64::MAX);
                // SAFETY: as above.
                let status = unsafe { ov_infer_request_wait_for(request, milliseconds) };
                if status == ov_status_e::RESULT_NOT_READY {
                    self.hangs = true;
                    return Err(Failure::hangs(patience));
                }
                check(status)
            }
        }
    }

    fn fetch_outputs(&mut self) -> Result<(), Failure> {
        let parts = &mut *self.parts;
        parts.outputs.clear();
        for index in 0..self.output_count {
            parts.outputs.push(parts.handle.output(index)?);
        }
        Ok(())
    }
}

impl Parts {
    /// Has the inputs read what is borrowed, and their own tensors otherwise. Telling OpenVINO costs microseconds, which who
    /// sends the same array again does not pay.
    fn read_from(&mut self, borrowed: &[(usize, &[u8])]) -> Result<(), Failure> {
        for (index, own) in self.inputs.iter().enumerate() {
            let bytes = borrowed
                .iter()
                .find(|(other, _)| *other == index)
                .map(|(_, bytes)| *bytes);
            let before = self.borrowed[index].as_ref();
            if before.map(Tensor::place) == bytes.map(<[u8]>::as_ptr_range) {
                continue;
            }
            let tensor = bytes.map(|bytes| own.over(bytes)).transpose()?;
            self.handle.set_input(index, tensor.as_ref().unwrap_or(own))?;
            self.borrowed[index] = tensor;
        }
        Ok(())
    }
}

impl Handle {
    fn set_input(&self, index: usize, tensor: &Tensor) -> Result<(), Failure> {
        // SAFETY: both are valid, and no inference runs; an index out of range is a failure.
        check(unsafe { ov_infer_request_set_input_tensor_by_index(self.request, index, tensor.raw()) })
    }

    fn output(&self, index: usize) -> Result<Tensor, Failure> {
        let mut tensor = ptr::null_mut();
        // SAFETY: the request is valid; an index out of range is a failure; `tensor` is valid for one write.
        check(unsafe { ov_infer_request_get_output_tensor_by_index(self.request, index, &raw mut tensor) })?;
        Tensor::new(tensor)
    }
}
