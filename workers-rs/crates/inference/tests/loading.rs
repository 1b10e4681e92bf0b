//! Libraries, devices, and models that do not load.

mod common;

use std::path::Path;

use common::{compile, options, path, runtime};
use npufleet_inference::{ModelOptions, Runtime};
use npufleet_wire::{Dtype, ErrorKind, Frame};

#[test]
fn devices_are_always_listed() {
    let Some(runtime) = runtime() else { return };
    let devices = runtime.devices();
    let names: Vec<_> = devices.iter().map(|device| device.name.as_str()).collect();
    assert_eq!(names, ["NPU", "GPU", "CPU"]);
    for device in &devices {
        assert_eq!(device.available, device.reason.is_none(), "{device:?}");
        if let Some(reason) = &device.reason {
            assert!(!reason.contains('\n') && !reason.contains("Exception from"), "{reason}");
        }
    }
    assert!(devices[2].available && devices[2].full_name.is_some());
    let npu_node = std::fs::read_dir("/dev/accel").is_ok_and(|mut nodes| nodes.next().is_some());
    if !npu_node {
        let reason = devices[0].reason.as_deref().unwrap();
        assert!(reason.starts_with("no /dev/accel/accel*"), "{reason}");
    }
}

#[test]
fn the_first_present_device_is_taken_and_the_others_are_explained() {
    let Some(runtime) = runtime() else { return };
    let mut options = options("perceptron.xml");
    options.devices = ["TPU", "CPU"].map(str::to_owned).to_vec();
    let model = runtime.compile(&options).unwrap();
    assert_eq!(model.device(), "CPU");
    assert_eq!(model.device_notes(), ["TPU: OpenVINO reports no such device"]);
    options.devices = vec!["TPU".to_owned()];
    let error = runtime.compile(&options).err().unwrap();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert_eq!(
        error.message,
        "no device of TPU is present: TPU: OpenVINO reports no such device"
    );
}

#[test]
fn files_that_are_no_model_say_so_in_one_line() {
    let Some(runtime) = runtime() else { return };
    for (file, words) in [
        ("truncated.xml", "Error"),
        ("truncated.onnx", "model"),
        ("weightless.xml", "weights"),
        ("absent.onnx", "Could not open the file"),
    ] {
        let error = runtime.compile(&options(file)).err().unwrap();
        assert_eq!(error.kind, ErrorKind::InvalidParameter, "{file}: {error}");
        assert!(error.message.starts_with("model does not load: "), "{file}: {error}");
        assert!(error.message.contains(words), "{file}: {error}");
        assert!(
            !error.message.contains('\n') && !error.message.contains("Exception from"),
            "{file}: {error}"
        );
    }
    let error = runtime.compile(&ModelOptions::new(path("generate.py"))).err().unwrap();
    assert_eq!(error.kind, ErrorKind::InvalidParameter);
    // After all these failures, a good model still loads.
    compile(&runtime, "perceptron.xml");
}

#[test]
fn wrong_options_are_named() {
    let Some(runtime) = runtime() else { return };
    let wrong = [
        (
            ModelOptions {
                precision: Some("f7".to_owned()),
                ..options("perceptron.xml")
            },
            "f7",
        ),
        (
            ModelOptions {
                devices: Vec::new(),
                ..options("perceptron.xml")
            },
            "devices is empty",
        ),
        (
            ModelOptions {
                max_batch: 0,
                ..options("perceptron.xml")
            },
            "max_batch is 0",
        ),
        (
            ModelOptions {
                cache_dir: Some("/proc/nowhere".into()),
                ..options("perceptron.xml")
            },
            "cache folder",
        ),
    ];
    for (options, words) in wrong {
        let error = runtime.compile(&options).err().unwrap();
        assert_eq!(error.kind, ErrorKind::InvalidParameter);
        assert!(error.message.contains(words), "{error}");
    }
}

#[test]
fn the_library_is_loaded_once() {
    let Some(runtime) = runtime() else { return };
    assert!(runtime.version().starts_with("20"), "{}", runtime.version());
    let again = Runtime::load(Some(runtime.library())).unwrap();
    assert_eq!(again.library(), runtime.library());
    let other = Runtime::load(Some(Path::new("/nowhere/libopenvino_c.so")))
        .err()
        .unwrap();
    assert_eq!(other.kind, ErrorKind::InvalidParameter);
    assert!(other.message.contains("already loaded"), "{other}");
}

