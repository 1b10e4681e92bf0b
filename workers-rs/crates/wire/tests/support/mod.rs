//! What several test files need.
#![allow(dead_code)] // each test file is a crate of its own and uses a part

use std::path::PathBuf;

use serde_json::Value;

/// A golden-vector file.
pub(crate) fn vectors(name: &str) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../../broker/contract/vectors")
        .join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// The cases of one list in a vector file, none of which may be empty.
pub(crate) fn cases(file: &str, list: &str) -> Vec<Value> {
    let cases = vectors(file)[list].as_array().unwrap().clone();
    assert!(!cases.is_empty(), "{file} has no {list} cases");
    cases
}

pub(crate) fn text<'a>(case: &'a Value, key: &str) -> &'a str {
    case[key]
        .as_str()
        .unwrap_or_else(|| panic!("no text '{key}' in {case}"))
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2));
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// A frame around a header as it stands, padded to the next multiple of eight.
pub(crate) fn raw(header: &str, data: &[u8]) -> Vec<u8> {
    let mut header = header.to_owned();
    while !(8 + header.len()).is_multiple_of(8) {
        header.push(' ');
    }
    let mut frame = (header.len() as u64).to_le_bytes().to_vec();
    frame.extend_from_slice(header.as_bytes());
    frame.extend_from_slice(data);
    frame
}
