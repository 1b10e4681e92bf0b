//! Models come, are served in batches, change their version and go; those that do not load say why.

mod support;

use async_nats::Client;
use futures::StreamExt as _;
use futures::future::join_all;
use npufleet_wire::{Dtype, Frame, header};
use serde_json::{Value, json};
use support::registry::{Registry, path};
use support::*;

const MLP: [&str; 2] = ["perceptron.xml", "perceptron.bin"];
const SUBJECT: &str = "npu.v1.call.normal.infer.mlp";

/// A broker with a registry and a worker; none where the library is not installed.
async fn stand(options: &[&str]) -> Option<(Broker, Client, Registry, Worker, String)> {
    let broker = Broker::start(&["--jetstream"]);
    let client = broker.client().await;
    let registry = Registry::new(&client).await;
    let worker = Worker::spawn(&broker, options, &[]);
    let id = worker.event("ready")["id"].as_str().unwrap().to_owned();
    let devices = worker.event("devices")["devices"].clone();
    let cpu = devices
        .as_array()
        .unwrap()
        .iter()
        .find(|device| device["name"] == "CPU")
        .unwrap();
    if cpu["full_name"].is_null() {
        eprintln!("skipped: {devices}");
        return None;
    }
    Some((broker, client, registry, worker, id))
}

fn state(worker: &Worker, state: &str) -> Value {
    worker.event_where(|event| event["event"] == "model" && event["state"] == state)
}

/// One row of the golden input, and what the model answers to it.
fn golden(row: usize) -> (bytes::Bytes, Vec<f32>) {
    let read = |file: &str| Frame::decode(std::fs::read(path(file)).unwrap().into()).unwrap();
    let cut = |frame: &Frame| {
        let tensor = frame.tensors().next().unwrap();
        let width = tensor.data.len() / tensor.info.shape[0];
        tensor.data[row * width..][..width].to_vec()
    };
    let (x, y) = (
        cut(&read("perceptron.in.safetensors")),
        cut(&read("perceptron.out.safetensors")),
    );
    let y = y
        .chunks_exact(4)
        .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
        .collect();
    (single("x", Dtype::F32, &[1, x.len() / 4], &x), y)
}

fn close(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4)
}

#[tokio::test]
async fn a_model_is_served_in_batches_and_goes_when_it_is_removed() {
    let Some((_broker, client, registry, worker, id)) = stand(&["--executors", "1"]).await else {
        return;
    };
    registry.add("mlp", 1, &MLP, json!({})).await;
    state(&worker, "loading");
    assert_eq!(state(&worker, "ready")["device"], "CPU");
    let (x, y) = golden(0);
    let reply = call(&client, SUBJECT, x.clone()).await;
    assert_eq!(
        (kind(&reply), text(&reply, header::DEVICE)),
        (String::new(), "CPU".to_owned())
    );
    assert!(close(&floats(&reply, "y"), &y));

    // While the executor is held up, rows gather; then they run together.
    let mut held = client.subscribe("inbox.held.1").await.unwrap();
    client
        .publish_with_reply("npu.v1.call.realtime.echo", "inbox.held.1", slow(0.3))
        .await
        .unwrap();
    let replies = join_all((0..32).map(|_| call(&client, SUBJECT, x.clone()))).await;
    assert!(replies.iter().all(|reply| close(&floats(reply, "y"), &y)));
    held.next().await.unwrap();
    let data = statistics(&client, &id, "infer-mlp").await["data"].clone();
    assert_eq!(data["rows"], 33);
    assert!(
        data["batches"].as_u64().unwrap() <= 1 + 2 + 1,
        "two batches of 16 rows, and stragglers: {data}"
    );

    let status = registry.said("mlp", 1, &id).await.unwrap();
    assert_eq!(
        (&status["state"], &status["engine"], &status["device"]),
        (&json!("ready"), &json!("rust"), &json!("CPU"))
    );
    assert_eq!(status["inputs"][0]["name"], "x");
    assert_eq!(status["inputs"][0]["dtype"], "float32");
    assert_eq!(status["inputs"][0]["shape"][0], Value::Null);
    assert!(status["load_ms"].as_f64().unwrap() > 0.0);

    registry.models.delete("mlp.1").await.unwrap();
    state(&worker, "removed");
    registry.withdrawn("mlp", 1, &id).await;
    let gone = client.request(SUBJECT, x).await.unwrap_err();
    assert_eq!(gone.kind(), async_nats::RequestErrorKind::NoResponders);
}

#[tokio::test]
async fn bad_rows_fail_alone() {
    let Some((_broker, client, registry, worker, _)) = stand(&["--executors", "1"]).await else {
        return;
    };
    registry
        .add("fragile", 1, &["fragile.xml", "fragile.bin"], json!({}))
        .await;
    state(&worker, "ready");
    let row = |value: i64| {
        single(
            "x",
            Dtype::I64,
            &[1, 2],
            &[value.to_le_bytes(), value.to_le_bytes()].concat(),
        )
    };
    let mut fallback = client.subscribe("npu.v1.fallback.normal.infer.fragile").await.unwrap();
    let subject = "npu.v1.call.normal.infer.fragile";
    let forwarded = async {
        let message = tokio::time::timeout(PATIENCE, fallback.next()).await.unwrap().unwrap();
        client.publish(message.reply.unwrap(), "python".into()).await.unwrap();
        text_of(message.headers.as_ref().unwrap(), header::FALLBACK_REASON)
    };
    let good = join_all((0..8).map(|_| call(&client, subject, row(1))));
    // 12 is not divisible by 5: this row fails at run time, after it was batched with the others.
    let (good, bad, reason) = tokio::join!(good, call(&client, subject, row(4)), forwarded);
    assert!(good.iter().all(|reply| kind(reply).is_empty()));
    assert_eq!(&bad.payload[..], b"python", "the other engine answered for it");
    assert!(reason.starts_with("internal: "), "{reason}");
}

