//! The kinds of nodes that a compiled model consists of, from the profile of one inference.

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::ptr;

use openvino_sys::{
    ov_infer_request_get_profiling_info, ov_infer_request_t, ov_profiling_info_list_free, ov_profiling_info_list_t,
};

use super::Failure;
use super::failure::check;

/// Node types of the last inference of a request that was compiled with `PERF_COUNT`.
pub(super) fn node_types(request: *mut ov_infer_request_t) -> Result<BTreeSet<String>, Failure> {
    let mut list = ov_profiling_info_list_t {
        profiling_infos: ptr::null_mut(),
        size: 0,
    };
    // SAFETY: the caller's request is valid; `list` is valid for writes.
    check(unsafe { ov_infer_request_get_profiling_info(request, &raw mut list) })?;
    let types = if list.profiling_infos.is_null() {
        BTreeSet::new()
    } else {
        // SAFETY: OpenVINO gives `size` entries.
        unsafe { std::slice::from_raw_parts(list.profiling_infos, list.size) }
            .iter()
            .filter(|node| !node.node_type.is_null())
            .map(|node| {
                // SAFETY: not null, and NUL-terminated by OpenVINO.
                unsafe { CStr::from_ptr(node.node_type) }.to_string_lossy().into_owned()
            })
            .collect()
    };
    // SAFETY: filled by OpenVINO above, not used again.
    unsafe { ov_profiling_info_list_free(&raw mut list) };
    Ok(types)
}
