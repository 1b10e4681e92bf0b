//! What happens to a connection, as libzmq tells it.

use crate::Message;

/// The events that are asked for.
pub(crate) const EVENTS: i32 = 0x0001 | 0x0080 | 0x0200 | 0x0800 | 0x1000 | 0x2000 | 0x4000;

/// Something that happened to a socket's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// There is a connection, without security yet.
    Connected,
    /// The connection is ready for messages.
    Ready,
    /// Connecting failed: nobody listens, or not in time.
    Refused,
    /// The peer closed the connection during the handshake, as it does on a wrong key.
    Rejected,
    /// The peer said nothing during the handshake.
    Silent,
    /// The peer speaks another security mechanism, or no ZeroMQ.
    Mismatch,
    /// The connection is gone.
    Disconnected,
    /// Anything else.
    Other,
}

impl Event {
    /// Reads the first part of an event message: a number of 16 bits, a value of 32, both in the machine's order.
    pub(crate) fn read(message: &Message) -> Self {
        const EAGAIN: u32 = 11;
        let &[first, second, a, b, c, d] = message.as_ref() else {
            return Self::Other;
        };
        match (u16::from_ne_bytes([first, second]), u32::from_ne_bytes([a, b, c, d])) {
            (0x0001, _) => Self::Connected,
            (0x0080, _) => Self::Refused,
            (0x0200, _) => Self::Disconnected,
            (0x0800, EAGAIN) => Self::Silent,
            (0x0800 | 0x4000, _) => Self::Rejected,
            (0x1000, _) => Self::Ready,
            (0x2000, _) => Self::Mismatch,
            _ => Self::Other,
        }
    }
}
