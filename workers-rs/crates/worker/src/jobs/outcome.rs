//! What is written when something happens to a job: its result once, its dead letter once, its events as they come.

use bytes::Bytes;
use npufleet_link::{HeaderBlock, Headers, Message};
use npufleet_wire::{header, job, subject};
use serde_json::{Value, json};

use super::commits;
use super::order::Order;
use super::payloads::{self, Of, Reference};
use super::stream::{self, EVENTS, EXPECTED_LAST, RESULTS, SCHEDULES, Silence, Stored};
use crate::core::{Core, ENGINE};
use crate::events::log;
use crate::request::Now;

/// What a dead letter's headers need at most beside the job's own and the history, in bytes.
const LETTER_HEADERS: usize = 8 << 10;
/// Events that a dead letter repeats, at most.
const HISTORY_LIMIT: usize = 64;

pub(super) async fn result(core: &Core, id: &str) -> Result<Option<Message>, Silence> {
    stream::last(core, RESULTS, &subject::result(&core.prefix, id)).await
}

pub(super) async fn cancel_asked(core: &Core, id: &str) -> Result<bool, Silence> {
    let found = stream::last(core, RESULTS, &subject::cancel(&core.prefix, id)).await?;
    Ok(found.is_some())
}

/// Writes a job's result unless it has one; false when it had one. The submitter is told in either case.
pub(super) async fn commit(core: &Core, order: &Order, attempt: u32, mut headers: HeaderBlock, frame: &Bytes) -> bool {
    headers.push(header::JOB_ID, &order.id);
    if !order.operation.is_empty() {
        headers.push(header::OPERATION, &order.name());
    }
    if order.submitted > 0 {
        headers.push_number(header::SUBMITTED, order.submitted);
    }
    headers.push_number(header::FINISHED, now());
    headers.push_number(header::ATTEMPT, attempt.into());
    headers.push(header::WORKER, &core.id);
    headers.push(EXPECTED_LAST, "0");
    let subject = subject::result(&core.prefix, &order.id);
    let stored = stream::insist(|| commits::publish(core, &subject, &headers, frame)).await;
    if let Some(notify) = &order.notify {
        let id = Bytes::copy_from_slice(order.id.as_bytes());
        core.post(|pieces| pieces.publish(notify, None, b"", &id));
    }
    stored == Stored::Now
}

/// As [`commit`], with a frame that may be too large for its message.
pub(super) async fn commit_frame(
    core: &Core,
    order: &Order,
    attempt: u32,
    mut headers: HeaderBlock,
    frame: &Bytes,
) -> bool {
    if frame.len() <= job::INLINE_BYTES {
        return commit(core, order, attempt, headers, frame).await;
    }
    // A path that nobody else has: two may work on the same attempt, and only one of them must remove what it wrote.
    let path = format!("{}.out.{:016x}", order.id, fastrand::u64(..));
    let reference = payloads::put(core, path, frame, Of::Result).await;
    let text = reference.to_string();
    headers.push(header::PAYLOAD, &text);
    if commit(core, order, attempt, headers, &Bytes::new()).await {
        return true;
    }
    let there = stream::insist(|| result(core, &order.id)).await;
    if there.is_some_and(|there| there.headers().get(header::PAYLOAD) == Some(&text)) {
        // Ours: the answer to its first sending was lost.
        return true;
    }
    payloads::remove(core, &reference).await;
    false
}

/// Removes a frame that is needed no more; what cannot be removed now goes with its age.
pub(super) async fn remove(core: &Core, payload: Option<&str>) {
    match payload.map(Reference::parse) {
        Some(Ok(reference)) => payloads::remove(core, &reference).await,
        Some(Err(error)) => log(format_args!("{error}")),
        None => {}
    }
}

/// Has the broker forget a job for later, or that it is repeated; there may be none.
pub(super) async fn end_schedule(core: &Core, id: &str) {
    let body = json!({"filter": subject::schedule(&core.prefix, id)});
    if let Err(silence) = stream::ask(core, &format!("STREAM.PURGE.{SCHEDULES}"), Some(&body)).await {
        log(format_args!("the schedule of job {id} goes on: {silence}"));
    }
}

