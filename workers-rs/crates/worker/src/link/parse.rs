//! What the broker sends, taken from the buffer it was read into.

use std::io;
use std::ops::Range;

use bytes::{Buf as _, Bytes, BytesMut};
use memchr::memchr;
use serde::Deserialize;

use super::other;

/// The longest line that a broker sends: an `INFO` that lists a large cluster.
const MAX_LINE: usize = 64 * 1024;
/// No broker is configured for larger messages.
const MAX_MESSAGE: usize = 1 << 27;
const END: &[u8] = b"\r\n";

/// A message; cloning it, or taking its payload, shares the bytes.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// From the first byte after `MSG ` or `HMSG ` to the last of the payload.
    whole: Bytes,
    subject: Range<usize>,
    reply: Range<usize>,
    headers: Range<usize>,
}

impl Message {
    /// Where it was sent.
    pub(crate) fn subject(&self) -> &[u8] {
        &self.whole[self.subject.clone()]
    }

    /// Where its answer goes; empty when none is wanted.
    pub(crate) fn reply(&self) -> &[u8] {
        &self.whole[self.reply.clone()]
    }

    /// Its headers as the protocol writes them, from `NATS/1.0` to the empty line; empty when it has none.
    pub(crate) fn headers(&self) -> &[u8] {
        &self.whole[self.headers.clone()]
    }

    /// What it carries.
    pub(crate) fn payload(&self) -> &[u8] {
        &self.whole[self.headers.end..]
    }

    /// What it carries, shared.
    pub(crate) fn shared_payload(&self) -> Bytes {
        self.whole.slice(self.headers.end..)
    }
}

/// One thing that the broker sent.
#[derive(Debug)]
pub(super) enum Operation {
    Message {
        number: u64,
        message: Message,
    },
    Ping,
    Pong,
    Info(Box<Info>),
    Error(String),
    /// Nothing to do about it.
    Nothing,
}

/// What the broker says about itself.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Info {
    pub(super) max_payload: usize,
    pub(super) tls_required: bool,
    pub(super) nonce: String,
    pub(super) connect_urls: Vec<String>,
    #[serde(rename = "ldm")]
    pub(super) lame_duck: bool,
}

/// Takes the next operation out of the buffer; none when it is not complete yet.
///
/// # Errors
/// When this is not how a NATS broker speaks.
pub(super) fn next(buffer: &mut BytesMut) -> io::Result<Option<Operation>> {
    let Some(newline) = memchr(b'\n', buffer) else {
        return if buffer.len() > MAX_LINE {
            Err(other("the broker sent an endless line"))
        } else {
            Ok(None)
        };
    };
    let line = buffer[..newline]
        .strip_suffix(b"\r")
        .unwrap_or(&buffer[..newline]);
    if let Some(arguments) = line
        .strip_prefix(b"MSG ")
        .or_else(|| line.strip_prefix(b"HMSG "))
    {
        let start = line.len() - arguments.len();
        let parts = Parts::parse(arguments, line[0] == b'H').ok_or_else(|| unexpected(line))?;
        return Ok(take_message(buffer, start, newline + 1, &parts));
    }
    let operation = match line {
        b"PING" => Operation::Ping,
        b"PONG" => Operation::Pong,
        b"+OK" => Operation::Nothing,
        _ => match (line.strip_prefix(b"INFO "), line.strip_prefix(b"-ERR ")) {
            (Some(json), _) => Operation::Info(serde_json::from_slice(json)?),
            (_, Some(text)) => Operation::Error(
                String::from_utf8_lossy(text)
                    .trim_matches(['\'', ' '])
                    .to_owned(),
            ),
            _ => return Err(unexpected(line)),
        },
    };
    drop(buffer.split_to(newline + 1));
    Ok(Some(operation))
}

/// The arguments of `MSG <subject> <number> [reply] <size>` or `HMSG <subject> <number> [reply] <headers> <size>`.
struct Parts {
    number: u64,
    subject: Range<usize>,
    reply: Range<usize>,
    headers: usize,
    size: usize,
}

impl Parts {
    /// Ranges count from the first byte of `arguments`.
    fn parse(arguments: &[u8], has_headers: bool) -> Option<Self> {
        let (mut words, mut count, mut start) = ([(); 5].map(|()| 0..0), 0, 0);
        loop {
            let end =
                memchr(b' ', &arguments[start..]).map_or(arguments.len(), |length| start + length);
            if end > start {
                words.get_mut(count)?.clone_from(&(start..end));
                count += 1;
            }
            if end == arguments.len() {
                break;
            }
            start = end + 1;
        }
        let with_reply = 4 + usize::from(has_headers);
        if count != with_reply && count + 1 != with_reply {
            return None;
        }
        let number = |index: usize| decimal(&arguments[words[index].clone()]);
        let headers = if has_headers { number(count - 2)? } else { 0 };
        let size = number(count - 1)?;
        if headers > size || size > MAX_MESSAGE {
            return None;
        }
        let reply = if count == with_reply {
            words[2].clone()
        } else {
            0..0
        };
        Some(Self {
            number: number(1)? as u64,
            subject: words[0].clone(),
            reply,
            headers,
            size,
        })
    }
}

fn take_message(
    buffer: &mut BytesMut,
    start: usize,
    body: usize,
    parts: &Parts,
) -> Option<Operation> {
    let total = body + parts.size + END.len();
    if buffer.len() < total {
        // So that the rest of a large message arrives in few reads.
        buffer.reserve(total - buffer.len());
        return None;
    }
    let mut whole = buffer.split_to(total).freeze();
    whole.truncate(total - END.len());
    whole.advance(start);
    let headers = body - start..body - start + parts.headers;
    let (subject, reply) = (parts.subject.clone(), parts.reply.clone());
    Some(Operation::Message {
        number: parts.number,
        message: Message {
            whole,
            subject,
            reply,
            headers,
        },
    })
}

fn decimal(digits: &[u8]) -> Option<usize> {
    let add = |sum: usize, digit: &u8| {
        let digit = digit.is_ascii_digit().then(|| usize::from(digit - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    };
    if digits.is_empty() {
        None
    } else {
        digits.iter().try_fold(0, add)
    }
}

fn unexpected(line: &[u8]) -> io::Error {
    let line = String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned();
    other(format!("the broker sent '{line}', which is not NATS"))
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
