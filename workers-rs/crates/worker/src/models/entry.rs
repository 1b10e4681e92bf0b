//! What the registry says about one version of a model. Anybody may have written it, so everything is checked.

use npufleet_wire::subject;
use serde::Deserialize;

const MAX_BATCH: usize = 1 << 20;
const MAX_FILE_NAME: usize = 128;
const MAX_INSTANCES: usize = 64;

/// One version of a model.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) version: u32,
    pub(crate) format: Format,
    pub(crate) files: Vec<StoredFile>,
    pub(crate) max_batch: usize,
    #[serde(default)]
    pub(crate) precision: Option<String>,
    #[serde(default)]
    pub(crate) devices: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) max_queue_delay_us: u64,
    #[serde(default)]
    pub(crate) instances: Option<usize>,
    #[serde(default)]
    pub(crate) performance_hint: Option<Hint>,
    #[serde(default)]
    pub(crate) added: String,
}

/// What a model is tuned for.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Hint {
    Latency,
    Throughput,
}

/// How a model is written.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    Onnx,
    /// `OpenVINO`'s intermediate representation.
    Ir,
}

/// A file of a model in the object store.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub(crate) struct StoredFile {
    pub(crate) name: String,
    pub(crate) object: String,
    /// Bytes.
    pub(crate) size: u64,
    /// Hexadecimal, lower case.
    pub(crate) sha256: String,
}

impl Format {
    /// The files, by the names that the registry gives them; the first is the one to open.
    pub(crate) fn files(self) -> &'static [&'static str] {
        match self {
            Self::Onnx => &["model.onnx"],
            Self::Ir => &["model.xml", "model.bin"],
        }
    }
}

impl Entry {
    /// Reads and checks the value that stands under `key`.
    ///
    /// # Errors
    /// The text of what is wrong.
    pub(crate) fn parse(key: &str, value: &[u8]) -> Result<Self, String> {
        let entry: Self =
            serde_json::from_slice(value).map_err(|error| format!("registry entry '{key}' cannot be read: {error}"))?;
        match entry.problem(key) {
            Some(problem) => Err(format!("registry entry '{key}': {problem}")),
            None => Ok(entry),
        }
    }

    /// `<name>.<version>`.
    pub(crate) fn key(&self) -> String {
        format!("{}.{}", self.name, self.version)
    }

    fn problem(&self, key: &str) -> Option<String> {
        if let Err(error) = subject::validate_name(&self.name) {
            return Some(error.message);
        }
        if self.key() != key || self.version == 0 {
            return Some(format!("the entry says {}", self.key()));
        }
        let mut names: Vec<_> = self.files.iter().map(|file| file.name.as_str()).collect();
        let mut wanted = self.format.files().to_vec();
        names.sort_unstable();
        wanted.sort_unstable();
        if names != wanted {
            return Some(format!("files are {names:?}; allowed: {wanted:?}"));
        }
        if !(1..=MAX_BATCH).contains(&self.max_batch) {
            return Some(format!("max_batch is {}; allowed: 1 to {MAX_BATCH}", self.max_batch));
        }
        if let Some(instances) = self.instances
            && !(1..=MAX_INSTANCES).contains(&instances)
        {
            return Some(format!("instances is {instances}; allowed: 1 to {MAX_INSTANCES}"));
        }
        self.files.iter().find_map(StoredFile::problem)
    }
}

impl StoredFile {
    fn problem(&self) -> Option<String> {
        // A name becomes a path: no separators, no `..`, nothing hidden.
        let mut bytes = self.name.bytes();
        let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        let rest = bytes.all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if !first || !rest || self.name.len() > MAX_FILE_NAME {
            return Some(format!("file name '{}' is not allowed", self.name));
        }
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if self.sha256.len() != 64 || !self.sha256.bytes().all(hex) {
            return Some(format!(
                "sha256 of file '{}' is '{}'; allowed: 64 hexadecimal digits",
                self.name, self.sha256
            ));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn entry() -> Value {
        let file = json!({"name": "model.onnx", "object": "m/1/model.onnx", "size": 3, "sha256": "0".repeat(64)});
        json!({"name": "m", "version": 1, "format": "onnx", "files": [file], "max_batch": 8,
            "instances": null, "performance_hint": null})
    }

    fn with(path: &str, value: Value) -> Result<Entry, String> {
        let mut entry = entry();
        *entry.pointer_mut(path).unwrap() = value;
        Entry::parse("m.1", entry.to_string().as_bytes())
    }

    #[test]
    fn a_good_entry_is_read() {
        let entry = Entry::parse("m.1", entry().to_string().as_bytes()).unwrap();
        assert_eq!(
            (entry.key().as_str(), entry.max_queue_delay_us, entry.devices),
            ("m.1", 0, None)
        );
    }

    #[test]
    fn nothing_in_it_is_trusted() {
        let bad = [
            ("/name", json!("../m")),
            ("/version", json!(2)),
            ("/version", json!(-1)),
            ("/format", json!("pickle")),
            ("/files", json!([])),
            ("/files/0/name", json!("../../etc/passwd")),
            ("/files/0/name", json!("model.bin")),
            ("/files/0/sha256", json!("x")),
            ("/files/0/size", json!(-1)),
            ("/max_batch", json!(0)),
            ("/instances", json!(0)),
            ("/performance_hint", json!("power")),
        ];
        for (path, value) in bad {
            assert!(with(path, value.clone()).is_err(), "{path} {value}");
        }
        assert!(Entry::parse("m.1", b"{").is_err());
        assert!(Entry::parse("other.1", entry().to_string().as_bytes()).is_err());
    }

    #[test]
    fn file_names_cannot_leave_their_directory() {
        for name in ["", "..", ".hidden", "a/b", "a\\b", "a\0b", &"a".repeat(129)] {
            let file = StoredFile {
                name: name.to_owned(),
                object: String::new(),
                size: 0,
                sha256: "0".repeat(64),
            };
            assert!(file.problem().is_some(), "{name:?}");
        }
    }
}
