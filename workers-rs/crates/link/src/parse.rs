//! Bytes to protocol operations.

use std::ops::Range;

use bytes::{Buf, BytesMut};

use crate::message::Message;

/// The longest line that is not a message. `INFO` names every server of a cluster.
const LONGEST_LINE: usize = 1 << 20;
/// Far above what any broker is configured to take, and not yet a danger to our memory, in bytes.
const LARGEST_MESSAGE: u64 = 1 << 28;

/// One thing that the broker says.
#[derive(Debug)]
pub(crate) enum Operation {
    Message(Message),
    /// JSON text.
    Info(String),
    Error(String),
    Ping,
    Pong,
    Ok,
}

/// What is at the front of the buffer.
#[derive(Debug)]
pub(crate) enum Front {
    Whole(Operation),
    /// Not yet a whole operation; this many more bytes are needed at least.
    Missing(usize),
}

/// Takes one operation off the front. The error says what cannot be understood.
pub(crate) fn next(buffer: &mut BytesMut) -> Result<Front, String> {
    let end = memchr::memchr(b'\n', buffer);
    if end.unwrap_or(buffer.len()) > LONGEST_LINE {
        return Err("a line without end".into());
    }
    let Some(end) = end else {
        return Ok(Front::Missing(1));
    };
    let line = buffer[..end].strip_suffix(b"\r").unwrap_or(&buffer[..end]);
    let operation = match line {
        [b'H', b'M', b'S', b'G', b' ', ..] => return message(buffer, end + 1, line.len(), true),
        [b'M', b'S', b'G', b' ', ..] => return message(buffer, end + 1, line.len(), false),
        [b'P', b'I', b'N', b'G', ..] => Operation::Ping,
        [b'P', b'O', b'N', b'G', ..] => Operation::Pong,
        [b'+', b'O', b'K', ..] => Operation::Ok,
        [b'I', b'N', b'F', b'O', b' ', json @ ..] => Operation::Info(String::from_utf8_lossy(json).into_owned()),
        [b'-', b'E', b'R', b'R', text @ ..] => {
            let text = String::from_utf8_lossy(text);
            Operation::Error(text.trim().trim_matches('\'').to_owned())
        }
        _ => {
            return Err(format!("{:?}", String::from_utf8_lossy(&line[..line.len().min(64)])));
        }
    };
    buffer.advance(end + 1);
    Ok(Front::Whole(operation))
}

/// `MSG <subject> <sid> [reply] <size>` or `HMSG <subject> <sid> [reply] <header size> <size>`, then the bytes.
fn message(buffer: &mut BytesMut, start: usize, line: usize, with_headers: bool) -> Result<Front, String> {
    let words = if with_headers { 5..line } else { 4..line };
    let Envelope {
        subject,
        reply,
        subscription,
        header_size,
        size,
    } = envelope(buffer, words, true, with_headers)?;
    let whole = start + size + 2;
    if buffer.len() < whole {
        return Ok(Front::Missing(whole - buffer.len()));
    }
    if buffer[whole - 2..whole] != *b"\r\n" {
        return Err("a message that does not end where it should".into());
    }
    let bytes = buffer.split_to(whole).freeze();
    Ok(Front::Whole(Operation::Message(Message {
        bytes,
        subscription,
        subject,
        reply,
        headers: start..start + header_size,
        payload: start + header_size..start + size,
        is_part: false,
    })))
}

/// What the line before a message says, words as positions: the line becomes part of the message without being copied.
pub(crate) struct Envelope {
    pub(crate) subject: Range<usize>,
    /// Empty when no answer is wanted.
    pub(crate) reply: Range<usize>,
    /// 0 when the line names none.
    pub(crate) subscription: u64,
    pub(crate) header_size: usize,
    /// Bytes of headers and payload.
    pub(crate) size: usize,
}

/// Reads `<subject> [subscription] [reply] [header size] <size>`, the two in the middle when they are said to be there.
pub(crate) fn envelope(
    buffer: &[u8],
    line: Range<usize>,
    with_subscription: bool,
    with_headers: bool,
) -> Result<Envelope, String> {
    let mut words: [Range<usize>; 5] = Default::default();
    let mut count = 0;
    let mut position = line.start;
    while position < line.end {
        if buffer[position] == b' ' {
            position += 1;
            continue;
        }
        let length = memchr::memchr(b' ', &buffer[position..line.end]).unwrap_or(line.end - position);
        *words.get_mut(count).ok_or("a message with too many words")? = position..position + length;
        count += 1;
        position += length;
    }
    let before = 1 + usize::from(with_subscription);
    let sizes = 1 + usize::from(with_headers);
    let reply = match count.checked_sub(before + sizes) {
        Some(0) => 0..0,
        Some(1) => words[before].clone(),
        _ => return Err("a message with a wrong number of words".into()),
    };
    let number = |word: &Range<usize>| digits(&buffer[word.clone()]).ok_or("a message with a wrong number");
    let size = number(&words[count - 1])?;
    let header_size = if with_headers { number(&words[count - 2])? } else { 0 };
    if header_size > size {
        return Err("a message with more headers than bytes".into());
    }
    if size > LARGEST_MESSAGE {
        return Err(format!("a message of {size} bytes"));
    }
    Ok(Envelope {
        subject: words[0].clone(),
        reply,
        subscription: if with_subscription { number(&words[1])? } else { 0 },
        header_size: header_size as usize,
        size: size as usize,
    })
}

