//! The bytes of ZMTP are those of its specification, and no others make its reader panic.

use npufleet_payload::channel::plain::zmtp::{self, Command, Head};
use proptest::prelude::*;

/// How a part begins, as the specification has it.
fn written(head: Head, long: bool) -> Vec<u8> {
    let (flags, size) = match head {
        Head::Message { size, more } => (u8::from(more), size),
        Head::Command { size } => (4, size),
    };
    if long {
        [&[flags | 2][..], &(size as u64).to_be_bytes()].concat()
    } else {
        vec![flags, size as u8]
    }
}

#[test]
fn the_handshake_is_that_of_the_specification() {
    let greeting = zmtp::greeting();
    assert_eq!(greeting[..10], [0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f]);
    assert_eq!(greeting[10..17], *b"\x03\x01NULL\0");
    assert!(greeting[16..].iter().all(|&byte| byte == 0));
    let ready = b"\x04\x1c\x05READY\x0bSocket-Type\0\0\0\x06DEALER";
    assert_eq!(zmtp::ready("DEALER"), ready);
    assert_eq!(zmtp::command(&ready[2..]), Some(Command::Ready));
    assert_eq!(zmtp::check(&greeting), Ok(()));
    for (at, byte) in [(0, 0xfe), (9, 0x7e), (10, 2), (12, b'C'), (16, b'X')] {
        let mut other = greeting;
        other[at] = byte;
        assert!(zmtp::check(&other).is_err(), "byte {at}");
    }
    assert!(zmtp::check(&greeting[..63]).is_err());
}

#[test]
fn signs_of_life_come_back_with_what_they_were_asked_with() {
    assert_eq!(zmtp::command(&zmtp::PING[2..]), Some(Command::Ping { context: b"" }));
    let asked = zmtp::command(b"\x04PING\0\0abc");
    assert_eq!(asked, Some(Command::Ping { context: b"abc" }));
    assert_eq!(zmtp::pong(b"abc"), b"\x04\x08\x04PONGabc");
    assert_eq!(zmtp::command(b"\x04PONGabc"), Some(Command::Other));
    assert_eq!(zmtp::command(b"\x04PING\0"), None);
    assert_eq!(zmtp::command(b"\x04PING\0\x0012345678901234567"), None);
    assert_eq!(zmtp::command(b"\x05ERROR\x01x"), None);
}

proptest! {
    #[test]
    fn what_is_read_is_what_was_written(flags in any::<u8>(), size in prop::collection::vec(any::<u8>(), 0..10), limit in 0_usize..2_000_000) {
        let bytes = [&[flags][..], &size].concat();
        if let Some(head) = zmtp::head(&bytes, limit) {
            prop_assert_eq!(written(head, flags & 2 != 0), bytes);
            if let Head::Message { size, .. } = head {
                prop_assert!(size <= limit);
            }
        }
    }

    #[test]
    fn sizes_beyond_the_limit_are_refused(size in any::<u64>(), limit in 0_usize..2_000_000) {
        let bytes = [&[2][..], &size.to_be_bytes()].concat();
        prop_assert_eq!(zmtp::head(&bytes, limit).is_some(), size <= limit as u64);
    }

    #[test]
    fn arbitrary_commands_are_refused_or_small(bytes in prop::collection::vec(any::<u8>(), 0..64), named in any::<bool>()) {
        let bytes = if named { [&b"\x04PING"[..], &bytes].concat() } else { bytes };
        if let Some(Command::Ping { context }) = zmtp::command(&bytes) {
            prop_assert!(context.len() <= 16 && bytes.ends_with(context));
        }
    }

    #[test]
    fn answers_begin_as_their_parts_do(head in prop::collection::vec(any::<u8>(), 0..40), second in 0_usize..2_000_000) {
        let bytes = zmtp::answer(&head, second);
        let (first, rest) = bytes.split_at(2);
        prop_assert_eq!(zmtp::head(first, 40), Some(Head::Message { size: head.len(), more: true }));
        let (part, rest) = rest.split_at(head.len());
        prop_assert_eq!(part, &head[..]);
        prop_assert_eq!(rest.len(), zmtp::head_bytes(rest[0]));
        prop_assert_eq!(zmtp::head(rest, second), Some(Head::Message { size: second, more: false }));
    }
}
