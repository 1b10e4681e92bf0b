//! Headers as they lie in a message, and as they are written into one.

use bytes::{BufMut, BytesMut};

const VERSION: &[u8] = b"NATS/1.0";
const LINE_END: &[u8] = b"\r\n";

/// The header block of a message, read where it lies.
#[derive(Debug, Clone, Copy)]
pub struct Headers<'a>(&'a [u8]);

impl<'a> Headers<'a> {
    /// Reads a block that was copied out of a message.
    pub fn new(block: &'a [u8]) -> Self {
        Self(block)
    }

    /// Returns the block as it was sent.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Returns the first value of a header, by its exact name, without the white space around it.
    pub fn get(self, name: &str) -> Option<&'a str> {
        self.iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }

    /// Returns the names and values in the order in which they were written; lines that are none are left out.
    pub fn iter(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        // The first line holds the version and the status.
        let mut lines = self.0.split(|&byte| byte == b'\n').skip(1);
        std::iter::from_fn(move || {
            loop {
                let line = std::str::from_utf8(lines.next()?).ok();
                if let Some((name, value)) = line.and_then(|line| line.split_once(':')) {
                    return Some((name, value.trim()));
                }
            }
        })
    }

    /// Returns the status in the first line, or 0.
    pub fn status(self) -> u16 {
        let line = self.0.strip_prefix(VERSION).unwrap_or_default();
        let digits = line
            .iter()
            .skip_while(|&&byte| byte == b' ')
            .take_while(|byte| byte.is_ascii_digit());
        digits.fold(0u16, |status, digit| {
            status
                .wrapping_mul(10)
                .wrapping_add(u16::from(digit - b'0'))
        })
    }
}

/// A header block under construction.
#[derive(Debug, Default)]
pub struct HeaderBlock(BytesMut);

impl HeaderBlock {
    /// Starts an empty block in the memory of this one.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Adds a header. Both parts must satisfy [`fits`], or the broker would read something else.
    pub fn push(&mut self, name: &str, value: &str) {
        debug_assert!(fits(name, value), "header {name:?}: {value:?}");
        if self.0.is_empty() {
            self.0.put_slice(VERSION);
            self.0.put_slice(LINE_END);
        }
        self.0.reserve(name.len() + value.len() + 6);
        self.0.put_slice(name.as_bytes());
        self.0.put_slice(b": ");
        self.0.put_slice(value.as_bytes());
        self.0.put_slice(LINE_END);
    }

    /// Adds a header with a number.
    pub fn push_number(&mut self, name: &str, value: u64) {
        self.push(name, itoa::Buffer::new().format(value));
    }

    /// Returns the bytes that the block will take in a message; 0 without headers.
    pub fn size(&self) -> usize {
        if self.0.is_empty() {
            0
        } else {
            self.0.len() + LINE_END.len()
        }
    }

    pub(crate) fn write_to(&self, buffer: &mut BytesMut) {
        buffer.put_slice(&self.0);
        buffer.put_slice(LINE_END);
    }
}

/// Returns the bytes that a block with these headers takes.
pub fn size<'a>(headers: impl Iterator<Item = (&'a str, &'a str)>) -> usize {
    let lines: usize = headers
        .map(|(name, value)| name.len() + value.len() + 4)
        .sum();
    VERSION.len() + LINE_END.len() + lines + LINE_END.len()
}

/// Whether a header can be written without breaking the protocol: a visible name without colons, a value of one line.
pub fn fits(name: &str, value: &str) -> bool {
    let named = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b':');
    named && !value.bytes().any(|byte| byte == b'\r' || byte == b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut block = HeaderBlock::default();
        assert_eq!(block.size(), 0);
        block.push("Npu-Engine", "rust");
        block.push_number("Npu-Deadline", 1234);
        let mut bytes = BytesMut::new();
        block.write_to(&mut bytes);
        assert_eq!(
            &bytes[..],
            b"NATS/1.0\r\nNpu-Engine: rust\r\nNpu-Deadline: 1234\r\n\r\n"
        );
        assert_eq!(bytes.len(), block.size());
        assert_eq!(
            bytes.len(),
            size([("Npu-Engine", "rust"), ("Npu-Deadline", "1234")].into_iter())
        );
        let headers = Headers(&bytes);
        assert_eq!(headers.get("Npu-Engine"), Some("rust"));
        assert_eq!(headers.get("Npu-Deadline"), Some("1234"));
        assert_eq!(headers.get("Absent"), None);
        assert_eq!(headers.status(), 0);
    }

    #[test]
    fn the_status_is_in_the_first_line() {
        assert_eq!(Headers(b"NATS/1.0 503\r\n\r\n").status(), 503);
        assert_eq!(Headers(b"NATS/1.0 404 No Messages\r\n\r\n").status(), 404);
        assert_eq!(Headers(b"").status(), 0);
    }

    #[test]
    fn odd_lines_are_left_out() {
        let headers = Headers(b"NATS/1.0\r\nno colon\r\n\xff: x\r\nA:1\r\nB:  two words \r\n\r\n");
        assert_eq!(
            headers.iter().collect::<Vec<_>>(),
            [("A", "1"), ("B", "two words")]
        );
    }

    #[test]
    fn protocol_cannot_be_smuggled() {
        assert!(fits("Name", "any text: even this"));
        for (name, value) in [
            ("", "x"),
            ("a b", "x"),
            ("a:b", "x"),
            ("a\n", "x"),
            ("a", "x\r\ny"),
            ("a", "\n"),
        ] {
            assert!(!fits(name, value), "{name:?} {value:?}");
        }
    }
}
