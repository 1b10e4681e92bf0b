//! A real broker on a free port, a worker process, and calls as any NATS client makes them.

#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test program uses its part")]

#[path = "../../../link/tests/support/broker.rs"]
mod broker;
pub mod registry;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::{Client, HeaderMap, Message};
use bytes::Bytes;
use npufleet_wire::{Dtype, Frame, Output, frame, header};
use serde_json::{Map, Value, json};

pub use broker::{Broker, Directory};

/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A worker process that is killed with its owner.
pub struct Worker {
    child: Child,
    events: Receiver<Value>,
    pub cache: Directory,
}

impl Worker {
    /// Starts a worker and waits until it is ready.
    pub fn start(broker: &Broker, options: &[&str]) -> Self {
        let worker = Self::spawn(broker, options, &[]);
        worker.event("ready");
        worker
    }

    pub fn spawn(broker: &Broker, options: &[&str], environment: &[(&str, &str)]) -> Self {
        let cache = Directory::new();
        let mut command = Command::new(env!("CARGO_BIN_EXE_npufleet-worker"));
        command
            .args(["--json", "--url", &broker.url, "--cache-dir"])
            .arg(&cache.0)
            .args(options);
        command
            .env("OTEL_TRACES_EXPORTER", "none")
            .envs(environment.iter().copied());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let (sender, events) = channel();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).unwrap());
            }
        });
        Self { child, events, cache }
    }

    /// Waits for the next event of a name.
    pub fn event(&self, name: &str) -> Value {
        self.event_where(|event| event["event"] == name)
    }

    pub fn event_where(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let event = self.events.recv_timeout(PATIENCE).expect("an event");
            if wanted(&event) {
                return event;
            }
        }
    }

    pub fn terminate(&self) {
        let status = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success());
    }

    /// Waits for the end; the exit code.
    pub fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A frame with one tensor `x` of doubles.
pub fn doubles(values: &[f64], params: Value) -> Bytes {
    let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let Value::Object(params) = params else {
        panic!("parameters are an object")
    };
    frame::encode(
        &[Output {
            name: "x",
            dtype: Dtype::F64,
            shape: &[values.len()],
            data: &data,
        }],
        &params,
    )
    .unwrap()
}

/// A frame with one tensor.
pub fn single(name: &str, dtype: Dtype, shape: &[usize], data: &[u8]) -> Bytes {
    frame::encode(
        &[Output {
            name,
            dtype,
            shape,
            data,
        }],
        &Map::new(),
    )
    .unwrap()
}

/// An `echo` frame that keeps its worker busy.
pub fn slow(seconds: f64) -> Bytes {
    doubles(&[1.0], json!({"delay": seconds}))
}

/// Unix microseconds `after` now.
pub fn deadline(after: Duration) -> String {
    (SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + after)
        .as_micros()
        .to_string()
}

pub async fn call(client: &Client, subject: &str, frame: Bytes) -> Message {
    call_with(client, subject, HeaderMap::new(), frame).await
}

pub async fn call_with(client: &Client, subject: &str, headers: HeaderMap, frame: Bytes) -> Message {
    let request = async_nats::Request::new()
        .payload(frame)
        .headers(headers)
        .timeout(Some(PATIENCE));
    client.send_request(subject.to_owned(), request).await.unwrap()
}

/// A header of a message, empty when absent.
pub fn text(message: &Message, name: &str) -> String {
    message
        .headers
        .as_ref()
        .and_then(|headers| headers.get(name))
        .map(ToString::to_string)
        .unwrap_or_default()
}

/// The kind of an error reply, empty for a good one.
pub fn kind(message: &Message) -> String {
    text(message, header::ERROR_KIND)
}

/// The values of a tensor of 4-byte floats.
pub fn floats(message: &Message, name: &str) -> Vec<f32> {
    let frame = Frame::decode(message.payload.clone()).unwrap();
    let tensor = frame.tensor(name).unwrap();
    tensor
        .data
        .chunks_exact(4)
        .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
        .collect()
}

/// A header, empty when absent.
pub fn text_of(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).map(ToString::to_string).unwrap_or_default()
}
