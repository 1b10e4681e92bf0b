use super::*;

fn all(text: &[u8]) -> Vec<Operation> {
    let mut buffer = BytesMut::from(text);
    let mut operations = Vec::new();
    while let Some(operation) = next(&mut buffer).unwrap() {
        operations.push(operation);
    }
    assert!(buffer.is_empty(), "{buffer:?} is left");
    operations
}

fn message(text: &[u8]) -> (u64, Message) {
    match all(text).remove(0) {
        Operation::Message { number, message } => (number, message),
        other => panic!("{other:?}"),
    }
}

#[test]
fn messages_are_taken_apart() {
    let (number, plain) = message(b"MSG a.b 12 5\r\nhello\r\n");
    assert_eq!(
        (
            number,
            plain.subject(),
            plain.reply(),
            plain.headers(),
            plain.payload()
        ),
        (12, &b"a.b"[..], &b""[..], &b""[..], &b"hello"[..])
    );
    let (_, reply) = message(b"MSG a 1 _INBOX.x.1 0\r\n\r\n");
    assert_eq!(
        (reply.reply(), reply.payload()),
        (&b"_INBOX.x.1"[..], &b""[..])
    );
    let (_, full) = message(b"HMSG a 1 r 20 23\r\nNATS/1.0\r\nA: bcd\r\n\r\nxyz\r\n");
    assert_eq!(
        (full.headers(), &full.shared_payload()[..]),
        (&b"NATS/1.0\r\nA: bcd\r\n\r\n"[..], &b"xyz"[..])
    );
    let (_, no_reply) = message(b"HMSG a 1 12 15\r\nNATS/1.0\r\n\r\nxyz\r\n");
    assert_eq!(
        (no_reply.reply(), no_reply.payload()),
        (&b""[..], &b"xyz"[..])
    );
}

#[test]
fn payloads_may_hold_anything() {
    let (_, message) = message(b"MSG a 1 12\r\nPING\r\nPONG\r\n\r\n");
    assert_eq!(message.payload(), b"PING\r\nPONG\r\n");
}

#[test]
fn every_cut_gives_the_same() {
    let text = b"PING\r\nHMSG a 1 r 20 23\r\nNATS/1.0\r\nA: bcd\r\n\r\nxyz\r\n+OK\r\nPONG\r\n-ERR 'Permissions Violation'\r\n";
    let whole = format!("{:?}", all(text));
    for cut in 0..text.len() {
        let mut buffer = BytesMut::from(&text[..cut]);
        let mut operations = Vec::new();
        while let Some(operation) = next(&mut buffer).unwrap() {
            operations.push(operation);
        }
        buffer.extend_from_slice(&text[cut..]);
        while let Some(operation) = next(&mut buffer).unwrap() {
            operations.push(operation);
        }
        assert_eq!(format!("{operations:?}"), whole, "cut at {cut}");
    }
}

#[test]
fn info_is_read_and_what_is_unknown_in_it_passed_over() {
    let mut operations = all(
        b"INFO {\"max_payload\":1048576,\"tls_required\":true,\"nonce\":\"n\",\"new\":[1]}\r\n",
    );
    let Operation::Info(info) = operations.remove(0) else {
        panic!("{operations:?}")
    };
    assert_eq!(
        (info.max_payload, info.tls_required, info.nonce.as_str()),
        (1_048_576, true, "n")
    );
}

#[test]
fn what_is_not_nats_is_refused() {
    for text in [
        &b"HTTP/1.1 400 Bad Request\r\n"[..],
        b"MSG a 1\r\n",
        b"MSG a b c d e f\r\n",
        b"MSG a x 5\r\nhello\r\n",
        b"MSG a 1 -5\r\n",
        b"HMSG a 1 10 5\r\n",
        b"MSG a 1 99999999999999999999999\r\n",
        b"MSG a 1 1000000000000\r\n",
        b"INFO {\r\n",
    ] {
        assert!(
            next(&mut BytesMut::from(text)).is_err(),
            "{}",
            String::from_utf8_lossy(text)
        );
    }
    assert!(next(&mut BytesMut::from(&vec![b'x'; MAX_LINE + 1][..])).is_err());
}
