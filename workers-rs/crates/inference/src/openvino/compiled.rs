//! A model on a device.

use std::ptr;
use std::sync::Arc;

use openvino_sys::{
    ov_compiled_model_create_infer_request, ov_compiled_model_free, ov_compiled_model_get_property, ov_compiled_model_t,
};

use crate::memory::FREEING;

use super::failure::{c_text, check, take_text};
use super::{Call, Core, Failure, Request};

/// A compiled model; clones share it, and requests keep it alive.
#[derive(Clone)]
pub(crate) struct Compiled(Arc<Owned>);

struct Owned {
    model: *mut ov_compiled_model_t,
    /// Outlives the model, as OpenVINO's plugins live in the core.
    _core: Arc<Core>,
}

// SAFETY: OpenVINO states that a compiled model may be used from several threads at once.
unsafe impl Send for Owned {}
// SAFETY: as above.
unsafe impl Sync for Owned {}

impl Compiled {
    pub(super) fn new(model: *mut ov_compiled_model_t, core: Arc<Core>) -> Self {
        Self(Arc::new(Owned { model, _core: core }))
    }

    /// A property, as text.
    pub(crate) fn property(&self, key: &str) -> Result<String, Failure> {
        let key = c_text(key)?;
        let mut value = ptr::null_mut();
        // SAFETY: `key` is NUL-terminated and outlives the call; `value` is valid for one write.
        check(unsafe { ov_compiled_model_get_property(self.0.model, key.as_ptr(), &raw mut value) })?;
        // SAFETY: OpenVINO allocated the value for the caller; freed here, once.
        Ok(unsafe { take_text(value) }.unwrap_or_default())
    }

    /// A new request with the numbers of inputs and outputs that the model has.
    pub(crate) fn request(&self, inputs: usize, outputs: usize, call: Call) -> Result<Request, Failure> {
        let mut request = ptr::null_mut();
        // SAFETY: the model lives as long as `self`; `request` is valid for one write.
        check(unsafe { ov_compiled_model_create_infer_request(self.0.model, &raw mut request) })?;
        Request::new(request, self.clone(), inputs, outputs, call)
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let _freeing = FREEING.read();
        // SAFETY: compiled by the core, freed once; every request holds a clone of it, so none is left.
        unsafe { ov_compiled_model_free(self.model) };
    }
}
