//! The steps of a pipeline: objects with `operation`, and where wanted `params`, `model`, `inputs`, `request_inputs`.

use serde_json::{Map, Value};

use crate::header::shortened;
use crate::{Error, ErrorKind, Result, contract, subject};

/// The operation whose parameter they are; none of its own steps.
const PIPELINE: &str = "pipeline";
const KEYS: [&str; 5] = ["operation", "params", "model", "inputs", "request_inputs"];

/// Checks the steps that a parameter holds; gives them with their parameters checked and filled in.
///
/// # Errors
/// `invalid_parameter` naming the step.
pub fn check(parameter: &str, value: &Value, maximum: usize) -> Result<Value> {
    let Value::Array(steps) = value else {
        let value = shortened(&value.to_string());
        return Err(invalid(format!(
            "parameter '{parameter}' is {value}; allowed: a list of steps"
        )));
    };
    if steps.is_empty() || steps.len() > maximum {
        let count = steps.len();
        return Err(invalid(format!(
            "parameter '{parameter}' has {count} steps; allowed: 1 to {maximum}"
        )));
    }
    let checked = steps.iter().enumerate().map(|(index, step)| one(index, step, false));
    checked.collect::<Result<Vec<_>>>().map(Value::Array)
}

/// Checks one step, which with `nested` may be a pipeline; `index` counts from 0.
///
/// # Errors
/// As [`check`].
pub fn one(index: usize, step: &Value, nested: bool) -> Result<Value> {
    let found = step
        .as_object()
        .and_then(|step| Some((step, step.get("operation")?.as_str()?)));
    let Some((step, operation)) = found else {
        let (number, step) = (index + 1, shortened(&step.to_string()));
        return Err(invalid(format!(
            "step {number} is {step}; allowed: an object with 'operation'"
        )));
    };
    checked(step, operation, nested).map_err(|error| named(index, operation, &error))
}

/// An error that names its step: its number, counted from 1, and its operation.
pub fn named(index: usize, operation: &str, error: &Error) -> Error {
    let (number, operation) = (index + 1, shortened(operation));
    Error {
        message: format!("step {number} ({operation}): {}", error.message),
        ..error.clone()
    }
}

fn checked(step: &Map<String, Value>, operation: &str, nested: bool) -> Result<Value> {
    if let Some(key) = step.keys().find(|key| !KEYS.contains(&key.as_str())) {
        let (key, allowed) = (shortened(key), KEYS.join(", "));
        return Err(invalid(format!("unknown key '{key}'; allowed: {allowed}")));
    }
    let row = contract::operation(operation).filter(|row| nested || row.name != PIPELINE);
    let row = row.ok_or_else(|| invalid(format!("'{}' is no step of a pipeline", shortened(operation))))?;
    let mut checked = step.clone();
    let params = object(step, "params")?.map(|params| row.check_params(params));
    let params = params.unwrap_or_else(|| row.check_params(&Map::new()))?;
    checked.insert("params".to_owned(), Value::Object(params));
    match (row.model, step.get("model")) {
        (false, None) => {}
        (true, Some(Value::String(model))) if subject::validate_name(model).is_ok() => {}
        (is_needed, model) => {
            let model = model.map_or_else(|| "missing".to_owned(), |model| shortened(&model.to_string()));
            let allowed = if is_needed {
                "the name of a registered model"
            } else {
                "none"
            };
            return Err(invalid(format!("'model' is {model}; allowed: {allowed}")));
        }
    }
    for key in ["inputs", "request_inputs"] {
        let mut names = object(step, key)?.into_iter().flatten();
        if names.any(|(name, source)| name.is_empty() || source.as_str().is_none_or(str::is_empty)) {
            let value = shortened(&step[key].to_string());
            return Err(invalid(format!(
                "'{key}' is {value}; allowed: an object of tensor names"
            )));
        }
    }
    Ok(Value::Object(checked))
}

fn object<'a>(step: &'a Map<String, Value>, key: &str) -> Result<Option<&'a Map<String, Value>>> {
    match step.get(key) {
        None => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(other) => {
            let value = shortened(&other.to_string());
            Err(invalid(format!("'{key}' is {value}; allowed: an object")))
        }
    }
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidParameter, message)
}
