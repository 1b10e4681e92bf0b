//! The core: devices, properties, reading and compiling.

use std::ffi::CStr;
use std::path::Path;
use std::ptr;
use std::sync::Arc;

use openvino_sys::{
    ov_available_devices_free, ov_available_devices_t, ov_core_compile_model_props, ov_core_create, ov_core_free,
    ov_core_get_available_devices, ov_core_get_property, ov_core_read_model, ov_core_t, ov_get_openvino_version,
    ov_property_t, ov_version_free, ov_version_t,
};
use parking_lot::Mutex;

use crate::memory::let_go;

#[cfg(feature = "double")]
use super::double;
use super::failure::{c_text, check, take_text};
use super::{Compiled, Failure, Graph};

/// OpenVINO's core; one per process is enough and advised.
pub(crate) struct Core {
    core: *mut ov_core_t,
    /// Reading and compiling fail often enough that their texts must not be mixed up.
    loading: Mutex<()>,
}

// SAFETY: OpenVINO states that the methods of a core may be called from several threads at once.
unsafe impl Send for Core {}
// SAFETY: as above.
unsafe impl Sync for Core {}

impl Core {
    /// A core of the loaded library.
    pub(crate) fn new() -> Result<Self, Failure> {
        let mut core = ptr::null_mut();
        // SAFETY: `core` is valid for one write.
        check(unsafe { ov_core_create(&raw mut core) })?;
        Ok(Self {
            core,
            loading: Mutex::new(()),
        })
    }

    /// The build number, such as `2026.4.1-22982-...`.
    pub(crate) fn version() -> Result<String, Failure> {
        let mut version = ov_version_t {
            buildNumber: ptr::null(),
            description: ptr::null(),
        };
        // SAFETY: `version` is valid for writes.
        check(unsafe { ov_get_openvino_version(&raw mut version) })?;
        let text = if version.buildNumber.is_null() {
            String::new()
        } else {
            // SAFETY: not null, and NUL-terminated by OpenVINO.
            unsafe { CStr::from_ptr(version.buildNumber) }
                .to_string_lossy()
                .into_owned()
        };
        // SAFETY: filled by OpenVINO above, not used again.
        unsafe { ov_version_free(&raw mut version) };
        Ok(text)
    }

    /// What OpenVINO can compile for on this machine now, such as `["CPU", "GPU.0", "GPU.1"]`.
    pub(crate) fn available_devices(&self) -> Result<Vec<String>, Failure> {
        let mut list = ov_available_devices_t {
            devices: ptr::null_mut(),
            size: 0,
        };
        // SAFETY: the core lives as long as `self`; `list` is valid for writes.
        check(unsafe { ov_core_get_available_devices(self.core, &raw mut list) })?;
        let names = if list.devices.is_null() {
            Vec::new()
        } else {
            // SAFETY: OpenVINO gives `size` NUL-terminated names.
            unsafe { std::slice::from_raw_parts(list.devices, list.size) }
                .iter()
                .map(|name| {
                    // SAFETY: as above.
                    unsafe { CStr::from_ptr(*name) }.to_string_lossy().into_owned()
                })
                .collect()
        };
        // SAFETY: filled by OpenVINO above, not used again.
        unsafe { ov_available_devices_free(&raw mut list) };
        #[cfg(feature = "double")]
        let names = names
            .into_iter()
            .chain(double::is(double::NAME).then(|| double::NAME.to_owned()))
            .collect();
        Ok(names)
    }

    /// A property of a device, as text.
    pub(crate) fn property(&self, device: &str, key: &str) -> Result<String, Failure> {
        #[cfg(feature = "double")]
        if double::is(device) {
            return Ok(double::FULL_NAME.to_owned());
        }
        let (device, key) = (c_text(device)?, c_text(key)?);
        let mut value = ptr::null_mut();
        // SAFETY: the texts are NUL-terminated and outlive the call; `value` is valid for one write.
        check(unsafe { ov_core_get_property(self.core, device.as_ptr(), key.as_ptr(), &raw mut value) })?;
        // SAFETY: OpenVINO allocated the value for the caller; freed here, once.
        Ok(unsafe { take_text(value) }.unwrap_or_default())
    }

    /// Reads an ONNX or IR file; the weights of an IR lie beside it.
    pub(crate) fn read(&self, path: &Path) -> Result<Graph, Failure> {
        let path = c_text(
            path.to_str()
                .ok_or_else(|| Failure::new(format!("path {} is not UTF-8", path.display())))?,
        )?;
        let mut model = ptr::null_mut();
        let _loading = self.loading.lock();
        // SAFETY: `path` is NUL-terminated; null weights mean "beside the model"; `model` is valid for one write.
        check(unsafe { ov_core_read_model(self.core, path.as_ptr(), ptr::null(), &raw mut model) })?;
        Ok(Graph::new(model))
    }

    /// Lets go of the pages of a model's files that are still resident because it has been loaded from them.
    pub(crate) fn let_go(&self, wanted: impl Fn(&Path) -> bool) {
        let _loading = self.loading.lock();
        let_go(wanted);
    }

    /// Compiles a graph for a device; seconds for large models.
    pub(crate) fn compile(
        self: &Arc<Self>,
        graph: &Graph,
        device: &str,
        properties: &[(&str, String)],
    ) -> Result<Compiled, Failure> {
        #[cfg(feature = "double")]
        let device = if double::is(device) {
            double::compile(graph)?;
            double::SUBSTITUTE
        } else {
            device
        };
        let device = c_text(device)?;
        let texts = properties
            .iter()
            .map(|(key, value)| Ok((c_text(key)?, c_text(value)?)))
            .collect::<Result<Vec<_>, Failure>>()?;
        let pairs: Vec<_> = texts
            .iter()
            .map(|(key, value)| ov_property_t {
                key: key.as_ptr(),
                value: value.as_ptr().cast(),
            })
            .collect();
        let mut compiled = ptr::null_mut();
        let _loading = self.loading.lock();
        // SAFETY: `pairs` holds `len` pairs of NUL-terminated texts that outlive the call; the variadic form is not
        // used because run-time linking drops its arguments. `compiled` is valid for one write.
        check(unsafe {
            ov_core_compile_model_props(
                self.core,
                graph.as_ptr(),
                device.as_ptr(),
                pairs.len(),
                pairs.as_ptr(),
                &raw mut compiled,
            )
        })?;
        Ok(Compiled::new(compiled, Arc::clone(self)))
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        // SAFETY: created by `new`; everything compiled by it holds an `Arc` of it, so nothing uses it any more.
        unsafe { ov_core_free(self.core) };
    }
}
