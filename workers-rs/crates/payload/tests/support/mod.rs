//! What the tests of this crate share: golden cases, and a folder for arenas.
#![allow(dead_code, unreachable_pub, reason = "each test uses some of it")]

use std::fs;
use std::path::PathBuf;

use npufleet_payload::arena::Folder;
use serde_json::Value;

/// The cases of a group of golden vectors.
pub fn cases(vectors: &str, group: &str) -> Vec<Value> {
    let vectors: Value = serde_json::from_str(vectors).unwrap();
    vectors[group].as_array().unwrap().clone()
}

pub fn text<'a>(case: &'a Value, key: &str) -> &'a str {
    case[key].as_str().unwrap_or_else(|| panic!("{key} of {case}"))
}

pub fn number(case: &Value, key: &str) -> u64 {
    case[key].as_u64().unwrap_or_else(|| panic!("{key} of {case}"))
}

pub fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// A folder of its own that goes with the test.
pub struct Place(pub PathBuf);

impl Place {
    pub fn new() -> Self {
        let name: String = (0..12).map(|_| fastrand::alphanumeric()).collect();
        let path = std::env::temp_dir().join(format!("npufleet-arena-{name}"));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn folder(&self) -> Folder {
        Folder::within(&self.0)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
