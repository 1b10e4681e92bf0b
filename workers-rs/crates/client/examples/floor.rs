//! The raw floor: round trips of a bare async-nats echo through a broker, Rust to Rust, over two connections.
//!
//! `--role both` (the default) runs the two sides on a thread each; `--role echo` and `--role caller` run one of
//! them, so that they can be two processes. Prints a JSON list of `{in_flight, rate, p50_us, p99_us, samples}`.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use async_nats::{Client, Error};
use bytes::Bytes;
use clap::{Parser, ValueEnum};
use futures::StreamExt;
use serde_json::json;

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Role {
    Both,
    Echo,
    Caller,
}

#[derive(Parser)]
struct Arguments {
    #[arg(long, default_value = "nats://127.0.0.1:4222")]
    url: String,
    #[arg(long, default_value = "")]
    user: String,
    #[arg(long, default_value = "")]
    password: String,
    #[arg(long, value_delimiter = ',', default_value = "1,16,64,256")]
    in_flight: Vec<usize>,
    /// How long each number in flight is measured.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    #[arg(long, default_value_t = 128)]
    payload: usize,
    #[arg(long, value_enum, default_value_t = Role::Both)]
    role: Role,
    /// Where the echo listens; a fresh subject when absent and both roles run.
    #[arg(long)]
    subject: Option<String>,
}

fn main() -> Result<(), Error> {
    let arguments = Arguments::parse();
    let subject = arguments
        .subject
        .clone()
        .unwrap_or_else(|| format!("floor.{}", nuid::next().as_str()));
    let (url, user, password) = (
        arguments.url.clone(),
        arguments.user.clone(),
        arguments.password.clone(),
    );
    let options = move || {
        let options = async_nats::ConnectOptions::new();
        if user.is_empty() {
            options
        } else {
            options.user_and_password(user.clone(), password.clone())
        }
    };
    if arguments.role == Role::Echo {
        return block_on(async { echo(options().connect(&url).await?, subject, || ()).await });
    }
    if arguments.role == Role::Both {
        let (sender, listening) = std::sync::mpsc::channel();
        let (options, url, subject) = (options.clone(), url.clone(), subject.clone());
        std::thread::spawn(move || {
            block_on(async {
                echo(options().connect(&url).await?, subject, || {
                    // The caller waits for it.
                    let _ = sender.send(());
                })
                .await
            })
        });
        listening.recv()?;
    }
    block_on(async {
        let nats = options().connect(&url).await?;
        let mut rows = Vec::new();
        for in_flight in arguments.in_flight {
            let duration = Duration::from_secs_f64(arguments.seconds);
            let mut micros = call(&nats, &subject, in_flight, arguments.payload, duration).await?;
            let rate = micros.len() as f64 / arguments.seconds;
            micros.sort_by(f64::total_cmp);
            let percentile = |share: f64| micros[((micros.len() - 1) as f64 * share) as usize];
            rows.push(json!({
                "in_flight": in_flight, "rate": rate, "samples": micros.len(),
                "p50_us": percentile(0.5), "p99_us": percentile(0.99),
            }));
        }
        println!("{}", serde_json::Value::from(rows));
        Ok(())
    })
}

fn block_on(task: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(task)
}

async fn echo(nats: Client, subject: String, listening: impl FnOnce()) -> Result<(), Error> {
    let mut requests = nats.subscribe(subject).await?.ready_chunks(64);
    nats.flush().await?;
    listening();
    while let Some(chunk) = requests.next().await {
        for request in chunk {
            if let Some(reply) = request.reply {
                nats.publish(reply, request.payload).await?;
            }
        }
    }
    Ok(())
}

/// Keeps `in_flight` requests under way for `duration` and returns the round-trip times in microseconds.
async fn call(
    nats: &Client,
    subject: &str,
    in_flight: usize,
    payload: usize,
    duration: Duration,
) -> Result<Vec<f64>, Error> {
    let prefix = nats.new_inbox();
    let mut inbox = nats.subscribe(format!("{prefix}.*")).await?.ready_chunks(256);
    let payload = Bytes::from(vec![0u8; payload]);
    let mut sent: HashMap<u64, Instant> = HashMap::new();
    let mut sequence = 0u64;
    let mut micros = Vec::new();
    let started = Instant::now();
    let mut missing = in_flight;
    while started.elapsed() < duration {
        for _ in 0..std::mem::take(&mut missing) {
            sequence += 1;
            sent.insert(sequence, Instant::now());
            nats.publish_with_reply(subject.to_owned(), format!("{prefix}.{sequence}"), payload.clone())
                .await?;
        }
        let Some(chunk) = tokio::time::timeout(Duration::from_secs(5), inbox.next()).await? else {
            break;
        };
        let now = Instant::now();
        for reply in chunk {
            if reply.status.is_some() {
                return Err(format!("nobody answers on {subject}").into());
            }
            let answered = reply.subject.rsplit('.').next().and_then(|token| token.parse().ok());
            if let Some(at) = answered.and_then(|sequence: u64| sent.remove(&sequence)) {
                micros.push((now - at).as_secs_f64() * 1e6);
                missing += 1;
            }
        }
    }
    Ok(micros)
}
