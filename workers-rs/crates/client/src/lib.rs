//! The fast core of the SDK: calls in flight, deadlines, cancellation.
