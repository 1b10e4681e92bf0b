//! The bytes of ZMTP 3 (rfc.zeromq.org, 23 and 37) that a plain connection to an owner has: greeting, commands, parts.

/// The greeting's size.
pub const GREETING_BYTES: usize = 64;
/// What a part begins with whose size is in one byte.
pub const SHORT_BYTES: usize = 2;
/// What a part begins with whose size is in eight.
pub const LONG_BYTES: usize = 9;
/// A question for a sign of life; the answer is its name with another letter.
pub const PING: [u8; 9] = *b"\x04\x07\x04PING\0\0";

const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;
const COMMAND_LIMIT: usize = 512;
const CONTEXT_LIMIT: usize = 16;

/// How a part begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// A part of a message.
    Message {
        /// Its bytes.
        size: usize,
        /// Whether another one follows.
        more: bool,
    },
    /// Something that is said between messages.
    Command {
        /// Its bytes.
        size: usize,
    },
}

/// What is said between messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// The handshake is over.
    Ready,
    /// A sign of life is asked for; these bytes come back with it.
    Ping {
        /// At most 16 bytes.
        context: &'a [u8],
    },
    /// A sign of life, or what we need not understand.
    Other,
}

/// What each side says first: that it speaks ZMTP 3.1, without CURVE.
pub fn greeting() -> [u8; GREETING_BYTES] {
    let mut bytes = [0; GREETING_BYTES];
    (bytes[0], bytes[9], bytes[10], bytes[11]) = (0xff, 0x7f, 3, 1);
    bytes[12..16].copy_from_slice(b"NULL");
    bytes
}

/// What ends the handshake: a command that says which kind of socket speaks, `DEALER` or `ROUTER`.
pub fn ready(kind: &str) -> Vec<u8> {
    let mut bytes = b"\x04\0\x05READY\x0bSocket-Type\0\0\0".to_vec();
    bytes.push(kind.len() as u8);
    bytes.extend_from_slice(kind.as_bytes());
    bytes[1] = (bytes.len() - SHORT_BYTES) as u8;
    bytes
}

/// Whether these 64 bytes greet one that speaks plainly.
///
/// # Errors
/// Why not, in words.
pub fn check(greeting: &[u8]) -> Result<(), &'static str> {
    let speaks = greeting.len() == GREETING_BYTES && greeting[0] == 0xff && greeting[9] & 1 == 1 && greeting[10] >= 3;
    let plainly = speaks && greeting[12..].starts_with(b"NULL\0");
    if plainly {
        Ok(())
    } else {
        Err("one side speaks CURVE and the other does not, or it is no channel at all")
    }
}

/// How many bytes the beginning of a part has, by the first of them.
pub fn head_bytes(flags: u8) -> usize {
    if flags & LONG == 0 { SHORT_BYTES } else { LONG_BYTES }
}

/// Reads the beginning of a part; none when it is none, or one of a message's part of more than `limit` bytes.
pub fn head(bytes: &[u8], limit: usize) -> Option<Head> {
    let (&flags, size) = bytes.split_first()?;
    let size = match *size {
        [size] if flags & LONG == 0 => u64::from(size),
        _ if flags & LONG != 0 => u64::from_be_bytes(size.try_into().ok()?),
        _ => return None,
    };
    let size = usize::try_from(size).ok()?;
    match flags & !LONG {
        0 | MORE if size <= limit => Some(Head::Message {
            size,
            more: flags & MORE != 0,
        }),
        COMMAND if size <= COMMAND_LIMIT => Some(Head::Command { size }),
        _ => None,
    }
}

/// Reads a command; none when it is malformed or says that something is wrong.
pub fn command(bytes: &[u8]) -> Option<Command<'_>> {
    let (&length, rest) = bytes.split_first()?;
    let (name, data) = rest.split_at_checked(length.into())?;
    match name {
        b"READY" => Some(Command::Ready),
        // Two bytes say how long the other waits, which we need not know.
        b"PING" => {
            let context = data.get(2..).filter(|context| context.len() <= CONTEXT_LIMIT)?;
            Some(Command::Ping { context })
        }
        b"ERROR" => None,
        _ => Some(Command::Other),
    }
}

/// A sign of life.
pub fn pong(context: &[u8]) -> Vec<u8> {
    let mut bytes = vec![COMMAND, (5 + context.len()) as u8];
    bytes.extend_from_slice(b"\x04PONG");
    bytes.extend_from_slice(context);
    bytes
}

/// A message of one short part.
pub fn message(request: &[u8]) -> Vec<u8> {
    debug_assert!(request.len() <= u8::MAX.into());
    let mut bytes = vec![0, request.len() as u8];
    bytes.extend_from_slice(request);
    bytes
}

/// A message of two parts, without the bytes of the second one.
pub fn answer(head: &[u8], second: usize) -> Vec<u8> {
    debug_assert!(head.len() <= u8::MAX.into());
    let mut bytes = vec![MORE, head.len() as u8];
    bytes.extend_from_slice(head);
    if let Ok(size) = u8::try_from(second) {
        bytes.extend_from_slice(&[0, size]);
    } else {
        bytes.push(LONG);
        bytes.extend_from_slice(&(second as u64).to_be_bytes());
    }
    bytes
}
