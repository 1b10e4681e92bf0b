//! Which devices there are, and why the others are not there.

use std::fs::{self, OpenOptions};
use std::path::Path;

use crate::openvino::{Core, Failure};

/// The devices of a fleet, in the order of preference.
pub(crate) const NAMES: [&str; 3] = ["NPU", "GPU", "CPU"];

/// A kind of device on this machine, present or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// `NPU`, `GPU` or `CPU`.
    pub name: String,
    /// Whether OpenVINO reports one.
    pub available: bool,
    /// Why there is none, as read from the system or from OpenVINO.
    pub reason: Option<String>,
    /// The hardware's own name.
    pub full_name: Option<String>,
}

/// NPU, GPU and CPU, always all three.
pub(crate) fn list(core: &Core, library: &Path) -> Vec<Device> {
    let available = core.available_devices();
    NAMES
        .into_iter()
        .map(|name| {
            let present = available.as_ref().is_ok_and(|all| matching(all, name).is_some());
            if present {
                return Device {
                    name: name.to_owned(),
                    available: true,
                    reason: None,
                    // A device that does not tell its name still works.
                    full_name: core.property(name, "FULL_DEVICE_NAME").ok(),
                };
            }
            let reason = match &available {
                Err(failure) => failure.text.clone(),
                Ok(_) => reason(core, name, Path::new("/dev")),
            };
            Device {
                name: name.to_owned(),
                available: false,
                reason: Some(without_folder(&reason, library)),
                full_name: None,
            }
        })
        .collect()
}

/// OpenVINO's own name for a kind of device: `GPU` may be listed as `GPU.0`.
pub(crate) fn matching<'a>(available: &'a [String], name: &str) -> Option<&'a str> {
    available
        .iter()
        .find(|listed| *listed == name || listed.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
        .map(String::as_str)
}

/// Library paths in OpenVINO's texts, shortened to file names.
fn without_folder(text: &str, library: &Path) -> String {
    match library.parent().and_then(Path::to_str) {
        Some(folder) if !folder.is_empty() => text.replace(&format!("{folder}/"), ""),
        _ => text.to_owned(),
    }
}

fn reason(core: &Core, name: &str, dev: &Path) -> String {
    let nodes = match name {
        "NPU" => Some((
            "accel",
            "accel",
            "no NPU, or its kernel driver (intel_vpu) is not loaded",
        )),
        "GPU" => Some(("dri", "renderD", "no GPU, or its kernel driver is not loaded")),
        _ => None,
    };
    let node = nodes.and_then(|(folder, prefix, absent)| node_reason(&dev.join(folder), prefix, absent));
    // The NPU plugin answers with an empty list where there is no NPU; the GPU plugin does not even load.
    let plugin = match core.property(name, "AVAILABLE_DEVICES") {
        Ok(_) => None,
        Err(Failure { text }) => Some(text),
    };
    match (node, plugin) {
        (Some(node), Some(plugin)) => format!("{node}; {plugin}"),
        (Some(only), None) | (None, Some(only)) => only,
        (None, None) => {
            format!("OpenVINO's {name} plugin finds no device; is its user-mode driver installed?")
        }
    }
}

/// What is wrong with the device nodes, if anything.
fn node_reason(folder: &Path, prefix: &str, absent: &str) -> Option<String> {
    let mut nodes: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| name.starts_with(prefix))
        })
        .collect();
    nodes.sort();
    let Some(node) = nodes.first() else {
        return Some(format!("no {}/{prefix}* ({absent})", folder.display()));
    };
    // Opening a node only tells whether we may: nothing is read or written.
    match OpenOptions::new().read(true).write(true).open(node) {
        Ok(_) => None,
        Err(error) => Some(format!("{}: {error}", node.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpu_matches_numbered_gpus_only() {
        let listed = ["CPU", "GPU.0", "GPU.1", "NPUX"].map(str::to_owned);
        assert_eq!(matching(&listed, "GPU"), Some("GPU.0"));
        assert_eq!(matching(&listed, "GPU.1"), Some("GPU.1"));
        assert_eq!(matching(&listed, "NPU"), None);
    }

    #[test]
    fn device_nodes_are_read_from_the_system() {
        let dev = std::env::temp_dir().join(format!("npufleet-dev-{}", std::process::id()));
        let folder = dev.join("accel");
        fs::create_dir_all(&folder).unwrap();
        let absent = node_reason(&folder, "accel", "no driver").unwrap();
        assert!(
            absent.starts_with("no ") && absent.ends_with("accel/accel* (no driver)"),
            "{absent}"
        );
        fs::write(folder.join("accel0"), b"").unwrap();
        assert_eq!(node_reason(&folder, "accel", "no driver"), None);
        // A folder cannot be opened for writing, whoever asks.
        fs::create_dir(folder.join("accel-1")).unwrap();
        let refused = node_reason(&folder, "accel-", "no driver").unwrap();
        assert!(refused.contains("accel-1: "), "{refused}");
        fs::remove_dir_all(&dev).unwrap();
    }
}
