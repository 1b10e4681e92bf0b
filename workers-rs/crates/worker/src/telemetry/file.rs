//! Spans in a local file: OTLP in JSON, one `TracesData` object per line, as the OTLP file exporter specifies.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use parking_lot::Mutex;

use super::export::variable;
use super::json;
use crate::events::log;

/// A larger file is moved aside, replacing the one that was moved aside before.
const MAX_BYTES: u64 = 16 << 20;

/// Appends spans to `<service>-<pid>.jsonl`.
#[derive(Debug)]
pub(super) struct FileExporter {
    path: PathBuf,
    open: Mutex<Open>,
    resource: Vec<u8>,
}

#[derive(Debug, Default)]
struct Open {
    file: Option<File>,
    bytes: u64,
}

impl FileExporter {
    /// Makes the directory; the file appears with the first span.
    pub(super) fn open(service: &str) -> Result<Self, String> {
        let directory = directory().ok_or("no directory for traces: neither NPUFLEET_TRACE_DIR nor HOME is set")?;
        Self::in_directory(&directory, service)
    }

    fn in_directory(directory: &Path, service: &str) -> Result<Self, String> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder
            .create(directory)
            .map_err(|error| format!("cannot make {}: {error}", directory.display()))?;
        let safe: String = service
            .chars()
            .map(|character| {
                if character.is_alphanumeric() || "-_.".contains(character) {
                    character
                } else {
                    '_'
                }
            })
            .collect();
        let path = directory.join(format!("{safe}-{}.jsonl", std::process::id()));
        Ok(Self {
            path,
            open: Mutex::default(),
            resource: b"[]".to_vec(),
        })
    }

    fn write(&self, line: &[u8]) -> std::io::Result<()> {
        let mut open = self.open.lock();
        if open.bytes + line.len() as u64 > MAX_BYTES && open.file.take().is_some() {
            fs::rename(&self.path, self.path.with_extension("old.jsonl"))?;
        }
        if open.file.is_none() {
            let file = OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o600)
                .open(&self.path)?;
            open.bytes = file.metadata()?.len();
            open.file = Some(file);
        }
        if let Some(file) = &mut open.file {
            file.write_all(line)?;
        }
        open.bytes += line.len() as u64;
        Ok(())
    }
}

impl SpanExporter for FileExporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let Some(first) = batch.first() else { return Ok(()) };
        json::line(&self.resource, &first.instrumentation_scope, &batch)
            .and_then(|line| self.write(&line))
            .map_err(|error| OTelSdkError::InternalFailure(format!("{}: {error}", self.path.display())))
    }

    fn set_resource(&mut self, resource: &Resource) {
        match json::resource(resource) {
            Ok(attributes) => self.resource = attributes,
            Err(error) => log(format_args!("spans are without their resource: {error}")),
        }
    }
}

fn directory() -> Option<PathBuf> {
    variable("NPUFLEET_TRACE_DIR").map(PathBuf::from).or_else(|| {
        let state = variable("XDG_STATE_HOME").map(PathBuf::from);
        let state = state.or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".local/state")))?;
        Some(state.join("npufleet/traces"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_appended_and_the_file_is_private() {
        use std::os::unix::fs::MetadataExt as _;
        let directory = std::env::temp_dir().join(format!("npufleet-traces-{}", nuid::next()));
        let exporter = FileExporter::in_directory(&directory, "a/b").unwrap();
        exporter.write(b"one\n").unwrap();
        exporter.write(b"two\n").unwrap();
        assert_eq!(fs::read_to_string(&exporter.path).unwrap(), "one\ntwo\n");
        assert_eq!(fs::metadata(&exporter.path).unwrap().mode() & 0o777, 0o600);
        exporter.write(&vec![b'x'; MAX_BYTES as usize]).unwrap();
        assert_eq!(
            fs::metadata(&exporter.path).unwrap().len(),
            MAX_BYTES,
            "the first two lines were moved aside"
        );
        fs::remove_dir_all(&directory).unwrap();
    }
}
