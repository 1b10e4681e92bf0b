//! The folder of a model's compiled forms: what lies in it is used only if it is what was written.
//!
//! OpenVINO notices a file that is cut or is none of its own, but takes one whose weights have changed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::openvino::Failure;

const LIST: &str = "seal.json";
const LOCK: &str = "lock";
const BLOB: &str = "blob";
const CHUNK: usize = 1 << 20;

/// A folder of compiled models, held by one process at a time.
pub(crate) struct Sealed {
    folder: PathBuf,
    /// Released when it is closed.
    _lock: File,
}

impl Sealed {
    /// Waits for the folder, and throws out what is not as it was written.
    pub(crate) fn open(folder: &Path) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::new(format!("cache folder {}: {error}", folder.display()));
        let lock = File::create(folder.join(LOCK)).map_err(failed)?;
        lock.lock().map_err(failed)?;
        let sealed = Self {
            folder: folder.to_owned(),
            _lock: lock,
        };
        // A list that is absent or unreadable vouches for nothing.
        let list = fs::read(folder.join(LIST)).unwrap_or_default();
        let list: Map<String, Value> = serde_json::from_slice(&list).unwrap_or_default();
        for (name, sum) in sealed.sums().map_err(failed)? {
            if list.get(&name) != Some(&json!(sum)) {
                fs::remove_file(folder.join(name)).map_err(failed)?;
            }
        }
        Ok(sealed)
    }

    /// Vouches for what is there now.
    pub(crate) fn close(self) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::new(format!("cache folder {}: {error}", self.folder.display()));
        let list = json!(self.sums().map_err(failed)?);
        let list_path = self.folder.join(LIST);
        if fs::read(&list_path).is_ok_and(|before| before == list.to_string().as_bytes()) {
            return Ok(());
        }
        // Whole or not at all, whenever this process ends.
        let partial = self.folder.join(format!(".{LIST}.{}", std::process::id()));
        fs::write(&partial, list.to_string()).map_err(failed)?;
        fs::rename(&partial, &list_path).map_err(failed)
    }

    /// Throws out everything.
    pub(crate) fn clear(&self) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::new(format!("cache folder {}: {error}", self.folder.display()));
        for path in self.blobs().map_err(failed)? {
            fs::remove_file(path).map_err(failed)?;
        }
        Ok(())
    }

    fn blobs(&self) -> io::Result<Vec<PathBuf>> {
        let entries = fs::read_dir(&self.folder)?.collect::<io::Result<Vec<_>>>()?;
        let paths = entries.into_iter().map(|entry| entry.path());
        Ok(paths
            .filter(|path| path.extension().is_some_and(|it| it == BLOB))
            .collect())
    }

    /// Checksums by file name.
    fn sums(&self) -> io::Result<BTreeMap<String, String>> {
        let mut sums = BTreeMap::new();
        let mut buffer = vec![0; CHUNK];
        for path in self.blobs()? {
            let (mut file, mut hash, mut size) = (File::open(&path)?, crc32fast::Hasher::new(), 0);
            loop {
                match file.read(&mut buffer)? {
                    0 => break,
                    count => {
                        hash.update(&buffer[..count]);
                        size += count;
                    }
                }
            }
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            sums.insert(name, format!("{size}-{:08x}", hash.finalize()));
        }
        Ok(sums)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_vouched_for_stays() {
        let folder = std::env::temp_dir().join(format!("npufleet-seal-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let write = |name: &str, content: &str| fs::write(folder.join(name), content).unwrap();
        let there = |name: &str| folder.join(name).exists();
        write("stray.blob", "nobody vouched for it");
        let sealed = Sealed::open(&folder).unwrap();
        assert!(!there("stray.blob"));
        for name in ["good.blob", "bad.blob", "cut.blob"] {
            write(name, "content");
        }
        sealed.close().unwrap();
        write("bad.blob", "cOntent");
        write("cut.blob", "");
        let sealed = Sealed::open(&folder).unwrap();
        assert_eq!(["good.blob", "bad.blob", "cut.blob"].map(there), [true, false, false]);
        sealed.clear().unwrap();
        assert!(!there("good.blob"));
        fs::remove_dir_all(&folder).unwrap();
    }
}
