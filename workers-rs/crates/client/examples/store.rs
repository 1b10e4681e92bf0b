//! The raw floor of durable jobs: messages that a bare async-nats stores in a stream and has acknowledged.
//!
//! One by one with a number in flight, or with `--batch` in atomic batches (ADR-50), one after the other. Prints a JSON
//! object `{rate, p50_us, p99_us}`; the times are those of one publication.

use std::time::{Duration, Instant};

use async_nats::{Client, Error, HeaderMap, jetstream};
use bytes::Bytes;
use clap::Parser;
use futures::future::try_join_all;
use serde_json::{Value, json};

#[derive(Parser)]
struct Arguments {
    #[arg(long, default_value = "nats://127.0.0.1:4222")]
    url: String,
    #[arg(long)]
    stream: String,
    #[arg(long)]
    subject: String,
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
    /// Messages in one atomic batch; 0 means none.
    #[arg(long, default_value_t = 0)]
    batch: usize,
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    #[arg(long, default_value_t = 320)]
    payload: usize,
}

fn main() -> Result<(), Error> {
    let arguments = Arguments::parse();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let client = async_nats::connect(&arguments.url).await?;
            let until = Instant::now() + Duration::from_secs_f64(arguments.seconds);
            let started = Instant::now();
            let (stored, mut micros) = if arguments.batch > 0 {
                in_batches(&client, &arguments, until).await?
            } else {
                let each = (0..arguments.in_flight).map(|_| one_by_one(&client, &arguments, until));
                let micros = try_join_all(each).await?.concat();
                (micros.len(), micros)
            };
            let rate = stored as f64 / started.elapsed().as_secs_f64();
            micros.sort_by(f64::total_cmp);
            let percentile = |share: f64| micros[((micros.len() - 1) as f64 * share) as usize];
            let row = json!({"rate": rate, "p50_us": percentile(0.5), "p99_us": percentile(0.99)});
            println!("{row}");
            Ok(())
        })
}

/// The headers of a job.
fn headers(arguments: &Arguments) -> HeaderMap {
    let (mut headers, id) = (HeaderMap::new(), nuid::next().to_string());
    headers.insert("Npu-Job-Id", &*id);
    headers.insert("Npu-Submitted", "1700000000000000");
    headers.insert("Npu-Notify", "_INBOX.0123456789abcdef");
    headers.insert("Nats-Expected-Stream", &*arguments.stream);
    headers.insert("Nats-Msg-Id", &*id);
    headers
}

async fn one_by_one(client: &Client, arguments: &Arguments, until: Instant) -> Result<Vec<f64>, Error> {
    let (context, payload) = (jetstream::new(client.clone()), Bytes::from(vec![0; arguments.payload]));
    let mut micros = Vec::new();
    while Instant::now() < until {
        let started = Instant::now();
        let subject = arguments.subject.clone();
        let stored = context.publish_with_headers(subject, headers(arguments), payload.clone());
        stored.await?.await?;
        micros.push(started.elapsed().as_secs_f64() * 1e6);
    }
    Ok(micros)
}

async fn in_batches(client: &Client, arguments: &Arguments, until: Instant) -> Result<(usize, Vec<f64>), Error> {
    let payload = Bytes::from(vec![0; arguments.payload]);
    let (mut stored, mut micros) = (0, Vec::new());
    while Instant::now() < until {
        let (started, batch) = (Instant::now(), nuid::next().to_string());
        for number in 1..arguments.batch {
            let mut headers = headers(arguments);
            headers.insert("Nats-Batch-Id", &*batch);
            headers.insert("Nats-Batch-Sequence", number.to_string());
            let subject = arguments.subject.clone();
            client.publish_with_headers(subject, headers, payload.clone()).await?;
        }
        let mut last = headers(arguments);
        last.insert("Nats-Batch-Id", &*batch);
        last.insert("Nats-Batch-Sequence", arguments.batch.to_string());
        last.insert("Nats-Batch-Commit", "1");
        let answer = client
            .request_with_headers(arguments.subject.clone(), last, payload.clone())
            .await?;
        let said: Value = serde_json::from_slice(&answer.payload)?;
        if said["count"].as_u64() != Some(arguments.batch as u64) {
            return Err(format!("the broker stored another number: {said}").into());
        }
        stored += arguments.batch;
        micros.push(started.elapsed().as_secs_f64() * 1e6);
    }
    Ok((stored, micros))
}
