//! Memory that belongs to a request.

use std::ops::Range;
use std::ptr;

use openvino_sys::{
    ov_element_type_e, ov_shape_t, ov_tensor_create_from_host_ptr, ov_tensor_data, ov_tensor_free,
    ov_tensor_get_byte_size, ov_tensor_get_element_type, ov_tensor_get_shape, ov_tensor_set_shape, ov_tensor_t,
};

use super::Failure;
use super::failure::check;
use super::shape::{dims_of, shape_over, take_shape};

/// A handle to a tensor, with the place of its bytes.
pub(crate) struct Tensor {
    raw: *mut ov_tensor_t,
    data: *mut u8,
    length: usize,
}

// SAFETY: a tensor is plain memory; whoever holds the request it belongs to is its only user.
unsafe impl Send for Tensor {}

impl Tensor {
    pub(super) fn new(raw: *mut ov_tensor_t) -> Result<Self, Failure> {
        let mut tensor = Self {
            raw,
            data: ptr::null_mut(),
            length: 0,
        };
        tensor.refresh()?;
        Ok(tensor)
    }

    /// Another tensor of this type and shape, whose bytes are `bytes`; it is only read, and only while they are there.
    pub(super) fn over(&self, bytes: &[u8]) -> Result<Self, Failure> {
        if bytes.len() != self.length {
            return Err(Failure::new(format!(
                "{} bytes are no tensor of {}",
                bytes.len(),
                self.length
            )));
        }
        let mut element = ov_element_type_e::DYNAMIC;
        // SAFETY: the tensor is valid; `element` is valid for one write, of a type that its port was checked to have.
        check(unsafe { ov_tensor_get_element_type(self.raw, &raw mut element) })?;
        let mut dims = dims_of(&self.shape()?)?;
        let (mut raw, data) = (ptr::null_mut(), bytes.as_ptr().cast_mut());
        // SAFETY: the bytes are as many as type and shape say; the dimensions outlive the call, which copies them.
        check(unsafe { ov_tensor_create_from_host_ptr(element, shape_over(&mut dims), data.cast(), &raw mut raw) })?;
        Ok(Self {
            raw,
            data,
            length: bytes.len(),
        })
    }

    pub(super) fn raw(&self) -> *const ov_tensor_t {
        self.raw
    }

    /// Bytes it holds now.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// Where its bytes lie.
    pub(super) fn place(&self) -> Range<*const u8> {
        let start = self.data.cast_const();
        start..start.wrapping_add(self.length)
    }

    /// Its shape now.
    pub(crate) fn shape(&self) -> Result<Vec<usize>, Failure> {
        let mut shape = ov_shape_t {
            rank: 0,
            dims: ptr::null_mut(),
        };
        // SAFETY: the tensor is valid; `shape` is valid for writes.
        check(unsafe { ov_tensor_get_shape(self.raw, &raw mut shape) })?;
        // SAFETY: filled by OpenVINO above; freed there, once.
        unsafe { take_shape(shape) }
    }

    /// Gives it another shape; its bytes may move, and their content is open.
    pub(crate) fn set_shape(&mut self, shape: &[usize]) -> Result<(), Failure> {
        let mut dims = dims_of(shape)?;
        // SAFETY: the tensor is valid; the dimensions outlive the call, which copies them.
        check(unsafe { ov_tensor_set_shape(self.raw, shape_over(&mut dims)) })?;
        self.refresh()
    }

    /// Copies bytes in, starting at byte `at`.
    ///
    /// # Panics
    /// When they do not fit: the caller has checked shapes before.
    pub(crate) fn write(&mut self, at: usize, bytes: &[u8]) {
        assert!(
            at.checked_add(bytes.len()).is_some_and(|end| end <= self.length),
            "write beyond a tensor"
        );
        if !bytes.is_empty() {
            // SAFETY: inside the tensor by the check above; foreign memory cannot overlap ours.
            unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.data.add(at), bytes.len()) };
        }
    }

    /// Fills it with zeros.
    pub(crate) fn clear(&mut self) {
        if self.length > 0 {
            // SAFETY: the tensor holds so many bytes, and `&mut self` is their only user.
            unsafe { ptr::write_bytes(self.data, 0, self.length) };
        }
    }

    /// Copies bytes out, starting at byte `at`.
    ///
    /// # Panics
    /// When there are not so many: the caller has checked shapes before.
    pub(crate) fn read(&self, at: usize, bytes: &mut [u8]) {
        assert!(
            at.checked_add(bytes.len()).is_some_and(|end| end <= self.length),
            "read beyond a tensor"
        );
        if !bytes.is_empty() {
            // SAFETY: inside the tensor by the check above; foreign memory cannot overlap ours. Only outputs are
            // read, after an inference has written them.
            unsafe { ptr::copy_nonoverlapping(self.data.add(at), bytes.as_mut_ptr(), bytes.len()) };
        }
    }

    /// Asks again where its bytes are.
    pub(super) fn refresh(&mut self) -> Result<(), Failure> {
        let mut length = 0;
        // SAFETY: the tensor is valid; `length` is valid for one write.
        check(unsafe { ov_tensor_get_byte_size(self.raw, &raw mut length) })?;
        let mut data = ptr::null_mut();
        if length > 0 {
            // SAFETY: the tensor is valid; `data` is valid for one write.
            check(unsafe { ov_tensor_data(self.raw, &raw mut data) })?;
        }
        self.data = data.cast();
        self.length = if data.is_null() { 0 } else { length };
        Ok(())
    }
}

impl Drop for Tensor {
    fn drop(&mut self) {
        // SAFETY: OpenVINO gave this handle to the caller; freed once. The request keeps its own.
        unsafe { ov_tensor_free(self.raw) };
    }
}
