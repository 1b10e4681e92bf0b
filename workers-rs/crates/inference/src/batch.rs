//! Many requests in one inference, and back to single ones when it fails.

use bytes::Bytes;
use npufleet_wire::{Error, ErrorKind, Frame, Result};

/// A request whose frame has passed the model's check.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member<'a> {
    pub(crate) frame: &'a Frame,
    pub(crate) rows: usize,
}

impl<'a> Member<'a> {
    /// The bytes of an input.
    pub(crate) fn data(&self, name: &str) -> Result<&'a [u8]> {
        let tensor = self
            .frame
            .tensor(name)
            .ok_or_else(|| Error::new(ErrorKind::InvalidShape, format!("tensor '{name}' is missing")))?;
        Ok(tensor.data)
    }
}

/// Runs members together; all succeed or all fail.
pub(crate) trait Run {
    /// One reply per member, in their order.
    fn run(&self, members: &[Member<'_>]) -> Result<Vec<Bytes>>;
}

/// Runs members together, and by halves when that fails, so that only those fail that fail alone.
///
/// A lost device fails them all at once: trying again on it would only take time from the other engine.
pub(crate) fn run_split(runner: &impl Run, members: &[Member<'_>], replies: &mut Vec<Result<Bytes>>) {
    match runner.run(members) {
        Ok(frames) => replies.extend(frames.into_iter().map(Ok)),
        Err(error) if members.len() <= 1 || error.kind == ErrorKind::DeviceLost => {
            replies.extend(members.iter().map(|_| Err(error.clone())));
        }
        Err(_) => {
            let (front, back) = members.split_at(members.len() / 2);
            run_split(runner, front, replies);
            run_split(runner, back, replies);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use npufleet_wire::Dtype;
    use npufleet_wire::frame::{Output, encode};

    use super::*;

    /// Answers with the first byte of each member, and refuses any batch that holds a 13. Stands in for the device:
    /// which inference fails, and with which kind, is then known exactly.
    struct Picky {
        kind: ErrorKind,
        batches: RefCell<Vec<usize>>,
    }

    impl Run for Picky {
        fn run(&self, members: &[Member<'_>]) -> Result<Vec<Bytes>> {
            self.batches.borrow_mut().push(members.len());
            members
                .iter()
                .map(|member| match member.data("x")? {
                    [13] => Err(Error::new(self.kind, "thirteen")),
                    data => Ok(Bytes::copy_from_slice(data)),
                })
                .collect()
        }
    }

    fn frames(values: &[u8]) -> Vec<Frame> {
        values
            .iter()
            .map(|value| {
                let x = Output {
                    name: "x",
                    dtype: Dtype::U8,
                    shape: &[1],
                    data: &[*value],
                };
                Frame::decode(encode(&[x], &serde_json::Map::new()).unwrap()).unwrap()
            })
            .collect()
    }

    fn run(kind: ErrorKind, values: &[u8]) -> (Vec<Result<Bytes>>, Vec<usize>) {
        let frames = frames(values);
        let members: Vec<_> = frames.iter().map(|frame| Member { frame, rows: 1 }).collect();
        let runner = Picky {
            kind,
            batches: RefCell::default(),
        };
        let mut replies = Vec::new();
        run_split(&runner, &members, &mut replies);
        (replies, runner.batches.into_inner())
    }

    #[test]
    fn only_the_bad_one_fails() {
        let (replies, batches) = run(ErrorKind::Internal, &[1, 2, 13, 4, 5]);
        let kinds: Vec<_> = replies
            .iter()
            .map(|reply| reply.as_ref().map(|bytes| bytes[0]))
            .collect();
        assert_eq!(kinds[0], Ok(1));
        assert_eq!(kinds[1], Ok(2));
        assert_eq!(kinds[2].unwrap_err().message, "thirteen");
        assert_eq!(&kinds[3..], [Ok(4), Ok(5)]);
        assert_eq!(batches, [5, 2, 3, 1, 2]);
    }

    #[test]
    fn a_lost_device_is_not_tried_again() {
        let (replies, batches) = run(ErrorKind::DeviceLost, &[1, 13, 3, 4]);
        assert!(
            replies
                .iter()
                .all(|reply| reply.as_ref().unwrap_err().kind == ErrorKind::DeviceLost)
        );
        assert_eq!((replies.len(), batches), (4, vec![4]));
    }
}
