//! What a broker does not let through: strangers, forbidden subjects, messages too large, readers too slow.

mod support;

use bytes::Bytes;
use npufleet_link::{Event, Options};
use support::*;

#[tokio::test]
async fn a_refused_login_says_why_and_is_tried_again() {
    let broker = Broker::configured("authorization { users: [{ user: alice, password: \"p@ss\" }] }\n");
    let wrong = Options {
        user: Some("alice".into()),
        password: Some("wrong".into()),
        ..options(&broker.url)
    };
    let (_link, mut connection) = open(&wrong);
    let error = connection.connect().await.unwrap_err();
    assert!(error.message.contains("Authorization Violation"), "{}", error.message);
    assert!(error.message.contains(&broker.port) && !error.message.contains("wrong"));
    for _ in 0..3 {
        let event = tokio::time::timeout(PATIENCE, connection.next()).await.unwrap();
        assert!(
            matches!(&event, Event::Failed(why) if why.contains("Authorization")),
            "{event:?}"
        );
    }
    let address = broker.url.replace("nats://", "nats://alice:p%40ss@");
    let (_link, mut connection) = open(&options(&address));
    connection.connect().await.unwrap();
}

#[tokio::test]
async fn a_forbidden_subject_is_a_complaint_and_no_loss() {
    let broker = Broker::configured(
        "authorization { users: [{ user: a, password: b, permissions: { publish: allowed, subscribe: allowed } }] }\n",
    );
    let address = broker.url.replace("nats://", "nats://a:b@");
    let mut polled = Polled::new(&options(&address)).await;
    polled.link.subscribe("forbidden", None).unwrap();
    polled
        .link
        .send(|pieces| pieces.publish("secret", None, b"", &Bytes::new()));
    for named in ["\"forbidden\"", "\"secret\""] {
        let complaint = polled.wait(|event| match event {
            Event::Complaint(text) => Some(text),
            _ => None,
        });
        let complaint = complaint.await;
        assert!(
            complaint.starts_with("Permissions Violation") && complaint.contains(named),
            "{complaint}"
        );
    }
    assert!(polled.link.confirm().await);
}

#[tokio::test]
async fn both_sides_prove_who_they_are_over_tls() {
    let folder = Directory::new();
    let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (certificate, key) = (folder.0.join("certificate.pem"), folder.0.join("key.pem"));
    std::fs::write(&certificate, certified.cert.pem()).unwrap();
    std::fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
    let (shown, hidden) = (certificate.to_str().unwrap(), key.to_str().unwrap());
    let broker = Broker::configured(&format!(
        "tls {{ cert_file: \"{shown}\", key_file: \"{hidden}\", ca_file: \"{shown}\", verify: true }}\n"
    ));
    let known = Options {
        tls_ca: Some(certificate.clone()),
        tls_certificate: Some(certificate),
        tls_key: Some(key),
        ..options(&broker.url)
    };
    let mut polled = Polled::new(&known).await;
    polled.link.subscribe("loop", None).unwrap();
    let large = Bytes::from(vec![7; 900_000]);
    for _ in 0..20 {
        polled
            .link
            .send_patiently(|pieces| pieces.publish("loop", None, b"", &large));
    }
    for _ in 0..20 {
        assert_eq!(polled.message().await.payload(), large);
    }
    assert!(polled.link.confirm().await);
    let nameless = Options {
        tls_certificate: None,
        tls_key: None,
        ..known.clone()
    };
    let stranger = Options {
        tls_ca: None,
        ..known.clone()
    };
    for refused in [nameless, stranger] {
        let error = open(&refused).1.connect().await.unwrap_err();
        assert!(error.message.contains("ertificate"), "{}", error.message);
    }
}

#[tokio::test]
async fn a_message_above_the_limit_of_the_broker_costs_the_connection_and_no_more() {
    let broker = Broker::configured("max_payload: 4096\n");
    let mut polled = Polled::new(&options(&broker.url)).await;
    assert_eq!(polled.link.max_payload(), 4096);
    polled.link.subscribe("loop", None).unwrap();
    polled
        .link
        .send(|pieces| pieces.publish("loop", None, b"", &Bytes::from(vec![0; 4097])));
    let reason = polled.lost().await;
    assert!(reason.contains("Maximum Payload Violation"), "{reason}");
    polled.connected().await;
    let fits = Bytes::from(vec![1; 4096]);
    polled.link.send(|pieces| pieces.publish("loop", None, b"", &fits));
    assert_eq!(polled.message().await.payload(), fits);
}

#[tokio::test]
async fn a_connection_that_nobody_polled_is_cut_off_and_comes_back() {
    let broker = Broker::configured("max_pending: 1MB\nwrite_deadline: \"200ms\"\n");
    let client = broker.client().await;
    let (link, mut connection) = open(&options(&broker.url));
    connection.connect().await.unwrap();
    link.subscribe("flood", None).unwrap();
    link.subscribe("after", None).unwrap();
    let megabyte = Bytes::from(vec![0; 1_000_000]);
    for _ in 0..40 {
        client.publish("flood", megabyte.clone()).await.unwrap();
    }
    // Nobody answers this, which is known once the broker has had everything before it.
    assert!(client.request("nobody", Bytes::new()).await.is_err());
    let (mut received, mut lost) = (0, false);
    let back = async {
        loop {
            match connection.next().await {
                Event::Lost(_) => lost = true,
                Event::Message(_) => received += 1,
                Event::Connected => return,
                event => panic!("{event:?}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, back).await.unwrap();
    assert!(
        lost && received < 40,
        "the broker gave up on us after {received} messages"
    );
    let mut polled = Polled::poll(link, connection);
    assert!(polled.link.confirm().await);
    client.publish("after", Bytes::new()).await.unwrap();
    assert_eq!(polled.message().await.subject(), "after");
}

#[tokio::test]
async fn a_peer_that_is_no_broker_is_an_error_in_time() {
    use tokio::io::AsyncWriteExt as _;
    let hello = "INFO {\"max_payload\": 100}\r\nPONG\r\n";
    for (words, expected) in [
        ("220 mail.example ready\r\n".to_owned(), "it sent \"220"),
        ("INFO not json\r\n".to_owned(), "its introduction is wrong"),
        (String::new(), "timed out after 0.3 s"),
        ("PING\r\n".to_owned(), "did not introduce itself"),
        (
            format!("{hello}MSG a 1 999999999999\r\n"),
            "a message of 999999999999 bytes",
        ),
        (format!("{hello}MSG a 1 1\r\nabc"), "does not end where it should"),
    ] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let peer = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(words.as_bytes()).await.unwrap();
            std::future::pending::<()>().await;
        });
        let hurried = Options {
            connect_timeout: Some(0.3),
            ..options(&address)
        };
        let (_link, mut connection) = open(&hurried);
        let failure = async {
            loop {
                if let Event::Failed(reason) | Event::Lost(reason) = connection.next().await {
                    return reason;
                }
            }
        };
        let reason = tokio::time::timeout(PATIENCE, failure).await.unwrap();
        assert!(reason.contains(expected), "{reason}");
        peer.abort();
    }
}
