//! Messages that one stream stores together: in an atomic batch (ADR-50) the broker writes them to its disk at once.
//!
//! Nobody waits for others: together are those that would leave together anyway. A batch that is not stored is sent
//! again message by message, so that each has the answer that it would have had alone.

use serde::Deserialize;

use crate::calls::BySequence;
use crate::outcome::Request;

/// The server's limit.
const MESSAGES: usize = 1000;
/// What a batch holds at most, in bytes: of large messages, writing them out is what costs.
const BYTES: usize = 1 << 20;
/// The server's word for a stream that takes no batches.
const TAKES_NONE: u64 = 10_174;

/// Messages with the numbers of their calls.
pub(crate) type Group = Vec<(u64, Request)>;

#[derive(Default)]
pub(crate) struct Gathering {
    waiting: Group,
    /// What the broker has not answered, by the number that its answer comes to.
    sent: BySequence<Group>,
    /// Whether the stream takes no batches.
    none: bool,
}

impl Gathering {
    pub(crate) fn push(&mut self, sequence: u64, request: Request) {
        self.waiting.push((sequence, request));
    }

    /// Takes what waits, in groups that may be sent as a batch each.
    pub(crate) fn take(&mut self) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        let mut bytes = 0;
        for (sequence, request) in std::mem::take(&mut self.waiting) {
            let size = request.payload.len();
            match groups.last_mut() {
                Some(group) if !self.none && group.len() < MESSAGES && bytes + size <= BYTES => {
                    group.push((sequence, request));
                    bytes += size;
                }
                _ => {
                    groups.push(vec![(sequence, request)]);
                    bytes = size;
                }
            }
        }
        groups
    }

    /// Remembers a batch until its answer comes.
    pub(crate) fn sent(&mut self, number: u64, group: Group) {
        self.sent.insert(number, group);
    }

    /// The batch that an answer is for.
    pub(crate) fn answered(&mut self, number: u64, answer: &[u8]) -> Option<Group> {
        let group = self.sent.remove(&number)?;
        self.none |=
            Answer::read(answer).is_some_and(|answer| answer.error.is_some_and(|error| error.err_code == TAKES_NONE));
        Some(group)
    }

    /// Forgets the batches of which no message is wanted any more.
    pub(crate) fn keep(&mut self, is_wanted: impl Fn(u64) -> bool) {
        self.sent
            .retain(|_, group| group.iter().any(|(sequence, _)| is_wanted(*sequence)));
    }
}

/// Whether a broker says that it has stored so many messages; of one that is alone it gives no number.
pub(crate) fn is_stored(answer: &[u8], count: usize) -> bool {
    Answer::read(answer)
        .is_some_and(|answer| answer.error.is_none() && answer.seq.is_some() && answer.count.unwrap_or(1) == count)
}

#[derive(Deserialize)]
struct Answer {
    error: Option<Refusal>,
    seq: Option<u64>,
    count: Option<usize>,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    err_code: u64,
}

impl Answer {
    fn read(answer: &[u8]) -> Option<Self> {
        serde_json::from_slice(answer).ok()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use npufleet_link::HeaderBlock;

    use super::*;

    fn request(bytes: usize) -> Request {
        Request {
            subject: "s".into(),
            deadline_us: 0,
            headers: HeaderBlock::default(),
            payload: Bytes::from(vec![0; bytes]),
            half_time: false,
            store: None,
        }
    }

    fn sizes(gathering: &mut Gathering, bytes: &[usize]) -> Vec<usize> {
        for (sequence, bytes) in bytes.iter().enumerate() {
            gathering.push(sequence as u64, request(*bytes));
        }
        gathering.take().iter().map(Vec::len).collect()
    }

    #[test]
    fn what_waits_is_parted_by_what_a_batch_may_hold() {
        let mut gathering = Gathering::default();
        assert_eq!(sizes(&mut gathering, &[]), [0; 0]);
        assert_eq!(sizes(&mut gathering, &[1; 2001]), [1000, 1000, 1]);
        assert_eq!(
            sizes(&mut gathering, &[BYTES / 2, BYTES / 2, 1, BYTES, 1]),
            [2, 1, 1, 1]
        );
    }

    #[test]
    fn a_stream_that_takes_no_batches_gets_none() {
        let mut gathering = Gathering::default();
        for (code, expected) in [(10_077, vec![3]), (TAKES_NONE, vec![1, 1, 1])] {
            gathering.sent(7, vec![(7, request(1))]);
            let answer = format!(r#"{{"error":{{"code":400,"err_code":{code}}},"seq":0}}"#);
            assert_eq!(
                gathering.answered(7, answer.as_bytes()).map(|group| group.len()),
                Some(1)
            );
            assert_eq!(sizes(&mut gathering, &[1; 3]), expected);
        }
        assert!(gathering.answered(7, b"").is_none());
    }

    #[test]
    fn only_a_whole_acknowledgement_is_one() {
        let stored = br#"{"stream":"JOBS","seq":12,"batch":"a","count":3}"#;
        assert!(is_stored(stored, 3));
        assert!(!is_stored(stored, 4));
        assert!(is_stored(br#"{"stream":"JOBS","seq":1,"duplicate":true}"#, 1));
        for refused in [
            &br#"{"error":{"code":503,"err_code":10077},"stream":"JOBS","seq":0}"#[..],
            b"{}",
            b"",
            b"no",
        ] {
            assert!(!is_stored(refused, 1));
        }
    }
}
