//! Model files in the cache directory, checked against what the registry says.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use npufleet_wire::{Error, ErrorKind, Result};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::entry::{Entry, StoredFile};
use super::registry::Registry;

const CHUNK: usize = 128 * 1024;
/// How long the broker may be silent while it sends a file.
const SILENCE: Duration = Duration::from_secs(30);

/// The cache of model files; several workers may share it.
pub(crate) struct Files {
    directory: PathBuf,
}

impl Files {
    pub(crate) fn new(cache: &Path) -> Self {
        Self {
            directory: cache.join("models"),
        }
    }

    /// The path of the model to open; its files lie beside each other and are what the registry says.
    ///
    /// # Errors
    /// `unavailable` when a file cannot be fetched, `internal` when it is not what the registry says.
    pub(crate) async fn fetch(&self, registry: &Registry, entry: &Entry) -> Result<PathBuf> {
        let directory = self.directory.join(format!("{}-{}", entry.key(), digest(entry)));
        private(&self.directory)
            .and_then(|()| private(&directory))
            .map_err(|error| failed(&directory, &error))?;
        for file in &entry.files {
            let path = directory.join(&file.name);
            let (known, wanted) = (path.clone(), file.clone());
            // Hashing a large file takes a while, so not on the event loop.
            let there = tokio::task::spawn_blocking(move || matches(&known, &wanted)).await;
            if !there.unwrap_or(false) {
                let object = registry.object(&file.object).await?;
                download(object, file, &path).await?;
            }
        }
        Ok(directory.join(entry.format.files()[0]))
    }
}

/// Names a version by the content of all its files, so that a version registered anew is never mistaken for the old.
pub(crate) fn digest(entry: &Entry) -> String {
    let mut hash = Sha256::new();
    for file in &entry.files {
        hash.update(&file.sha256);
    }
    hex(&hash.finalize())[..16].to_owned()
}

/// Makes a directory that only this user can enter; one that belongs to somebody else is refused.
fn private(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let metadata = fs::metadata(path)?;
    let ours = fs::metadata("/proc/self").map_or(metadata.uid(), |process| process.uid());
    if metadata.uid() != ours {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "belongs to another user",
        ));
    }
    if metadata.mode() & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

fn matches(path: &Path, wanted: &StoredFile) -> bool {
    let hash = || -> io::Result<String> {
        let (mut file, mut hash, mut buffer) = (fs::File::open(path)?, Sha256::new(), vec![0; CHUNK]);
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(hex(&hash.finalize())),
                count => hash.update(&buffer[..count]),
            }
        }
    };
    fs::metadata(path).is_ok_and(|metadata| metadata.len() == wanted.size)
        && hash().is_ok_and(|hash| hash == wanted.sha256)
}

/// Writes an object beside its place and moves it there once it is known to be right.
async fn download(object: impl AsyncRead + Unpin, wanted: &StoredFile, path: &Path) -> Result<()> {
    let partial = path.with_file_name(format!(".{}.{}", wanted.name, nuid::next()));
    let result = receive(object, wanted, &partial).await;
    let result = result.and_then(|()| fs::rename(&partial, path).map_err(|error| failed(path, &error)));
    if result.is_err() {
        // It may not even exist; what matters was said already.
        drop(fs::remove_file(&partial));
    }
    result
}

async fn receive(mut object: impl AsyncRead + Unpin, wanted: &StoredFile, path: &Path) -> Result<()> {
    let file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let mut file = file.map_err(|error| failed(path, &error))?;
    let (mut hash, mut size, mut buffer) = (Sha256::new(), 0u64, vec![0; CHUNK]);
    let unavailable = |text: String| {
        Error::new(
            ErrorKind::Unavailable,
            format!("file '{}' cannot be fetched: {text}", wanted.name),
        )
    };
    loop {
        let count = tokio::time::timeout(SILENCE, object.read(&mut buffer)).await;
        let count = count.map_err(|_| unavailable(format!("nothing came for {} s", SILENCE.as_secs())))?;
        match count.map_err(|error| unavailable(error.to_string()))? {
            0 => break,
            count => {
                size += count as u64;
                if size > wanted.size {
                    break;
                }
                hash.update(&buffer[..count]);
                file.write_all(&buffer[..count]).map_err(|error| failed(path, &error))?;
            }
        }
    }
    let sha256 = hex(&hash.finalize());
    if size == wanted.size && sha256 == wanted.sha256 {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Internal,
        format!(
            "file '{}' has {size} bytes with sha256 {sha256}; registered: {} bytes with sha256 {}",
            wanted.name, wanted.size, wanted.sha256
        ),
    ))
}

fn failed(path: &Path, error: &io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, format!("{}: {error}", path.display()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or('0');
        text.extend([digit(byte >> 4), digit(byte & 15)]);
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(content: &[u8]) -> StoredFile {
        let sha256 = hex(&Sha256::digest(content));
        StoredFile {
            name: "model.onnx".to_owned(),
            object: String::new(),
            size: content.len() as u64,
            sha256,
        }
    }

    #[tokio::test]
    async fn only_the_registered_content_gets_into_the_cache() {
        let directory = std::env::temp_dir().join(format!("npufleet-files-{}", nuid::next()));
        private(&directory).unwrap();
        assert_eq!(fs::metadata(&directory).unwrap().mode() & 0o777, 0o700);
        let path = directory.join("model.onnx");
        for wrong in [&b"other"[..], b"model and more", b""] {
            let error = download(wrong, &wanted(b"model"), &path).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Internal);
        }
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0, "nothing partial stays");
        download(&b"model"[..], &wanted(b"model"), &path).await.unwrap();
        assert!(matches(&path, &wanted(b"model")));
        fs::write(&path, "moden").unwrap();
        assert!(!matches(&path, &wanted(b"model")), "a file that was changed is noticed");
        fs::remove_dir_all(&directory).unwrap();
    }
}
