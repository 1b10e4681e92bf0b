//! Asks a running worker as fast as it answers, over plain NATS, and prints rates and round-trip times as JSON.
//!
//! `load --url nats://... --frame echo|fft|mlp --in-flight 1,16,64,256 --seconds 2`

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use clap::{Parser, ValueEnum};
use futures::StreamExt as _;
use npufleet_wire::{Dtype, Output, frame, header};
use serde_json::{Map, json};

type Error = Box<dyn std::error::Error + Send + Sync>;

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// 16 doubles, to `echo`.
    Echo,
    /// 1024 doubles, to `fft`.
    Fft,
    /// One row of 64 floats, to the model `mlp`.
    Mlp,
}

#[derive(Parser)]
struct Options {
    #[arg(long, default_value = "nats://127.0.0.1:4222")]
    url: String,
    #[arg(long, value_enum, default_value = "echo")]
    frame: Kind,
    #[arg(long, value_delimiter = ',', default_value = "1,16,64,256")]
    in_flight: Vec<usize>,
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// The share of requests that are sampled, in percent.
    #[arg(long, default_value_t = 0)]
    sampled: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let options = Options::parse();
    let client = async_nats::ConnectOptions::new()
        .subscription_capacity(1 << 16)
        .connect(&options.url)
        .await?;
    let (subject, dtype, elements, size) = match options.frame {
        Kind::Echo => ("npu.v1.call.normal.echo", Dtype::F64, 16, 8),
        Kind::Fft => ("npu.v1.call.normal.fft", Dtype::F64, 1024, 8),
        Kind::Mlp => ("npu.v1.call.normal.infer.mlp", Dtype::F32, 64, 4),
    };
    let shape = if matches!(options.frame, Kind::Mlp) {
        vec![1, elements]
    } else {
        vec![elements]
    };
    let data = vec![0; elements * size];
    let payload = frame::encode(
        &[Output {
            name: "x",
            dtype,
            shape: &shape,
            data: &data,
        }],
        &Map::new(),
    )?;
    for &in_flight in &options.in_flight {
        let mut micros = load(&client, subject, &payload, in_flight, &options).await?;
        let rate = micros.len() as f64 / options.seconds;
        micros.sort_by(f64::total_cmp);
        let percentile = |share: f64| micros[((micros.len() - 1) as f64 * share) as usize];
        println!(
            "{}",
            json!({"in_flight": in_flight, "rate": rate, "p50_us": percentile(0.5), "p99_us": percentile(0.99)})
        );
    }
    Ok(())
}

async fn load(
    client: &Client,
    subject: &'static str,
    payload: &Bytes,
    in_flight: usize,
    options: &Options,
) -> Result<Vec<f64>, Error> {
    let prefix = client.new_inbox();
    let mut inbox = client.subscribe(format!("{prefix}.*")).await?.ready_chunks(256);
    let (mut sent, mut sequence, mut micros, mut missing) = (HashMap::new(), 0u64, Vec::new(), in_flight);
    let duration = Duration::from_secs_f64(options.seconds);
    let started = Instant::now();
    while started.elapsed() < duration {
        for _ in 0..std::mem::take(&mut missing) {
            sequence += 1;
            let mut headers = HeaderMap::new();
            let deadline = SystemTime::now().duration_since(UNIX_EPOCH)? + Duration::from_secs(30);
            headers.insert(header::DEADLINE, deadline.as_micros().to_string());
            if sequence % 100 < options.sampled {
                headers.insert(
                    header::TRACEPARENT,
                    format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{sequence:016x}-01"),
                );
            }
            sent.insert(sequence, Instant::now());
            client
                .publish_with_reply_and_headers(subject, format!("{prefix}.{sequence}"), headers, payload.clone())
                .await?;
        }
        let Some(chunk) = tokio::time::timeout(Duration::from_secs(5), inbox.next()).await? else {
            break;
        };
        let now = Instant::now();
        for reply in chunk {
            let kind = reply.headers.as_ref().and_then(|headers| headers.get(header::ERROR));
            if let Some(text) = kind
                .map(ToString::to_string)
                .or(reply.status.map(|status| status.to_string()))
            {
                return Err(text.into());
            }
            let number = reply
                .subject
                .rsplit('.')
                .next()
                .and_then(|token| token.parse::<u64>().ok());
            if let Some(at) = number.and_then(|number| sent.remove(&number)) {
                micros.push((now - at).as_secs_f64() * 1e6);
                missing += 1;
            }
        }
    }
    Ok(micros)
}
