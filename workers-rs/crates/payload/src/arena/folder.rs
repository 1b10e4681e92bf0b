//! The folder of this user's arenas, and their files.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use npufleet_wire::Claim;
use rustix::fs::{FlockOperation, flock};
use rustix::process::geteuid;

use super::layout::{DATA, LARGEST_FILE, header, read_header};

/// Names another folder than `/dev/shm`, or `off`.
const VARIABLE: &str = "NPUFLEET_ARENA_DIR";
const OFF: &str = "off";
/// A file that is empty for longer is nobody's.
const BEING_MADE: Duration = Duration::from_secs(60);
const PERMISSIONS_OF_OTHERS: u32 = 0o077;

/// The folder of this user's arenas.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// The folder that the environment asks for; none when it asks for none.
    pub fn from_environment() -> Option<Self> {
        match std::env::var_os(VARIABLE) {
            Some(word) if word == OFF => None,
            Some(path) if !path.is_empty() => Some(Self::within(Path::new(&path))),
            _ => Some(Self::within(Path::new("/dev/shm"))),
        }
    }

    /// This user's folder within another.
    pub fn within(path: &Path) -> Self {
        Self(path.join(format!("npufleet-{}", geteuid().as_raw())))
    }

    /// Makes the file of a new arena, locked; removes the arenas of processes that are no more.
    ///
    /// # Errors
    /// When the folder is not there or not ours, or takes nothing.
    pub(crate) fn create(&self, id: [u8; 16], limit: u64) -> io::Result<(File, PathBuf)> {
        match DirBuilder::new().mode(0o700).create(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let metadata = self.0.symlink_metadata()?;
        if !metadata.is_dir() || !is_private(&metadata) {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("{} is not a folder of this user alone", self.0.display()),
            ));
        }
        self.clean();
        let path = self.path(id);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)?;
        let made = flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(io::Error::from)
            .and_then(|()| file.write_all_at(&header(id, limit), 0))
            .and_then(|()| file.set_len(DATA));
        match made {
            Ok(()) => Ok((file, path)),
            Err(error) => {
                // It says more about why than another error about the removal would.
                let _ = std::fs::remove_file(&path);
                Err(error)
            }
        }
    }

    /// Opens an arena and returns how much of it is to be mapped, in bytes; none when it is not here, or is none that may be trusted.
    pub(crate) fn open(&self, id: [u8; 16]) -> Option<(File, u64)> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(self.path(id))
            .ok()?;
        let metadata = file.metadata().ok()?;
        if !metadata.is_file() || !is_private(&metadata) || metadata.len() < DATA {
            return None;
        }
        let mut bytes = [0; 48];
        file.read_exact_at(&mut bytes, 0).ok()?;
        let mapped = read_header(&bytes, id)?.max(metadata.len());
        Some((file, mapped.clamp(DATA, LARGEST_FILE)))
    }

    /// Removes the arenas of processes that are no more, and returns how many.
    pub fn clean(&self) -> usize {
        let Ok(entries) = std::fs::read_dir(&self.0) else {
            return 0;
        };
        let dead = entries.flatten().filter(|entry| {
            let name = entry.file_name();
            is_id(&name.to_string_lossy()) && File::open(entry.path()).is_ok_and(|file| is_abandoned(&file))
        });
        dead.filter(|entry| std::fs::remove_file(entry.path()).is_ok()).count()
    }

    fn path(&self, id: [u8; 16]) -> PathBuf {
        self.0.join(name(id))
    }
}

/// Returns an arena's id as text.
pub(crate) fn name(id: [u8; 16]) -> String {
    let claim = Claim {
        arena: id,
        slot: 0,
        generation: 0,
        length: 0,
    };
    let text = claim.to_string();
    text.split(':').nth(1).unwrap_or_default().to_owned()
}

fn is_id(name: &str) -> bool {
    name.len() == 32 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_private(metadata: &std::fs::Metadata) -> bool {
    metadata.uid() == geteuid().as_raw() && metadata.mode() & PERMISSIONS_OF_OTHERS == 0
}

fn is_abandoned(file: &File) -> bool {
    // A file is empty until it is locked; an owner that was killed a moment later left it cut off.
    let is_made = file.metadata().is_ok_and(|found| {
        let age = found.modified().ok().and_then(|made| made.elapsed().ok());
        found.len() > 0 || age.is_some_and(|age| age > BEING_MADE)
    });
    is_made && is_unlocked(file)
}

/// Whether nobody owns a file; the lock that tells is given back at once.
pub(crate) fn is_unlocked(file: &File) -> bool {
    let is_free = flock(file, FlockOperation::NonBlockingLockShared).is_ok();
    // It fails for a bad descriptor only.
    let _ = flock(file, FlockOperation::Unlock);
    is_free
}
