//! From a file to a running model: the first device that is present and takes it.

use std::cell::{Cell, OnceCell};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use npufleet_wire::{Error, ErrorKind, Result};

use crate::attempt::{Attempt, ports};
use crate::ladder::is_heavy;
use crate::openvino::{Core, Failure};
use crate::seal::Sealed;
use crate::settings::Settings;
use crate::{Device, Model, ModelOptions, device, facts};

/// Compiles for the first device that is present and takes the model.
pub(crate) fn model(
    core: &Arc<Core>,
    devices: &dyn Fn() -> Vec<Device>,
    options: &ModelOptions,
    version: &str,
) -> Result<Model> {
    let invalid = |text: String| Error::new(ErrorKind::InvalidParameter, text);
    if options.devices.is_empty() {
        return Err(invalid("devices is empty; allowed: NPU, GPU, CPU".to_owned()));
    }
    if options.max_batch == 0 {
        return Err(invalid("max_batch is 0; allowed: 1 or more".to_owned()));
    }
    check_path(&options.path)?;
    // A file that cannot be read fails on every device alike.
    let read = || {
        let graph = core.read(&options.path)?;
        let inputs = ports(&graph.inputs()?, "input")?;
        let outputs = graph.outputs()?.len();
        Ok((graph, inputs, outputs))
    };
    let (graph, inputs, outputs) = read().map_err(Failure::into_load_error)?;
    let graph = Cell::new(Some(graph));
    let available = core.available_devices().map_err(Failure::into_load_error)?;
    let mut notes = Vec::new();
    let mut failed = None;
    for name in &options.devices {
        let Some(device) = device::matching(&available, name) else {
            notes.push(format!("{name}: {}", absence(&devices(), name)));
            continue;
        };
        let mut attempt = Attempt {
            core,
            options,
            inputs: &inputs,
            stop: &AtomicBool::new(false),
            graph: Cell::new(graph.take()),
            outputs,
            known: None,
            found: OnceCell::new(),
            settings: Settings::new(options, device, version).map_err(Failure::into_load_error)?,
        };
        match kept(&mut attempt, &mut notes) {
            Ok(model) => {
                if is_heavy(options) {
                    // As the system names them; what is not there is not mapped either.
                    let whole = |path: &Path| path.canonicalize().ok();
                    let weights = whole(&options.path.with_extension("bin"));
                    let cache = attempt.settings.cache().and_then(whole);
                    let ours = |file: &Path| cache.as_ref().is_some_and(|folder| file.starts_with(folder));
                    core.let_go(|file| weights.as_deref() == Some(file) || ours(file));
                }
                return Ok(Model { notes, ..model });
            }
            Err(failure) => {
                notes.push(format!("{name}: {}", failure.text));
                failed = Some(failure);
            }
        }
    }
    Err(match failed {
        Some(_) => Failure::new(notes.join("; ")).into_load_error(),
        None => Error::new(
            ErrorKind::Unavailable,
            format!(
                "no device of {} is present: {}",
                options.devices.join(", "),
                notes.join("; ")
            ),
        ),
    })
}

/// Builds with the compiled forms and the facts that are kept, and without them where it does not with them.
fn kept(attempt: &mut Attempt<'_>, notes: &mut Vec<String>) -> std::result::Result<Model, Failure> {
    let Some(folder) = attempt.settings.cache() else {
        return attempt.build(notes);
    };
    let sealed = Sealed::open(folder)?;
    let page = facts::page(attempt.options);
    attempt.known = page.as_ref().and_then(|page| sealed.facts(page));
    let before = notes.len();
    let built = attempt.build(notes).or_else(|_| {
        notes.truncate(before);
        sealed.clear()?;
        attempt.known = None;
        attempt.build(notes)
    })?;
    if let (Some(page), Some(facts)) = (page, attempt.found.take()) {
        sealed.note(page, facts)?;
    }
    sealed.close()?;
    Ok(built)
}

fn check_path(path: &Path) -> Result<()> {
    let known = path
        .extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(|extension| ["onnx", "xml"].contains(&extension));
    if known {
        return Ok(());
    }
    // Other suffixes would wake front ends that nobody asked for.
    Err(Error::new(
        ErrorKind::InvalidParameter,
        format!("path is '{}'; allowed: *.onnx, *.xml", path.display()),
    ))
}

fn absence(devices: &[Device], name: &str) -> String {
    devices
        .iter()
        .find(|device| device.name == name)
        .and_then(|device| device.reason.clone())
        .unwrap_or_else(|| "OpenVINO reports no such device".to_owned())
}
