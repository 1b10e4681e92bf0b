//! The few requests to `JetStream` that jobs are made of, with what can go wrong as types.

use std::fmt::Display;
use std::time::Duration;

use bytes::Bytes;
use npufleet_link::{HeaderBlock, Message};
use serde_json::Value;
use tokio::time::timeout;

use crate::core::Core;
use crate::events::log;

pub(super) const RESULTS: &str = "RESULTS";
pub(super) const EVENTS: &str = "EVENTS";
pub(super) const PAYLOADS: &str = "PAYLOADS";
pub(super) const SCHEDULES: &str = "SCHEDULES";

/// A write that wants to be the first on its subject.
pub(super) const EXPECTED_LAST: &str = "Nats-Expected-Last-Subject-Sequence";
const WRONG_LAST_SEQUENCE: u64 = 10071;
const STORE_FAILED: u64 = 10077;

const PATIENCE: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The broker did not do what it was asked for, for now; the text says why.
#[derive(Debug)]
pub(super) struct Silence(pub(super) String);

/// Whether a message was stored.
#[derive(Debug, PartialEq)]
pub(super) enum Stored {
    Now,
    /// There was one on the subject, and it stays.
    Before,
}

/// Asks something and returns the answer.
pub(super) async fn request(core: &Core, subject: &str, headers: &[u8], payload: &Bytes) -> Result<Message, Silence> {
    request_together(core, &[(subject, headers, payload)]).await
}

/// Sends messages that leave together and returns the answer to the last one.
pub(super) async fn request_together(core: &Core, messages: &[(&str, &[u8], &Bytes)]) -> Result<Message, Silence> {
    let Some((last, others)) = messages.split_last() else {
        return Err(Silence("nothing was asked".to_owned()));
    };
    let (subject, limit) = (last.0, core.link.max_payload());
    for (subject, headers, payload) in messages {
        let size = headers.len() + payload.len();
        if size > limit {
            // The broker would end the connection, and all calls with it.
            return Err(Silence(format!(
                "{subject}: the message has {size} bytes; the broker allows {limit}"
            )));
        }
    }
    let (number, inbox, answer) = core.questions.ask();
    let sent = core.post(|pieces| {
        for (subject, headers, payload) in others {
            pieces.publish(subject, None, headers, payload);
        }
        pieces.publish(subject, Some(&inbox), last.1, last.2);
    });
    if !sent {
        core.questions.forget(number);
        return Err(Silence(format!("{subject}: too much waits for the broker")));
    }
    match timeout(PATIENCE, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err(Silence(format!("{subject}: the connection was lost"))),
        Err(_) => {
            core.questions.forget(number);
            Err(Silence(format!("{subject}: no answer in {} s", PATIENCE.as_secs())))
        }
    }
}

/// Asks the API something that it answers in JSON.
pub(super) async fn ask(core: &Core, question: &str, body: Option<&Value>) -> Result<Value, Silence> {
    let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
    let answer = request(core, &format!("$JS.API.{question}"), b"", &body).await?;
    let said: Value = serde_json::from_slice(answer.payload_bytes()).unwrap_or_default();
    match said.get("error") {
        None if said.is_object() => Ok(said),
        None => Err(Silence(format!("{question}: the broker has no JetStream"))),
        Some(error) => Err(Silence(format!("{question}: {}", error["description"]))),
    }
}

/// Stores a message.
pub(super) async fn publish(
    core: &Core,
    subject: &str,
    headers: &HeaderBlock,
    payload: &Bytes,
) -> Result<Stored, Silence> {
    let answer = request(core, subject, headers.as_bytes(), payload).await?;
    let said: Value = serde_json::from_slice(answer.payload_bytes()).unwrap_or_default();
    if said["stream"].is_string() && said.get("error").is_none() {
        return Ok(Stored::Now);
    }
    let error = &said["error"];
    let (number, text) = (error["err_code"].as_u64(), error["description"].as_str());
    match (number, text) {
        (Some(WRONG_LAST_SEQUENCE), _) => Ok(Stored::Before),
        (Some(STORE_FAILED), Some(text)) if text.contains("per subject") => Ok(Stored::Before),
        (_, Some(text)) => Err(Silence(format!("{subject}: {text}"))),
        _ => Err(Silence(format!("{subject}: no stream stores it"))),
    }
}

/// Stores a message, however long that takes; only the end of the worker ends it.
pub(super) async fn write(core: &Core, subject: &str, headers: &HeaderBlock, payload: &Bytes) -> Stored {
    insist(|| publish(core, subject, headers, payload)).await
}

/// Does something until it is done.
pub(super) async fn insist<T, F: Future<Output = Result<T, Silence>>>(mut work: impl FnMut() -> F) -> T {
    let mut pause = FIRST_PAUSE;
    loop {
        match work().await {
            Ok(done) => return done,
            Err(silence) => log(format_args!("not written yet: {silence}")),
        }
        tokio::time::sleep(pause.mul_f64(jitter())).await;
        pause = (2 * pause).min(LONGEST_PAUSE);
    }
}

/// From 1.0 to 1.5: spreads what would else come at once.
pub(super) fn jitter() -> f64 {
    1.0 + fastrand::f64() / 2.0
}

/// The last message on a subject of a stream, if there is one.
pub(super) async fn last(core: &Core, stream: &str, subject: &str) -> Result<Option<Message>, Silence> {
    let question = format!("$JS.API.DIRECT.GET.{stream}.{subject}");
    found(&question, request(core, &question, b"", &Bytes::new()).await?)
}

/// The first message on a subject from a sequence on, if there is one.
pub(super) async fn next(core: &Core, stream: &str, sequence: u64, subject: &str) -> Result<Option<Message>, Silence> {
    let question = format!("$JS.API.DIRECT.GET.{stream}");
    let body = serde_json::json!({"seq": sequence, "next_by_subj": subject}).to_string();
    found(&question, request(core, &question, b"", &Bytes::from(body)).await?)
}

fn found(question: &str, answer: Message) -> Result<Option<Message>, Silence> {
    match answer.status() {
        0 => Ok(Some(answer)),
        404 => Ok(None),
        503 => Err(Silence(format!("{question}: there is no such stream"))),
        status => Err(Silence(format!("{question}: status {status}"))),
    }
}

impl Display for Silence {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}
