//! The library and its one core.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use npufleet_wire::{Error, ErrorKind, Result};
use parking_lot::Mutex;

use crate::openvino::{self, Core, Failure};
use crate::{Device, Model, ModelOptions, build, device};

/// The environment variable that names the library file.
const LIBRARY: &str = "NPUFLEET_OPENVINO_LIBRARY";

/// The library is loaded once per process and stays: its threads and plugins cannot be unloaded safely.
static LOADED: Mutex<Option<Runtime>> = Mutex::new(None);

/// OpenVINO in this process; clones are the same one.
#[derive(Clone)]
pub struct Runtime(Arc<Inner>);

struct Inner {
    core: Arc<Core>,
    version: String,
    library: PathBuf,
}

impl Runtime {
    /// Loads OpenVINO's C library: the given file, else the one that `NPUFLEET_OPENVINO_LIBRARY` names, else the first
    /// one found in virtual environments and the usual folders.
    ///
    /// # Errors
    /// `unavailable` when there is none or it cannot be loaded; `invalid_parameter` when the process has already
    /// loaded another file than the one asked for.
    pub fn load(library: Option<&Path>) -> Result<Self> {
        let named = match library {
            Some(path) => Some(path.to_owned()),
            None => env::var_os(LIBRARY)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from),
        };
        let mut loaded = LOADED.lock();
        if let Some(runtime) = loaded.as_ref() {
            return match named {
                Some(path) if path != runtime.0.library => Err(Error::new(
                    ErrorKind::InvalidParameter,
                    format!(
                        "OpenVINO library is {}; already loaded: {}",
                        path.display(),
                        runtime.0.library.display()
                    ),
                )),
                _ => Ok(runtime.clone()),
            };
        }
        let library = match named {
            Some(path) => path,
            None => openvino::find().map_err(|folders| not_found(&folders))?,
        };
        let runtime = Self::open(library)
            .map_err(|failure| Error::new(ErrorKind::Unavailable, format!("no OpenVINO: {}", failure.text)))?;
        *loaded = Some(runtime.clone());
        Ok(runtime)
    }

    fn open(library: PathBuf) -> std::result::Result<Self, Failure> {
        openvino::load(&library)?;
        Ok(Self(Arc::new(Inner {
            core: Arc::new(Core::new()?),
            version: Core::version()?,
            library,
        })))
    }

    /// OpenVINO's build number, such as `2026.4.1-22982-...`.
    pub fn version(&self) -> &str {
        &self.0.version
    }

    /// The file that was loaded.
    pub fn library(&self) -> &Path {
        &self.0.library
    }

    /// NPU, GPU and CPU, always all three; an absent one carries the reason.
    pub fn devices(&self) -> Vec<Device> {
        device::list(&self.0.core, &self.0.library)
    }

    /// Reads a model, compiles it for the first of its devices that takes it, warms it up and measures it.
    ///
    /// Takes from milliseconds to minutes, and the time of one core or more: call it off the event loop.
    ///
    /// # Errors
    /// `invalid_parameter` with OpenVINO's text when the model does not load on any device that is present;
    /// `unavailable` when none of the devices is present.
    pub fn compile(&self, options: &ModelOptions) -> Result<Model> {
        build::model(&self.0.core, &|| self.devices(), options, &self.0.version)
    }
}

fn not_found(folders: &[PathBuf]) -> Error {
    let folders: Vec<_> = folders.iter().map(|folder| folder.display().to_string()).collect();
    Error::new(
        ErrorKind::Unavailable,
        format!(
            "no OpenVINO: libopenvino_c.so is in none of {}; set {LIBRARY}",
            folders.join(", ")
        ),
    )
}
