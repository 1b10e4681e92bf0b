//! Finding and loading `libopenvino_c`.
//!
//! The Python wheel ships only a versioned file (`libopenvino_c.so.2641`), which `openvino-finder` does not look for.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use super::Failure;

const STEM: &str = "libopenvino_c.so";

/// The library to load, or every folder that was searched.
///
/// Looked at in order: `LD_LIBRARY_PATH`, `INTEL_OPENVINO_DIR`, the virtual environment (`VIRTUAL_ENV`), virtual
/// environments and installations next to the program or above it, the user's and the system's Python packages, and
/// the system's library folders.
pub(crate) fn find() -> Result<PathBuf, Vec<PathBuf>> {
    let folders = folders();
    match folders.iter().find_map(|folder| library_in(folder)) {
        Some(library) => Ok(library),
        None => Err(folders),
    }
}

/// Loads the library for the whole process; the first one stays.
pub(crate) fn load(library: &Path) -> Result<(), Failure> {
    openvino_sys::library::load_from(library).map_err(Failure::new)
}

fn folders() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    if let Some(paths) = env::var_os("LD_LIBRARY_PATH") {
        folders.extend(env::split_paths(&paths).filter(|path| path.is_absolute()));
    }
    if let Some(root) = env::var_os("INTEL_OPENVINO_DIR") {
        folders.push(Path::new(&root).join("runtime/lib/intel64"));
    }
    if let Some(root) = env::var_os("VIRTUAL_ENV") {
        folders.extend(python_folders(&Path::new(&root).join("lib")));
    }
    if let Ok(program) = env::current_exe() {
        for above in program.ancestors().skip(1) {
            folders.extend(python_folders(&above.join("lib")));
            folders.extend(python_folders(&above.join(".venv/lib")));
        }
    }
    if let Some(home) = env::var_os("HOME") {
        folders.extend(python_folders(&Path::new(&home).join(".local/lib")));
    }
    folders.extend(python_folders(Path::new("/usr/local/lib")));
    folders.extend(
        [
            "/opt/intel/openvino/runtime/lib/intel64",
            "/usr/local/lib",
            "/usr/lib/x86_64-linux-gnu",
            "/usr/lib/aarch64-linux-gnu",
            "/usr/lib64",
            "/usr/lib",
        ]
        .map(PathBuf::from),
    );
    folders
}

/// `<lib>/python3.*/{site,dist}-packages/openvino/libs`, where it exists.
fn python_folders(lib: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = names(lib)
        .into_iter()
        .filter(|name| name.starts_with("python3"))
        .flat_map(|name| {
            ["site-packages", "dist-packages"].map(|packages| lib.join(&name).join(packages).join("openvino/libs"))
        })
        .filter(|folder| folder.is_dir())
        .collect();
    folders.sort();
    folders
}

/// The newest library in a folder: the unversioned link, or else the highest version.
fn library_in(folder: &Path) -> Option<PathBuf> {
    names(folder)
        .into_iter()
        .filter(|name| name.starts_with(STEM))
        .max_by_key(|name| match name[STEM.len()..].strip_prefix('.') {
            None => u64::MAX,
            Some(version) => version.replace('.', "").parse().unwrap_or(0),
        })
        .map(|name| folder.join(name))
}

fn names(folder: &Path) -> Vec<String> {
    // A folder that cannot be read holds nothing that could be loaded.
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_version_is_taken_and_a_plain_name_before_it() {
        let folder = env::temp_dir().join(format!("npufleet-library-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        for name in ["libopenvino_c.so.2541", "libopenvino_c.so.2641", "libopenvino.so.9999"] {
            fs::write(folder.join(name), b"").unwrap();
        }
        assert_eq!(library_in(&folder), Some(folder.join("libopenvino_c.so.2641")));
        fs::write(folder.join(STEM), b"").unwrap();
        assert_eq!(library_in(&folder), Some(folder.join(STEM)));
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(library_in(&folder), None);
    }
}