/// Writes a job's dead letter unless it is there: the job as it was, why it failed, and all its events.
pub(super) async fn bury(core: &Core, order: &Order, message: &Message, failure: Headers<'_>, attempt: u32) {
    let mut history = Value::Array(history(core, &order.id).await).to_string();
    let room = core.link.max_payload().saturating_sub(message.payload_bytes().len());
    if history.len() + message.headers().as_bytes().len() + LETTER_HEADERS > room {
        log(format_args!(
            "the dead letter of job {} has no room for its history",
            order.id
        ));
        "[]".clone_into(&mut history);
    }
    let (number, name) = (attempt.to_string(), order.name());
    let own = [
        (header::JOB_ID, order.id.as_str()),
        (header::OPERATION, &name),
        (header::ATTEMPT, &number),
        (header::HISTORY, &history),
        (EXPECTED_LAST, "0"),
    ];
    let said = [
        header::ERROR,
        header::ERROR_CODE,
        header::ERROR_KIND,
        header::ENGINE,
        header::WORKER,
    ];
    let said = said.into_iter().filter_map(|name| Some((name, failure.get(name)?)));
    let headers = repeat(message.headers(), &said.chain(own).collect::<Vec<_>>());
    let subject = subject::dead(&core.prefix, &order.operation, &order.id);
    stream::write(core, &subject, &headers, &message.payload()).await;
}

/// A job's headers with others in their place or beside them; those of the broker are not repeated.
pub(super) fn repeat(headers: Headers<'_>, others: &[(&str, &str)]) -> HeaderBlock {
    let mut block = HeaderBlock::default();
    for (name, value) in headers.iter() {
        let is_replaced = name == header::HISTORY || others.iter().any(|(other, _)| *other == name);
        if !name.starts_with("Nats-") && !is_replaced {
            block.push(name, value);
        }
    }
    for (name, value) in others {
        block.push(name, value);
    }
    block
}

/// Says what happens to a job; in a power cut it may be lost.
pub(super) fn tell(core: &Core, id: &str, state: &str, attempt: u32, more: Value) {
    let (subject, body) = event(core, id, state, attempt, more);
    core.post(|pieces| pieces.publish(&subject, None, b"", &body));
}

/// Says what happens to a job, and waits until that is stored.
pub(super) async fn tell_surely(core: &Core, id: &str, state: &str, attempt: u32, more: Value) {
    let (subject, body) = event(core, id, state, attempt, more);
    stream::write(core, &subject, &HeaderBlock::default(), &body).await;
}

fn event(core: &Core, id: &str, state: &str, attempt: u32, more: Value) -> (String, Bytes) {
    let mut said = json!({"state": state, "attempt": attempt, "worker": core.id, "engine": ENGINE, "at": now()});
    if let (Value::Object(said), Value::Object(more)) = (&mut said, more) {
        said.extend(more);
    }
    (subject::event(&core.prefix, id), Bytes::from(said.to_string()))
}

/// The events of a job so far, the oldest first.
async fn history(core: &Core, id: &str) -> Vec<Value> {
    let (subject, mut events, mut sequence) = (subject::event(&core.prefix, id), Vec::new(), 1);
    while events.len() < HISTORY_LIMIT {
        match stream::next(core, EVENTS, sequence, &subject).await {
            Ok(Some(found)) => {
                let at = found
                    .headers()
                    .get("Nats-Sequence")
                    .and_then(|at| at.parse::<u64>().ok());
                events.extend(serde_json::from_slice::<Value>(found.payload_bytes()).ok());
                match at {
                    Some(at) => sequence = at + 1,
                    None => break,
                }
            }
            Ok(None) => break,
            Err(silence) => {
                log(format_args!("the history of job {id} is not whole: {silence}"));
                break;
            }
        }
    }
    events
}

/// The wall clock's time in unix microseconds.
pub(super) fn now() -> u64 {
    Now::new().unix.as_micros() as u64
}