#[tokio::test]
async fn requests_are_checked_against_the_model() {
    let Some((_broker, client, registry, worker, _)) = stand(&[]).await else {
        return;
    };
    registry.add("mlp", 3, &MLP, json!({})).await;
    state(&worker, "ready");
    let cases = [
        ("invalid_shape", single("x", Dtype::F64, &[1, 64], &[0; 512])),
        ("invalid_shape", single("x", Dtype::F32, &[1, 3], &[0; 12])),
        ("invalid_shape", single("z", Dtype::F32, &[1, 64], &[0; 256])),
        ("invalid_parameter", doubles(&[0.0], json!({"version": 0}))),
        ("unknown_model", doubles(&[0.0], json!({"version": 2}))),
    ];
    for (expected, frame) in cases {
        assert_eq!(kind(&call(&client, SUBJECT, frame).await), expected);
    }
}

#[tokio::test]
async fn a_new_version_replaces_the_old_and_one_that_fails_does_not() {
    let Some((_broker, client, registry, worker, id)) = stand(&[]).await else {
        return;
    };
    registry.add("mlp", 1, &MLP, json!({})).await;
    state(&worker, "ready");
    registry.add("mlp", 2, &["truncated.onnx"], json!({})).await;
    let failed = state(&worker, "failed");
    assert_eq!(failed["version"], 2);
    assert!(!failed["error"].as_str().unwrap().is_empty());
    assert_eq!(registry.said("mlp", 2, &id).await.unwrap()["error"], failed["error"]);
    let (x, y) = golden(0);
    assert!(
        close(&floats(&call(&client, SUBJECT, x.clone()).await, "y"), &y),
        "version 1 goes on"
    );
    registry.add("mlp", 3, &MLP, json!({})).await;
    assert_eq!(state(&worker, "ready")["version"], 3);
    registry.withdrawn("mlp", 1, &id).await;
    assert!(close(&floats(&call(&client, SUBJECT, x).await, "y"), &y));
    // The highest version goes: the next one below it is served again.
    registry.models.delete("mlp.3").await.unwrap();
    registry.withdrawn("mlp", 3, &id).await;
    assert_eq!(kind(&call(&client, SUBJECT, golden(0).0).await), "");
}

#[tokio::test]
async fn files_that_are_not_what_the_registry_says_are_not_loaded() {
    let Some((_broker, client, registry, worker, id)) = stand(&[]).await else {
        return;
    };
    registry.add("tampered", 1, &MLP, json!({})).await;
    state(&worker, "ready");
    let mut entry: Value = serde_json::from_slice(&registry.models.get("tampered.1").await.unwrap().unwrap()).unwrap();
    entry["files"][1]["sha256"] = json!("0".repeat(64));
    entry["version"] = json!(2);
    registry
        .models
        .put("tampered.2", entry.to_string().into())
        .await
        .unwrap();
    let failed = state(&worker, "failed");
    assert!(failed["error"].as_str().unwrap().contains("sha256"), "{failed}");
    // Entries that are no entries are passed over.
    registry
        .models
        .put("evil.1", r#"{"name": "../evil"}"#.into())
        .await
        .unwrap();
    registry.models.put("evil", "[]".into()).await.unwrap();
    registry.add("good", 1, &["linear.onnx"], json!({})).await;
    state(&worker, "ready");
    assert!(registry.said("evil", 1, &id).await.is_none());
    assert_eq!(kind(&call(&client, "npu.v1.call.normal.echo", slow(0.0)).await), "");
}

#[tokio::test]
async fn the_registry_may_come_later() {
    let broker = Broker::start(&["--jetstream"]);
    let worker = Worker::start(&broker, &[]);
    let client = broker.client().await;
    assert_eq!(
        kind(&call(&client, "npu.v1.call.normal.echo", slow(0.0)).await),
        "",
        "operations need no registry"
    );
    let registry = Registry::new(&client).await;
    registry.add("mlp", 1, &MLP, json!({})).await;
    worker.event_where(|event| event["event"] == "model" && event["state"] != "loading");
}

async fn statistics(client: &Client, id: &str, endpoint: &str) -> Value {
    let reply = client
        .request(format!("$SRV.STATS.npufleet.{id}"), "".into())
        .await
        .unwrap();
    let reply: Value = serde_json::from_slice(&reply.payload).unwrap();
    let mut endpoints = reply["endpoints"].as_array().unwrap().iter();
    endpoints.find(|row| row["name"] == endpoint).unwrap().clone()
}
