//! What an operation accepts besides tensors.

use serde::Deserialize;
use serde_json::{Number, Value};

use super::names;
use crate::header::shortened;
use crate::{Error, ErrorKind, Result, steps};

/// The JSON type of a parameter.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum ParameterType {
    /// A whole number; 4.0 counts as 4.
    Integer,
    /// Any finite number.
    Number,
    /// A text.
    String,
    /// True or false.
    Boolean,
    /// A list of finite numbers; one number counts as a list of one.
    Numbers,
    /// A list of the steps of a pipeline.
    Steps,
}

/// A parameter that an operation accepts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParameterRow {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: ParameterType,
    /// The least allowed number.
    pub minimum: Option<Number>,
    /// The greatest allowed number.
    pub maximum: Option<Number>,
    /// The most numbers or steps that a list may have.
    pub maximum_length: Option<usize>,
    /// The allowed texts.
    pub choices: Option<Vec<String>>,
    /// What stands for its absence.
    pub default: Option<Value>,
    /// Whether every request must give it.
    #[serde(default)]
    pub required: bool,
    /// Its unit.
    pub unit: Option<String>,
    /// What it means, and what its absence means when there is no default.
    pub summary: String,
}

impl ParameterRow {
    pub(super) fn check(&self, value: &Value) -> Result<Value> {
        match self.kind {
            ParameterType::Numbers => self.check_numbers(value),
            ParameterType::Steps => steps::check(&self.name, value, self.maximum_length.unwrap_or(1)),
            kind => self.check_one(kind, value),
        }
    }

    fn check_numbers(&self, value: &Value) -> Result<Value> {
        let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        let most = self.maximum_length.unwrap_or(1);
        if values.is_empty() || values.len() > most {
            let (name, count) = (&self.name, values.len());
            let message = format!("parameter '{name}' has {count} numbers; allowed: 1 to {most} numbers");
            return Err(Error::new(ErrorKind::InvalidParameter, message));
        }
        let checked = values.iter().map(|each| self.check_one(ParameterType::Number, each));
        checked.collect::<Result<Vec<_>>>().map(Value::Array)
    }

    fn check_one(&self, kind: ParameterType, value: &Value) -> Result<Value> {
        let typed = match (kind, value) {
            (ParameterType::Integer, Value::Number(number)) => integer(number).map(Value::from),
            (ParameterType::Number, Value::Number(number)) => number.as_f64().map(Value::from),
            (ParameterType::String, Value::String(_)) | (ParameterType::Boolean, Value::Bool(_)) => Some(value.clone()),
            _ => None,
        };
        let typed = typed.ok_or_else(|| self.refused(value, kind.as_str()))?;
        if let Some(number) = typed.as_f64()
            && (self.minimum().is_some_and(|minimum| number < minimum)
                || self.maximum().is_some_and(|maximum| number > maximum))
        {
            return Err(self.refused(value, &self.allowed()));
        }
        if let (Some(text), Some(choices)) = (typed.as_str(), &self.choices)
            && !choices.iter().any(|choice| choice == text)
        {
            return Err(self.refused(value, &self.allowed()));
        }
        Ok(typed)
    }

    fn minimum(&self) -> Option<f64> {
        self.minimum.as_ref().and_then(Number::as_f64)
    }

    fn maximum(&self) -> Option<f64> {
        self.maximum.as_ref().and_then(Number::as_f64)
    }

    pub(super) fn allowed(&self) -> String {
        if let Some(choices) = &self.choices {
            return names(choices.iter().map(String::as_str));
        }
        match (&self.minimum, &self.maximum) {
            (Some(minimum), Some(maximum)) => format!("{minimum} to {maximum}"),
            (Some(minimum), None) => format!("at least {minimum}"),
            (None, Some(maximum)) => format!("at most {maximum}"),
            (None, None) => self.kind.as_str().to_owned(),
        }
    }

    fn refused(&self, value: &Value, allowed: &str) -> Error {
        let value = match value {
            Value::String(text) => format!("'{}'", shortened(text)),
            other => shortened(&other.to_string()),
        };
        Error::new(
            ErrorKind::InvalidParameter,
            format!("parameter '{}' is {value}; allowed: {allowed}", self.name),
        )
    }
}

impl ParameterType {
    /// The word that the contract uses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Integer => "integer",
            Self::Number => "number",
            Self::String => "string",
            Self::Boolean => "boolean",
            Self::Numbers => "numbers",
            Self::Steps => "steps",
        }
    }
}

/// The whole number that a JSON number is, be it written 4 or 4.0.
fn integer(number: &Number) -> Option<i64> {
    // Above 2^53 a float no longer says which integer was meant.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    number.as_i64().or_else(|| {
        let float = number
            .as_f64()
            .filter(|float| float.fract() == 0.0 && float.abs() <= EXACT)?;
        Some(float as i64)
    })
}
