//! Shapes across the boundary.

use openvino_sys::{ov_dimension_t, ov_partial_shape_free, ov_partial_shape_t, ov_shape_free, ov_shape_t};

use super::Failure;
use super::failure::check;

/// Dimensions as OpenVINO takes them; a size beyond `i64` cannot be.
pub(super) fn dims_of(shape: &[usize]) -> Result<Vec<i64>, Failure> {
    shape
        .iter()
        .map(|dim| i64::try_from(*dim).map_err(|_| Failure::new(format!("dimension {dim} is too large"))))
        .collect()
}

/// A shape that borrows `dims`; valid while they live.
pub(super) fn shape_over(dims: &mut [i64]) -> ov_shape_t {
    ov_shape_t {
        rank: rank_of(dims),
        dims: dims.as_mut_ptr(),
    }
}

/// The number of dimensions as OpenVINO takes it.
pub(super) fn rank_of<T>(dims: &[T]) -> i64 {
    // A slice never has more elements than that.
    i64::try_from(dims.len()).unwrap_or(i64::MAX)
}

/// Copies a shape that OpenVINO allocated, and frees it.
///
/// # Safety
/// `shape` was filled by OpenVINO and nobody frees it afterwards.
pub(super) unsafe fn take_shape(mut shape: ov_shape_t) -> Result<Vec<usize>, Failure> {
    let copy = if shape.rank <= 0 || shape.dims.is_null() {
        Vec::new()
    } else {
        // SAFETY: OpenVINO gives `rank` dimensions.
        unsafe { std::slice::from_raw_parts(shape.dims, shape.rank as usize) }
            .iter()
            .map(|dim| usize::try_from(*dim).unwrap_or(0))
            .collect()
    };
    // SAFETY: filled by OpenVINO by the caller's promise; not used again.
    check(unsafe { ov_shape_free(&raw mut shape) })?;
    Ok(copy)
}

/// Copies a partial shape that OpenVINO allocated, and frees it; `None` means that even the rank is open.
///
/// # Safety
/// `shape` was filled by OpenVINO and nobody frees it afterwards.
pub(super) unsafe fn take_partial_shape(mut shape: ov_partial_shape_t) -> Option<Vec<Option<usize>>> {
    let fixed_rank = shape.rank.min == shape.rank.max && shape.rank.min >= 0;
    let copy = fixed_rank.then(|| {
        if shape.rank.max == 0 || shape.dims.is_null() {
            return Vec::new();
        }
        // SAFETY: OpenVINO gives `rank` dimensions.
        unsafe { std::slice::from_raw_parts(shape.dims, shape.rank.max as usize) }
            .iter()
            .map(|dim| (dim.min == dim.max).then(|| usize::try_from(dim.max).ok()).flatten())
            .collect()
    });
    // SAFETY: filled by OpenVINO by the caller's promise; not used again.
    unsafe { ov_partial_shape_free(&raw mut shape) };
    copy
}

/// Dimensions as OpenVINO takes them; `None` is any size.
pub(super) fn partial_dims_of(shape: &[Option<usize>]) -> Result<Vec<ov_dimension_t>, Failure> {
    shape
        .iter()
        .map(|dim| match dim {
            None => Ok(ov_dimension_t { min: -1, max: -1 }),
            Some(size) => i64::try_from(*size)
                .map(|size| ov_dimension_t { min: size, max: size })
                .map_err(|_| Failure::new(format!("dimension {size} is too large"))),
        })
        .collect()
}