/// Reads a decimal number that nothing in a message exceeds.
fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 18 {
        return None;
    }
    text.iter().try_fold(0, |number, byte| {
        byte.is_ascii_digit().then(|| number * 10 + u64::from(byte - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn whole(text: &str) -> Operation {
        let mut buffer = BytesMut::from(text);
        match next(&mut buffer) {
            Ok(Front::Whole(operation)) if buffer.is_empty() => operation,
            other => panic!("{text:?} gave {other:?} and left {buffer:?}"),
        }
    }

    fn message(text: &str) -> Message {
        match whole(text) {
            Operation::Message(message) => message,
            other => panic!("{text:?} gave {other:?}"),
        }
    }

    #[test]
    fn messages() {
        let plain = message("MSG a.b 7 5\r\nhello\r\n");
        assert_eq!((plain.subject(), plain.subscription(), plain.reply()), ("a.b", 7, None));
        assert_eq!((&plain.payload()[..], plain.status()), (&b"hello"[..], 0));
        let replied = message("MSG a 1 in.box  0\r\n\r\n");
        assert_eq!(
            (replied.reply().as_deref(), replied.payload_bytes()),
            (Some("in.box"), &b""[..])
        );
        let headed = message("HMSG a 1 r 18 20\r\nNATS/1.0\r\nA: b\r\n\r\nhi\r\n");
        assert_eq!(
            (headed.headers().get("A"), headed.payload_bytes()),
            (Some("b"), &b"hi"[..])
        );
        assert_eq!(message("HMSG a 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n").status(), 503);
    }

    #[test]
    fn other_operations() {
        assert!(matches!(whole("PING\r\n"), Operation::Ping));
        assert!(matches!(whole("PONG\r\n"), Operation::Pong));
        assert!(matches!(whole("+OK\r\n"), Operation::Ok));
        assert!(matches!(whole("INFO {}\r\n"), Operation::Info(json) if json == "{}"));
        assert!(matches!(whole("-ERR 'No'\r\n"), Operation::Error(text) if text == "No"));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "\r\n",
            "WHAT\r\n",
            "MSG a 1\r\n",
            "MSG a 1 b c d\r\n",
            "MSG a 1 b c d e\r\n",
            "MSG a 1 -1\r\n",
            "MSG a 1 99999999999999999999\r\n",
            "MSG a 1 999999999999999999\r\n",
            "MSG a x 0\r\n\r\n",
            "MSG a 1 1\r\nabc",
            "HMSG a 1 5 4\r\n",
            "HMSG a 1 4\r\n",
        ] {
            assert!(next(&mut BytesMut::from(text)).is_err(), "{text:?}");
        }
        assert!(next(&mut BytesMut::from(&vec![b'x'; LONGEST_LINE + 1][..])).is_err());
    }

    /// Everything that a stream holds, and how it ends, when it arrives in pieces of these sizes.
    fn parsed(stream: &[u8], sizes: &[usize]) -> Vec<String> {
        let (mut buffer, mut said, mut rest) = (BytesMut::new(), Vec::new(), stream);
        let mut sizes = sizes.iter().cycle();
        loop {
            loop {
                match next(&mut buffer) {
                    Ok(Front::Whole(operation)) => said.push(format!("{operation:?}")),
                    Ok(Front::Missing(missing)) => {
                        assert!(missing > 0);
                        break;
                    }
                    Err(what) => {
                        said.push(what);
                        return said;
                    }
                }
            }
            if rest.is_empty() {
                return said;
            }
            let (now, later) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
            buffer.extend_from_slice(now);
            rest = later;
        }
    }

    /// Bytes as a broker sends them, more or less.
    fn streams() -> impl Strategy<Value = Vec<u8>> {
        let payload = || vec(any::<u8>(), 0..50);
        let plain = payload().prop_map(|payload| {
            let head = format!("MSG a.b 1 r {}\r\n", payload.len());
            [head.as_bytes(), &payload, b"\r\n"].concat()
        });
        let headed = ("[ -~]{0,30}", payload()).prop_map(|(header, payload)| {
            let block = format!("NATS/1.0\r\n{header}\r\n\r\n");
            let head = format!("HMSG a 7 {} {}\r\n", block.len(), block.len() + payload.len());
            [head.as_bytes(), block.as_bytes(), &payload, b"\r\n"].concat()
        });
        let lines = prop_oneof![
            Just("PING\r\n"),
            Just("PONG\r\n"),
            Just("+OK\r\n"),
            Just("INFO {}\r\n"),
            Just("-ERR 'x'\n")
        ];
        let lines = lines.prop_map(|line| line.as_bytes().to_vec());
        let nonsense = vec(any::<u8>(), 0..20);
        let almost = "(H?MSG|INFO|PING)[ a-z0-9\r\n-]{0,20}".prop_map(String::into_bytes);
        let part = prop_oneof![6 => plain, 6 => headed, 6 => lines, 1 => nonsense, 1 => almost];
        vec(part, 0..12).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn how_bytes_arrive_changes_nothing(stream in streams(), sizes in vec(1usize..40, 1..8)) {
            prop_assert_eq!(parsed(&stream, &sizes), parsed(&stream, &[usize::MAX]));
        }

        #[test]
        fn no_bytes_panic(stream in vec(any::<u8>(), 0..300), sizes in vec(1usize..40, 1..8)) {
            prop_assert_eq!(parsed(&stream, &sizes), parsed(&stream, &[usize::MAX]));
        }

        #[test]
        fn no_headers_panic(block in vec(any::<u8>(), 0..200)) {
            let headers = crate::Headers::new(&block);
            headers.status();
            for (name, _) in headers.iter() {
                prop_assert!(headers.get(name).is_some());
            }
        }
    }
}
