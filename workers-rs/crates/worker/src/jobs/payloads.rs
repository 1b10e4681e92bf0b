//! Frames of jobs that are too large for a message: in pieces, in the stream PAYLOADS.

use std::fmt::{Display, Formatter};

use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use npufleet_link::HeaderBlock;
use npufleet_wire::{Error, ErrorKind, Result, job, subject};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::stream::{self as broker, PAYLOADS, Silence};
use crate::core::Core;
use crate::events::log;

/// Pieces that are on their way at the same time.
const AT_ONCE: usize = 8;
/// As long as the stream RESULTS keeps a result.
const RESULT_TTL: &str = "168h";

/// Where a frame lies: `npu1:<path>:<pieces>:<bytes>:<sha256>`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reference {
    path: String,
    pieces: usize,
    size: usize,
    digest: String,
}

impl Reference {
    /// Reads a header's value.
    ///
    /// # Errors
    /// `payload_lost` when it is no reference.
    pub(super) fn parse(text: &str) -> Result<Self> {
        Self::find(text).ok_or_else(|| {
            let text: String = text.chars().take(80).collect();
            Error::new(ErrorKind::PayloadLost, format!("'{text}' is no reference to a payload"))
        })
    }

    fn find(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("npu1:")?.split(':');
        let (path, pieces, size, digest) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let plain = |part: &str| {
            (1..=64).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
        };
        let decimal = |text: &str, most| (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        let hexadecimal = |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let is_path = match path.split('.').collect::<Vec<_>>()[..] {
            [id, "in"] => plain(id),
            [id, "out", random] => plain(id) && plain(random) && hexadecimal(random),
            _ => false,
        };
        let is_right = is_path && decimal(pieces, 5) && decimal(size, 13) && digest.len() == 64 && hexadecimal(digest);
        let (pieces, size) = (pieces.parse().ok()?, size.parse::<usize>().ok()?);
        (parts.next().is_none() && is_right && size.div_ceil(job::INLINE_BYTES) == pieces).then(|| Self {
            path: path.to_owned(),
            pieces,
            size,
            digest: digest.to_owned(),
        })
    }

    /// The frame's length in bytes.
    pub(super) const fn size(&self) -> usize {
        self.size
    }

    fn subject(&self, prefix: &str, piece: &str) -> String {
        subject::payload(prefix, &self.path, piece)
    }
}

impl Display for Reference {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        let Self {
            path,
            pieces,
            size,
            digest,
        } = self;
        write!(formatter, "npu1:{path}:{pieces}:{size}:{digest}")
    }
}

/// Stores the frame of a result, or of a job, however long that takes; returns its reference.
pub(super) async fn put(core: &Core, path: String, frame: &Bytes, of: Of) -> Reference {
    let reference = Reference {
        path,
        pieces: frame.len().div_ceil(job::INLINE_BYTES),
        size: frame.len(),
        digest: digest(frame.clone()).await,
    };
    let mut headers = HeaderBlock::default();
    if of == Of::Result {
        headers.push("Nats-TTL", RESULT_TTL);
    }
    let (headers, made) = (&headers, &reference);
    stream::iter(0..reference.pieces)
        .for_each_concurrent(AT_ONCE, |number| async move {
            let start = number * job::INLINE_BYTES;
            let piece = frame.slice(start..frame.len().min(start + job::INLINE_BYTES));
            let subject = made.subject(&core.prefix, &number.to_string());
            // One that is there already is an earlier try's, and right.
            broker::write(core, &subject, headers, &piece).await;
        })
        .await;
    reference
}

/// What a frame belongs to, and so how long it is kept.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Of {
    /// A job: until that is over.
    Job,
    /// A result: as long as that is kept.
    Result,
}

/// Why a frame is not there.
pub(super) enum Missing {
    /// It never will be.
    Lost(Error),
    /// It may be, later.
    Silent(Silence),
}

/// The frame that a header refers to.
pub(super) async fn get(core: &Core, text: &str) -> std::result::Result<Bytes, Missing> {
    let wanted = &Reference::parse(text).map_err(Missing::Lost)?;
    let lost = |text: String| Missing::Lost(Error::new(ErrorKind::PayloadLost, text));
    let pieces = stream::iter(0..wanted.pieces).map(|number| async move {
        let subject = wanted.subject(&core.prefix, &number.to_string());
        match broker::last(core, PAYLOADS, &subject).await {
            Ok(Some(found)) => Ok(found.payload()),
            Ok(None) => Err(lost(format!(
                "piece {number} of {} of the payload {} is gone",
                wanted.pieces, wanted.path
            ))),
            Err(silence) => Err(Missing::Silent(silence)),
        }
    });
    let mut frame = BytesMut::with_capacity(wanted.pieces * job::INLINE_BYTES);
    let mut pieces = pieces.buffered(AT_ONCE);
    while let Some(piece) = pieces.try_next().await? {
        frame.extend_from_slice(&piece);
    }
    let frame = frame.freeze();
    if frame.len() != wanted.size || digest(frame.clone()).await != wanted.digest {
        return Err(lost(format!(
            "the payload {} is not what was stored: size or digest differ",
            wanted.path
        )));
    }
    Ok(frame)
}

/// Removes a frame; what cannot be removed now goes with its age.
pub(super) async fn remove(core: &Core, reference: &Reference) {
    let body = json!({"filter": reference.subject(&core.prefix, "*")});
    if let Err(silence) = broker::ask(core, &format!("STREAM.PURGE.{PAYLOADS}"), Some(&body)).await {
        log(format_args!("the payload {} stays for now: {silence}", reference.path));
    }
}

/// The SHA-256 in hexadecimal, computed off the event loop.
async fn digest(frame: Bytes) -> String {
    let compute = move || format!("{:x}", Sha256::digest(&frame));
    // A thread that cannot be had or failed gives a digest that nothing has.
    tokio::task::spawn_blocking(compute).await.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(path: &str, pieces: usize, size: usize) -> String {
        format!("npu1:{path}:{pieces}:{size}:{}", "0a".repeat(32))
    }

    #[test]
    fn a_reference_is_read_as_it_is_written() {
        for path in ["aB_-1.in", "x.out.00ff"] {
            let text = text(path, 3, 2 * job::INLINE_BYTES + 1);
            assert_eq!(Reference::parse(&text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_could_lead_elsewhere_is_no_reference() {
        let wrong = [
            text("*.in", 1, 5),
            text("x.>", 1, 5),
            text("x.out.*", 1, 5),
            text("x.out.0.0", 1, 5),
            text("x.in", 2, 5),
            text("x.in", 1, 0),
            text("x.in", 1, 5) + ":",
            text("x.in", 1, 5).replace("0a0a", "0A0a"),
            String::new(),
        ];
        for text in wrong {
            assert_eq!(
                Reference::parse(&text).unwrap_err().kind,
                ErrorKind::PayloadLost,
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "npu1:[a-z.]{0,9}:[0-9]{0,14}:[0-9]{0,14}:[0-9a-f:]{0,66}|.*") {
            if let Ok(reference) = Reference::parse(&text) {
                prop_assert!(reference.size > 0);
            }
        }
    }
}
