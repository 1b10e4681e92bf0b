//! What each operation takes and accepts: the rows of `broker/contract/contract.toml`, and the checks they drive.

mod parameter;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::header::shortened;
use crate::{Dtype, Error, ErrorKind, Layout, Result, TensorInfo};
pub use parameter::{ParameterRow, ParameterType};

/// The contract as it was compiled in.
pub const TEXT: &str = include_str!("../../../../broker/contract/contract.toml");
/// The contract's version: the `v1` in subjects.
pub const VERSION: u32 = 1;

static OPERATIONS: LazyLock<Vec<OperationRow>> = LazyLock::new(|| match read(TEXT) {
    Ok(rows) => rows,
    // The text is part of the program and a test reads it: this is a defect of the build, not of a request.
    Err(error) => panic!("contract.toml: {error}"),
});

/// Every operation of the contract, by name.
pub fn operations() -> &'static [OperationRow] {
    &OPERATIONS
}

/// The row of an operation.
pub fn operation(name: &str) -> Option<&'static OperationRow> {
    operations().iter().find(|row| row.name == name)
}

/// What an operation takes, gives and accepts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperationRow {
    /// The operation's name.
    #[serde(skip)]
    pub name: String,
    /// What it does, in one sentence.
    pub summary: String,
    /// The function whose numbers it must give.
    pub source: Option<String>,
    /// Whether its subject names a model.
    #[serde(default)]
    pub model: bool,
    /// The tensors it takes.
    pub inputs: Tensors,
    /// The tensors it gives.
    pub outputs: Tensors,
    /// The parameters it accepts.
    #[serde(default)]
    pub parameters: Vec<ParameterRow>,
}

/// The tensors that an operation takes or gives.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Tensors {
    /// Exactly these.
    Declared(Vec<TensorRow>),
    /// Any by any names; the word is `any`.
    Any(Any),
}

/// The word `any`.
#[derive(Clone, Copy, Debug, Deserialize)]
pub enum Any {
    /// The only value.
    #[serde(rename = "any")]
    Any,
}

/// A tensor that an operation takes or gives.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorRow {
    /// Its name.
    pub name: String,
    /// The element types it may have, by contract word.
    #[serde(deserialize_with = "dtypes")]
    pub dtypes: Vec<Dtype>,
    /// The fewest dimensions.
    #[serde(default)]
    pub minimum_rank: usize,
    /// Whether a request may come without it.
    #[serde(default)]
    pub optional: bool,
    /// Whether it stands for any number of tensors: `cD` for cD0, cD1 and so on.
    #[serde(default)]
    pub numbered: bool,
    /// What it holds.
    pub summary: String,
}

impl OperationRow {
    /// Checks parameters; gives them in the contract's order and number types, with defaults filled in.
    ///
    /// # Errors
    /// `invalid_parameter` naming the parameter, its value and what is allowed.
    pub fn check_params(&self, params: &Map<String, Value>) -> Result<Map<String, Value>> {
        let known = |name: &str| self.parameters.iter().any(|row| row.name == name);
        if let Some(name) = params.keys().find(|name| !known(name)) {
            let (name, allowed) = (
                shortened(name),
                names(self.parameters.iter().map(|row| row.name.as_str())),
            );
            let message = format!("unknown parameter '{name}' for {}; allowed: {allowed}", self.name);
            return Err(Error::new(ErrorKind::InvalidParameter, message));
        }
        let mut checked = Map::new();
        for row in &self.parameters {
            if let Some(value) = params.get(&row.name).or(row.default.as_ref()) {
                checked.insert(row.name.clone(), row.check(value)?);
            } else if row.required {
                let (name, allowed) = (&row.name, row.allowed());
                let message = format!("parameter '{name}' is missing for {}; allowed: {allowed}", self.name);
                return Err(Error::new(ErrorKind::InvalidParameter, message));
            }
        }
        Ok(checked)
    }

    /// Checks the tensors of a request: their names, types and ranks.
    ///
    /// # Errors
    /// `invalid_shape` naming the tensor, what it is and what is allowed.
    pub fn check_inputs(&self, layout: &Layout) -> Result<()> {
        let Some(rows) = self.declared_inputs() else {
            return Ok(());
        };
        for info in &layout.tensors {
            if let Some(row) = self.input(&info.name)? {
                row.check(info)?;
            }
        }
        let missing = |row: &&TensorRow| !row.optional && layout.tensor(&row.name).is_none();
        if let Some(row) = rows.iter().find(missing) {
            return Err(shape_error(format!(
                "tensor '{}' is missing for {}",
                row.name, self.name
            )));
        }
        Ok(())
    }

