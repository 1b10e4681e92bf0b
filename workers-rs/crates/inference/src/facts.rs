//! What was found out about a model by trying, kept beside its compiled forms so that it is not tried at every load.

use std::collections::BTreeMap;
use std::thread::available_parallelism;

use serde::{Deserialize, Serialize};

use crate::ModelOptions;
use crate::bucket::Mode;

/// How a model is best run here.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Facts {
    pub(crate) mode: Mode,
    /// Rows, and microseconds of an inference.
    pub(crate) buckets: Vec<(usize, f64)>,
    /// Whether rows may be joined, since none was seen to depend on another.
    pub(crate) independent: bool,
}

/// Facts by what they depend on besides the model.
pub(crate) type Book = BTreeMap<String, Facts>;

/// What facts depend on besides the model; none where the model itself is not known by name.
pub(crate) fn page(options: &ModelOptions) -> Option<String> {
    options.digest.as_ref()?;
    let cores = available_parallelism().map_or(1, usize::from);
    let ModelOptions {
        max_batch,
        precision,
        hint,
        instances,
        threads,
        parallel,
        budget,
        ..
    } = options;
    let budget = budget.total();
    Some(format!(
        "{max_batch} {precision:?} {hint:?} {instances:?} {threads} {parallel} {budget} {cores}"
    ))
}
