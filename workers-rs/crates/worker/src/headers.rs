//! Blocks of message headers, as the protocol writes them.

use crate::link::push_decimal;

const START: &[u8] = b"NATS/1.0\r\n";
const END: &[u8] = b"\r\n";
/// Texts are cut to this length; they are for people.
const MAX_TEXT: usize = 1000;

/// A block of headers that is being written.
pub(crate) struct Headers(Vec<u8>);

impl Headers {
    /// An empty block.
    pub(crate) fn new() -> Self {
        let mut block = Vec::with_capacity(192);
        block.extend_from_slice(START);
        Self(block)
    }

    /// What a message came with, to be continued.
    pub(crate) fn continuing(block: &[u8]) -> Self {
        match block.strip_suffix(END) {
            Some(open) if open.starts_with(START) => Self(open.to_vec()),
            _ => Self::new(),
        }
    }

    /// Adds a header; what would end the line becomes a space.
    pub(crate) fn text(&mut self, name: &str, value: &str) {
        let value = value.chars().take(MAX_TEXT).map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        });
        self.name(name);
        let mut bytes = [0; 4];
        value.for_each(|character| {
            self.0
                .extend_from_slice(character.encode_utf8(&mut bytes).as_bytes());
        });
        self.0.extend_from_slice(END);
    }

    /// Adds a header whose value is known to be one line.
    pub(crate) fn word(&mut self, name: &str, value: &str) {
        self.name(name);
        self.0.extend_from_slice(value.as_bytes());
        self.0.extend_from_slice(END);
    }

    /// Adds a header with a number.
    pub(crate) fn number(&mut self, name: &str, value: u64) {
        self.name(name);
        push_decimal(&mut self.0, value);
        self.0.extend_from_slice(END);
    }

    /// Adds a header with numbers that have names: `a=1;b=2`.
    pub(crate) fn numbers(&mut self, name: &str, values: &[(&str, u64)]) {
        self.name(name);
        for (index, (word, value)) in values.iter().enumerate() {
            if index > 0 {
                self.0.push(b';');
            }
            self.0.extend_from_slice(word.as_bytes());
            self.0.push(b'=');
            push_decimal(&mut self.0, *value);
        }
        self.0.extend_from_slice(END);
    }

    /// The whole block.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.0.extend_from_slice(END);
        self.0
    }

    fn name(&mut self, name: &str) {
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b": ");
    }
}

/// The names and values of a block; what is not text, or no header, is passed over.
pub(crate) fn read(block: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    let lines = std::str::from_utf8(block)
        .unwrap_or_default()
        .split("\r\n")
        .skip(1);
    lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name, value.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_written_continued_and_read() {
        let mut headers = Headers::new();
        headers.word("A", "x");
        headers.numbers("B", &[("one", 1), ("two", 2)]);
        let mut headers = Headers::continuing(&headers.finish());
        headers.number("C", 12);
        headers.text("D", "two\r\nlines: é");
        let block = headers.finish();
        assert_eq!(
            block,
            "NATS/1.0\r\nA: x\r\nB: one=1;two=2\r\nC: 12\r\nD: two  lines: é\r\n\r\n".as_bytes()
        );
        let all: Vec<_> = read(&block).collect();
        assert_eq!(
            all,
            [
                ("A", "x"),
                ("B", "one=1;two=2"),
                ("C", "12"),
                ("D", "two  lines: é")
            ]
        );
        assert_eq!(read(b"").count() + read(b"\xff").count(), 0);
        assert_eq!(Headers::continuing(b"").finish(), Headers::new().finish());
    }
}