#[test]
fn shapes_decide_how_requests_are_joined() {
    let Some(runtime) = runtime() else { return };
    for (file, joins, max_batch, first, note) in [
        ("perceptron.xml", true, 32, None, ""),
        ("single.xml", true, 32, None, ""),
        ("static.xml", false, 4, Some(4), ""),
        ("frozen.xml", false, 1, Some(1), "CPU: not batched: "),
        (
            "sequence.xml",
            false,
            32,
            None,
            "CPU: not batched: its rows depend on each other",
        ),
        ("ragged.xml", true, 32, None, ""),
        ("state.xml", false, 1, Some(1), ""),
    ] {
        let model = compile(&runtime, file);
        assert_eq!(
            (model.joins(), model.max_batch()),
            (joins, max_batch),
            "{file}: {:?}",
            model.device_notes()
        );
        assert_eq!(model.inputs()[0].shape[0], first, "{file}");
        let notes = model.device_notes().join("; ");
        assert!(
            notes.starts_with(note) && notes.is_empty() == note.is_empty(),
            "{file}: {notes}"
        );
    }
}

#[test]
fn ports_carry_names_types_and_shapes() {
    let Some(runtime) = runtime() else { return };
    let model = compile(&runtime, "types.xml");
    let inputs: Vec<_> = model
        .inputs()
        .iter()
        .map(|port| (port.name.as_str(), port.dtype))
        .collect();
    let types = [Dtype::F16, Dtype::I64, Dtype::U8, Dtype::Bool];
    assert_eq!(
        inputs,
        ["half", "long", "byte", "flag"]
            .into_iter()
            .zip(types)
            .collect::<Vec<_>>()
    );
    assert_eq!(model.outputs()[2].to_string(), "byte_out: uint8[?, 5]");
}

#[test]
fn compiled_models_are_cached_by_version_and_device() {
    let Some(runtime) = runtime() else { return };
    let root = std::env::temp_dir().join(format!("npufleet-cached-{}", std::process::id()));
    let options = ModelOptions {
        cache_dir: Some(root.clone()),
        max_batch: 1,
        ..options("perceptron.xml")
    };
    for _ in 0..2 {
        runtime.compile(&options).unwrap();
    }
    let folders: Vec<_> = std::fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(folders.len(), 1);
    let name = folders[0].file_name().unwrap().to_str().unwrap();
    assert!(name.contains("-CPU-"), "{name}");
    let files = std::fs::read_dir(&folders[0])
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let blobs = files
        .filter(|path| path.extension().is_some_and(|it| it == "blob"))
        .count();
    assert_eq!(blobs, 1);
    std::fs::remove_dir_all(&root).unwrap();
}

/// What was found out about a model is not believed once the file that holds it was changed, and decides nothing else.
#[test]
fn facts_are_kept_beside_the_compiled_model() {
    let Some(runtime) = runtime() else { return };
    let root = std::env::temp_dir().join(format!("npufleet-facts-{}", std::process::id()));
    for (name, joins) in [("perceptron.xml", true), ("sequence.xml", false)] {
        let options = ModelOptions {
            cache_dir: Some(root.clone()),
            digest: Some(name.to_owned()),
            max_batch: 4,
            ..options(name)
        };
        let golden = common::frame_file(&name.replace(".xml", ".in.safetensors"));
        let member = common::rows(&golden, 0, 1);
        let load = || {
            let model = runtime.compile(&options).unwrap();
            assert_eq!(model.joins(), joins, "{name}");
            model.infer(std::slice::from_ref(&member)).remove(0).unwrap()
        };
        let answer = load();
        if !joins {
            // It is tried anew each time: that its rows depend on each other is what nobody may doubt.
            load();
            continue;
        }
        let folder = std::fs::read_dir(&root)
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path()
            .join(name);
        let facts = std::fs::read_to_string(folder.join("facts.json")).unwrap();
        for changed in [&facts, "not json", &facts.replace("true", "false")] {
            std::fs::write(folder.join("facts.json"), changed).unwrap();
            common::assert_same(&load(), &Frame::decode(answer.clone()).unwrap());
            assert!(folder.join("facts.json").exists());
        }
    }
    std::fs::remove_dir_all(&root).unwrap();
}
