//! A device that fails while it serves (a double; see `openvino::double` of the inference crate): its models move to the
//! next one and come back, no call fails, and everybody can see why.

mod support;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use async_nats::Client;
use npufleet_wire::{Dtype, Frame, header};
use serde_json::{Value, json};
use support::registry::{Registry, path};
use support::*;
use tokio::sync::watch;

const SUBJECT: &str = "npu.v1.call.normal.infer.mlp";

/// The file by which the double is told how it is.
struct Double(PathBuf);

impl Double {
    fn new(test: &str) -> Self {
        let double = Self(std::env::temp_dir().join(format!("npufleet-{test}-{}", std::process::id())));
        double.tell("");
        double
    }

    fn tell(&self, word: &str) {
        fs::write(&self.0, word).unwrap();
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        fs::remove_file(&self.0).unwrap();
    }
}

/// Asks for ever until told to stop, checks every answer, and shows the device of the latest.
async fn keep_asking(client: Client, rows: usize, device: watch::Sender<String>, stop: Arc<AtomicBool>) {
    let read = |file: &str| Frame::decode(fs::read(path(file)).unwrap().into()).unwrap();
    let (input, output) = (read("perceptron.in.safetensors"), read("perceptron.out.safetensors"));
    let (x, y) = (input.tensors().next().unwrap(), output.tensors().next().unwrap());
    let width = x.info.shape[1];
    let frame = single("x", Dtype::F32, &[rows, width], &x.data[..rows * width * 4]);
    let expected: Vec<f32> = y
        .data
        .as_chunks::<4>()
        .0
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect();
    while !stop.load(Relaxed) {
        let reply = call(&client, SUBJECT, frame.clone()).await;
        assert_eq!(kind(&reply), "", "{:?}", reply.headers);
        let same = floats(&reply, &y.info.name);
        assert!(same.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-4));
        device.send_replace(text(&reply, header::DEVICE));
    }
}

async fn failing(fault: &str) {
    let double = Double::new(fault);
    let broker = Broker::start(&["--jetstream"]);
    let client = broker.client().await;
    let registry = Registry::new(&client).await;
    let file = double.0.to_str().unwrap();
    let options = ["--device-timeout", "0.3", "--device-retry", "0.2"];
    let worker = Worker::spawn(&broker, &options, &[("NPUFLEET_DEVICE_DOUBLE", file)]);
    let id = worker.event("ready")["id"].as_str().unwrap().to_owned();
    if worker.event("devices")["devices"][0]["available"] != true {
        eprintln!("skipped: OpenVINO is not installed");
        return;
    }
    for name in ["mlp", "bystander"] {
        let files = ["perceptron.xml", "perceptron.bin"];
        registry.add(name, 1, &files, json!({"devices": null})).await;
        let ready = worker.event_where(|event| event["state"] == "ready" && event["name"] == name);
        assert_eq!(ready["device"], "NPU");
    }
    let (shown, mut device) = watch::channel(String::new());
    let stop = Arc::new(AtomicBool::new(false));
    let asking: Vec<_> = (1..=4)
        .map(|rows| tokio::spawn(keep_asking(client.clone(), rows, shown.clone(), Arc::clone(&stop))))
        .collect();
    let mut served_by = async |wanted: &str| {
        let found = device.wait_for(|device| device == wanted);
        tokio::time::timeout(PATIENCE, found).await.expect(wanted).unwrap();
    };
    served_by("NPU").await;
    double.tell(fault);
    served_by("CPU").await;
    let lost = worker.event("devices")["devices"][0].clone();
    assert_eq!(lost["available"], false);
    assert!(
        lost["reason"].as_str().unwrap().starts_with("lost at run time"),
        "{lost}"
    );
    let moved = |event: &Value| event["state"] == "ready" && event["name"] == "bystander" && event["device"] == "CPU";
    worker.event_where(moved);
    let status = registry.said("bystander", 1, &id).await.unwrap();
    assert!(
        status["notes"].to_string().contains("NPU: lost at run time"),
        "{status}"
    );
    assert_eq!(device_failures(&client, &id).await, json!({"NPU": 1}));
    double.tell("");
    served_by("NPU").await;
    let found = |event: &Value| event["event"] == "devices" && event["devices"][0]["available"] == true;
    worker.event_where(found);
    registry.serves_on("mlp", 1, &id, "NPU").await;
    stop.store(true, Relaxed);
    for each in asking {
        each.await.unwrap();
    }
}

#[tokio::test]
async fn a_lost_device_is_left_and_found_again() {
    failing("lost").await;
}

#[tokio::test]
async fn a_device_that_fails_whatever_it_gets_is_left_and_found_again() {
    failing("error").await;
}

#[tokio::test]
async fn a_device_that_does_not_answer_is_left_and_found_again() {
    failing("hang").await;
}

async fn device_failures(client: &Client, id: &str) -> Value {
    let reply = client
        .request(format!("$SRV.STATS.npufleet.{id}"), "".into())
        .await
        .unwrap();
    let reply: Value = serde_json::from_slice(&reply.payload).unwrap();
    let mut endpoints = reply["endpoints"].as_array().unwrap().iter();
    endpoints.find(|row| row["name"] == "infer-mlp").unwrap()["data"]["device_failures"].clone()
}
