//! Headers as they lie in a message, and as they are written into one.

use memchr::memchr;

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
        let [value] = self.get_each([name]);
        value
    }

    /// Returns what [`Headers::get`] does for several names, in one pass.
    pub fn get_each<const N: usize>(self, names: [&str; N]) -> [Option<&'a str>; N] {
        let mut found = [None; N];
        let mut left = N;
        for line in self.lines() {
            for (name, found) in names.iter().zip(&mut found) {
                let value = line
                    .strip_prefix(name.as_bytes())
                    .and_then(|rest| rest.strip_prefix(b":"));
                if let Some(value) = value
                    && found.is_none()
                    && let Ok(value) = std::str::from_utf8(value)
                {
                    *found = Some(value.trim_ascii());
                    left -= 1;
                }
            }
            if left == 0 {
                break;
            }
        }
        found
    }

    /// Returns the names and values in the order in which they were written; lines that are none are left out.
    pub fn iter(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.lines().filter_map(|line| {
            let colon = memchr(b':', line)?;
            let text = std::str::from_utf8(line).ok()?;
            Some((&text[..colon], text[colon + 1..].trim_ascii()))
        })
    }

    /// The lines after the first one, which holds the version and the status.
    fn lines(self) -> impl Iterator<Item = &'a [u8]> {
        let cut = |text: &'a [u8]| memchr(b'\n', text).map(|end| (&text[..end], &text[end + 1..]));
        let mut rest = cut(self.0).map(|(_, rest)| rest);
        std::iter::from_fn(move || {
            let text = rest?;
            let (line, after) = cut(text).map_or((text, None), |(line, after)| (line, Some(after)));
            rest = after;
            Some(line)
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
            status.wrapping_mul(10).wrapping_add(u16::from(digit - b'0'))
        })
    }
}

/// A header block that is being written.
#[derive(Debug, Clone, Default)]
pub struct HeaderBlock(Vec<u8>);

impl HeaderBlock {
    /// Starts an empty block in the memory of this one.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Goes on with the block of a message; with none, when it is no block.
    pub fn continuing(headers: Headers<'_>) -> Self {
        let block = headers.as_bytes();
        let is_block = block.starts_with(VERSION) && block.ends_with(b"\r\n\r\n") && headers.status() == 0;
        Self(if is_block { block.to_vec() } else { Vec::new() })
    }

    /// Adds a header. Both parts must satisfy [`fits`], or the broker would read something else.
    pub fn push(&mut self, name: &str, value: &str) {
        debug_assert!(fits(name, value), "header {name:?}: {value:?}");
        self.line(name, |block| block.extend_from_slice(value.as_bytes()));
    }

    /// Adds a header with a text for people: control characters become spaces, and it is cut after `most` characters.
    pub fn push_text(&mut self, name: &str, text: &str, most: usize) {
        self.line(name, |block| {
            let mut utf8 = [0; 4];
            for character in text.chars().take(most) {
                let character = if character.is_control() { ' ' } else { character };
                block.extend_from_slice(character.encode_utf8(&mut utf8).as_bytes());
            }
        });
    }

    /// Adds a header with a number.
    pub fn push_number(&mut self, name: &str, value: u64) {
        self.push(name, itoa::Buffer::new().format(value));
    }

    /// Adds a header with named numbers: `a=1;b=2`.
    pub fn push_numbers(&mut self, name: &str, values: &[(&str, u64)]) {
        self.line(name, |block| {
            for (index, (word, value)) in values.iter().enumerate() {
                if index > 0 {
                    block.push(b';');
                }
                block.extend_from_slice(word.as_bytes());
                block.push(b'=');
                block.extend_from_slice(itoa::Buffer::new().format(*value).as_bytes());
            }
        });
    }

    /// Adds the headers of another block.
    pub fn push_all(&mut self, headers: &Self) {
        if self.0.is_empty() {
            self.0.extend_from_slice(&headers.0);
        } else if let Some(lines) = headers.0.get(VERSION.len() + LINE_END.len()..) {
            self.0.truncate(self.0.len() - LINE_END.len());
            self.0.extend_from_slice(lines);
        }
    }

    /// Returns the block as it is sent; empty without headers.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn line(&mut self, name: &str, value: impl FnOnce(&mut Vec<u8>)) {
        let block = &mut self.0;
        if block.is_empty() {
            block.reserve(192);
            block.extend_from_slice(VERSION);
            block.extend_from_slice(LINE_END);
        } else {
            // The empty line at the end comes again after this one.
            block.truncate(block.len() - LINE_END.len());
        }
        block.extend_from_slice(name.as_bytes());
        block.extend_from_slice(b": ");
        value(block);
        block.extend_from_slice(LINE_END);
        block.extend_from_slice(LINE_END);
    }
}

/// Whether a header can be written without breaking the protocol: a visible name without colons, a value of one line.
pub fn fits(name: &str, value: &str) -> bool {
    let named = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
    named && !value.bytes().any(|byte| byte == b'\r' || byte == b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut block = HeaderBlock::default();
        assert_eq!(block.as_bytes(), b"");
        block.push("A", "x");
        block.push_numbers("B", &[("one", 1), ("two", 2)]);
        let mut block = HeaderBlock::continuing(Headers(block.as_bytes()));
        block.push_number("C", 12);
        block.push_text("D", "two\r\nlines: \u{e9}...", 13);
        let text = "NATS/1.0\r\nA: x\r\nB: one=1;two=2\r\nC: 12\r\nD: two  lines: \u{e9}\r\n\r\n";
        assert_eq!(block.as_bytes(), text.as_bytes());
        let mut other = HeaderBlock::default();
        other.push_all(&HeaderBlock::default());
        assert_eq!(other.as_bytes(), b"");
        other.push_all(&block);
        assert_eq!(other.as_bytes(), text.as_bytes());
        other.push_all(&HeaderBlock::default());
        assert_eq!(other.as_bytes(), text.as_bytes());
        other.push_all(&block);
        assert_eq!(Headers(other.as_bytes()).iter().count(), 8);
        assert!(other.as_bytes().ends_with(b"lines: \xc3\xa9\r\n\r\n"));
        let headers = Headers(block.as_bytes());
        let all = [
            ("A", "x"),
            ("B", "one=1;two=2"),
            ("C", "12"),
            ("D", "two  lines: \u{e9}"),
        ];
        assert_eq!(headers.iter().collect::<Vec<_>>(), all);
        assert_eq!((headers.get("C"), headers.get("Absent")), (Some("12"), None));
        assert_eq!(headers.status(), 0);
    }

    #[test]
    fn only_a_block_is_continued() {
        for block in [&b""[..], b"NATS/1.0\r\nA: x", b"NATS/1.0 503\r\n\r\n", b"\xff"] {
            assert_eq!(HeaderBlock::continuing(Headers(block)).as_bytes(), b"");
        }
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
        assert_eq!(headers.iter().collect::<Vec<_>>(), [("A", "1"), ("B", "two words")]);
    }

    proptest::proptest! {
        #[test]
        fn a_header_is_found_as_it_is_listed(lines in "(([AB]{0,2}:?|\r|é|ÿ)[ab :]{0,3}\r?\n?){0,6}", name in "[AB]{1,2}") {
            let headers = Headers(lines.as_bytes());
            let listed = headers.iter().find(|(key, _)| *key == name).map(|(_, value)| value);
            proptest::prop_assert_eq!(headers.get(&name), listed);
        }
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
