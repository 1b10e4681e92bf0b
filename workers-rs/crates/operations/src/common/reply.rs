//! Results written in place in the reply frame.

use bytemuck::Pod;
use npufleet_wire::{Dtype, Error, ErrorKind, Result, frame};

/// Refuses a result that is larger than one may ask for, or that has more dimensions than a frame can hold.
///
/// # Errors
/// `payload_too_large`, `invalid_shape`.
pub(crate) fn check_result(dtype: Dtype, shape: &[usize]) -> Result<()> {
    let stored = shape.len() + usize::from(dtype == Dtype::C128);
    if stored > frame::MAX_DIMENSIONS {
        let message = format!(
            "the result would be stored with {stored} dimensions; allowed: at most {}",
            frame::MAX_DIMENSIONS
        );
        return Err(Error::new(ErrorKind::InvalidShape, message));
    }
    let bytes = shape
        .iter()
        .try_fold(dtype.size(), |bytes, dimension| bytes.checked_mul(*dimension));
    if bytes.is_none_or(|bytes| bytes > frame::MAX_RESULT_BYTES) {
        let message = format!(
            "the result {shape:?} of {} is too large; allowed: {} bytes",
            dtype.numpy(),
            frame::MAX_RESULT_BYTES
        );
        return Err(Error::new(ErrorKind::PayloadTooLarge, message));
    }
    Ok(())
}

/// Calls `body` with the place of a tensor in a reply frame as its elements.
///
/// # Errors
/// Those of `body`.
pub(crate) fn fill_place<O: Pod>(place: &mut [u8], body: impl FnOnce(&mut [O]) -> Result<()>) -> Result<()> {
    if let Ok(elements) = bytemuck::try_cast_slice_mut(place) {
        return body(elements);
    }
    // Only an allocator that aligns to less than 8 bytes gets here.
    let mut elements = vec![O::zeroed(); place.len() / size_of::<O>()];
    body(&mut elements)?;
    place.copy_from_slice(bytemuck::cast_slice(&elements));
    Ok(())
}
