//! Buffers that a thread keeps from request to request.

/// Work space of more elements than this is given back after use.
const MAX_KEPT: usize = 1 << 20;

/// The first `length` elements of a buffer that grows when it must.
pub(crate) fn sized<T: Copy + Default>(buffer: &mut Vec<T>, length: usize) -> &mut [T] {
    if buffer.len() < length {
        buffer.resize(length, T::default());
    }
    &mut buffer[..length]
}

/// Frees a buffer that has grown beyond what a thread should keep.
pub(crate) fn give_back<T>(buffer: &mut Vec<T>) {
    if buffer.capacity() > MAX_KEPT {
        *buffer = Vec::new();
    }
}
