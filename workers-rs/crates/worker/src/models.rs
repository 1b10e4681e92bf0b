//! Models: not yet.

use serde_json::{Value, json};

/// What is said about devices until they are known.
pub(crate) fn unknown_devices() -> Value {
    json!([])
}