    /// The input that a tensor of this name is; none where any are taken.
    ///
    /// # Errors
    /// `invalid_shape` for a name that the operation does not take.
    pub fn input(&self, name: &str) -> Result<Option<&TensorRow>> {
        let Some(rows) = self.declared_inputs() else {
            return Ok(None);
        };
        let found = rows.iter().find(|row| row.matches(name));
        found.map(Some).ok_or_else(|| {
            let (name, allowed) = (shortened(name), names(rows.iter().map(TensorRow::shown)));
            shape_error(format!("unknown tensor '{name}' for {}; allowed: {allowed}", self.name))
        })
    }

    /// The inputs that are declared; none where any are taken.
    pub fn declared_inputs(&self) -> Option<&[TensorRow]> {
        match &self.inputs {
            Tensors::Declared(rows) => Some(rows),
            Tensors::Any(_) => None,
        }
    }

    /// The input that a single tensor stands for: the first one, where a request may come without the others.
    pub fn main_input(&self) -> Option<&TensorRow> {
        self.inputs.main()
    }

    /// The output that is meant where none is named: the first one, where an answer may come without the others.
    pub fn main_output(&self) -> Option<&TensorRow> {
        self.outputs.main()
    }
}

impl Tensors {
    fn main(&self) -> Option<&TensorRow> {
        let Self::Declared(rows) = self else { return None };
        let (first, others) = rows.split_first()?;
        others.iter().all(|row| row.optional).then_some(first)
    }
}

impl TensorRow {
    /// The name as texts show it.
    fn shown(&self) -> Cow<'_, str> {
        if self.numbered {
            Cow::Owned(format!("{}<n>", self.name))
        } else {
            Cow::Borrowed(&self.name)
        }
    }

    /// Whether a tensor of this name is one that the row declares.
    pub fn matches(&self, name: &str) -> bool {
        if !self.numbered {
            return name == self.name;
        }
        let number = name.strip_prefix(&self.name).unwrap_or_default();
        let digits = (1..=4).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
        digits && (number == "0" || !number.starts_with('0'))
    }

    fn check(&self, info: &TensorInfo) -> Result<()> {
        let name = &info.name;
        if !self.dtypes.contains(&info.dtype) {
            let allowed = names(self.dtypes.iter().map(|dtype| dtype.numpy()));
            let dtype = info.dtype.numpy();
            return Err(shape_error(format!(
                "tensor '{name}' has dtype {dtype}; allowed: {allowed}"
            )));
        }
        if info.shape.len() < self.minimum_rank {
            let (rank, minimum) = (info.shape.len(), self.minimum_rank);
            return Err(shape_error(format!(
                "tensor '{name}' has {rank} dimensions; allowed: at least {minimum}"
            )));
        }
        Ok(())
    }
}

fn names(words: impl Iterator<Item: AsRef<str>>) -> String {
    let mut text = String::new();
    for word in words {
        let word = word.as_ref();
        let _ = write!(text, "{}{word}", if text.is_empty() { "" } else { ", " });
    }
    if text.is_empty() { "none".to_owned() } else { text }
}

fn shape_error(message: String) -> Error {
    Error::new(ErrorKind::InvalidShape, message)
}

fn dtypes<'de, D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Vec<Dtype>, D::Error> {
    use serde::de::Error as _;
    let words = Vec::<String>::deserialize(deserializer)?;
    let parse =
        |word: String| Dtype::parse(&word).ok_or_else(|| D::Error::custom(format_args!("unknown dtype '{word}'")));
    words.into_iter().map(parse).collect()
}

fn read(text: &str) -> std::result::Result<Vec<OperationRow>, toml::de::Error> {
    #[derive(Deserialize)]
    struct File {
        operations: std::collections::BTreeMap<String, OperationRow>,
    }
    let File { operations } = toml::from_str(text)?;
    Ok(operations
        .into_iter()
        .map(|(name, row)| OperationRow { name, ..row })
        .collect())
}
