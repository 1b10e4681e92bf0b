//! The folder of a model's compiled forms, and of what was found out about it: what lies in it is used only if it is what
//! was written.
//!
//! OpenVINO notices a file that is cut or is none of its own, but takes one whose weights have changed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use crate::facts::{Book, Facts};
use crate::openvino::Failure;

const LIST: &str = "seal.json";
const FACTS: &str = "facts.json";
const LOCK: &str = "lock";
const BLOB: &str = "blob";
const CHUNK: usize = 1 << 14;

/// Size and time of the last change of a file that nobody else writes while the folder is held.
type Age = (u64, SystemTime);

/// A folder of compiled models, held by one process at a time.
pub(crate) struct Sealed {
    folder: PathBuf,
    /// What was there when it was opened, so that it need not be read again.
    seen: BTreeMap<String, (Age, String)>,
    /// Released when it is closed.
    _lock: File,
}

impl Sealed {
    /// Waits for the folder, and throws out what is not as it was written.
    pub(crate) fn open(folder: &Path) -> Result<Self, Failure> {
        let failed = failed_in(folder);
        let lock = File::create(folder.join(LOCK)).map_err(failed)?;
        lock.lock().map_err(failed)?;
        let mut sealed = Self {
            folder: folder.to_owned(),
            seen: BTreeMap::new(),
            _lock: lock,
        };
        // A list that is absent or unreadable vouches for nothing.
        let list = fs::read(folder.join(LIST)).unwrap_or_default();
        let list: Map<String, Value> = serde_json::from_slice(&list).unwrap_or_default();
        let mut seen = sealed.sums().map_err(failed)?;
        for name in seen
            .keys()
            .filter(|name| list.get(*name) != Some(&json!(seen[*name].1)))
        {
            fs::remove_file(folder.join(name)).map_err(failed)?;
        }
        seen.retain(|name, (_, sum)| list.get(name) == Some(&json!(sum)));
        sealed.seen = seen;
        Ok(sealed)
    }

    /// Vouches for what is there now.
    pub(crate) fn close(self) -> Result<(), Failure> {
        let failed = failed_in(&self.folder);
        let sums = self.sums().map_err(failed)?;
        let list: Map<String, Value> = sums.into_iter().map(|(name, (_, sum))| (name, json!(sum))).collect();
        let list = Value::Object(list).to_string();
        let list_path = self.folder.join(LIST);
        if fs::read(&list_path).is_ok_and(|before| before == list.as_bytes()) {
            return Ok(());
        }
        self.write(LIST, &list).map_err(failed)
    }

    /// What is known under `page`.
    pub(crate) fn facts(&self, page: &str) -> Option<Facts> {
        self.book().remove(page)
    }

    /// Keeps what was found out under `page`.
    pub(crate) fn note(&self, page: String, facts: Facts) -> Result<(), Failure> {
        let failed = failed_in(&self.folder);
        let mut book = self.book();
        if book.get(&page) == Some(&facts) {
            return Ok(());
        }
        book.insert(page, facts);
        self.write(FACTS, &json!(book).to_string()).map_err(failed)
    }

    /// A book that is absent or unreadable says nothing.
    fn book(&self) -> Book {
        let text = fs::read(self.folder.join(FACTS)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Whole or not at all, whenever this process ends.
    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let partial = self.folder.join(format!(".{name}.{}", std::process::id()));
        fs::write(&partial, text)?;
        fs::rename(&partial, self.folder.join(name))
    }

    /// Throws out everything.
    pub(crate) fn clear(&self) -> Result<(), Failure> {
        let failed = failed_in(&self.folder);
        for path in self.kept().map_err(failed)? {
            fs::remove_file(path).map_err(failed)?;
        }
        Ok(())
    }

    fn kept(&self) -> io::Result<Vec<PathBuf>> {
        let entries = fs::read_dir(&self.folder)?.collect::<io::Result<Vec<_>>>()?;
        let paths = entries.into_iter().map(|entry| entry.path());
        Ok(paths
            .filter(|path| path.extension().is_some_and(|it| it == BLOB) || path.ends_with(FACTS))
            .collect())
    }

    /// Checksums by file name.
    fn sums(&self) -> io::Result<BTreeMap<String, (Age, String)>> {
        let (mut sums, mut buffer) = (BTreeMap::new(), [0; CHUNK]);
        for path in self.kept()? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let (mut file, mut hash, mut size) = (File::open(&path)?, crc32fast::Hasher::new(), 0);
            let metadata = file.metadata()?;
            let age = (metadata.len(), metadata.modified()?);
            if let Some(seen) = self.seen.get(&name).filter(|(then, _)| *then == age) {
                sums.insert(name, seen.clone());
                continue;
            }
            loop {
                match file.read(&mut buffer)? {
                    0 => break,
                    count => {
                        hash.update(&buffer[..count]);
                        size += count;
                    }
                }
            }
            sums.insert(name, (age, format!("{size}-{:08x}", hash.finalize())));
        }
        Ok(sums)
    }
}

/// What is said of an error in a folder.
fn failed_in(folder: &Path) -> impl Fn(io::Error) -> Failure + Copy {
    move |error| Failure::new(format!("cache folder {}: {error}", folder.display()))
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
