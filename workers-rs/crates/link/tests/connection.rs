//! A connection to a real broker: messages, loss and return, refusals, limits.

#[path = "support/broker.rs"]
mod broker;

use std::time::Duration;

use broker::{Broker, Directory};
use bytes::Bytes;
use futures::StreamExt as _;
use npufleet_link::{Connection, Event, HeaderBlock, Link, Message, Options};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn options(url: &str) -> Options {
    Options {
        url: url.to_owned(),
        ..Options::default()
    }
}

fn open(options: &Options) -> (Link, Connection) {
    npufleet_link::open(options.access().unwrap())
}

/// A link, and what happens to its connection, which a task polls.
struct Polled {
    link: Link,
    events: UnboundedReceiver<Event>,
}

impl Polled {
    async fn new(options: &Options) -> Self {
        let (link, mut connection) = open(options);
        connection.connect().await.unwrap();
        Self::poll(link, connection)
    }

    fn poll(link: Link, mut connection: Connection) -> Self {
        let (sender, events) = unbounded_channel();
        tokio::spawn(async move {
            loop {
                match connection.next().await {
                    Event::Confirmed(confirmation) => confirmation.tell(),
                    event => {
                        if sender.send(event).is_err() {
                            return;
                        }
                    }
                }
            }
        });
        Self { link, events }
    }

    async fn wait<T>(&mut self, wanted: impl Fn(Event) -> Option<T>) -> T {
        let found = async {
            loop {
                if let Some(found) = wanted(self.events.recv().await.unwrap()) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.expect("an event in time")
    }

    async fn message(&mut self) -> Message {
        self.wait(|event| match event {
            Event::Message(message) => Some(message),
            _ => None,
        })
        .await
    }

    async fn lost(&mut self) -> String {
        self.wait(|event| match event {
            Event::Lost(reason) => Some(reason),
            _ => None,
        })
        .await
    }

    async fn connected(&mut self) {
        self.wait(|event| matches!(event, Event::Connected).then_some(())).await;
    }
}

#[tokio::test]
async fn messages_go_both_ways_with_headers_and_answers() {
    let broker = Broker::start(&[]);
    let client = broker.client().await;
    let mut polled = Polled::new(&options(&broker.url)).await;
    let number = polled.link.subscribe("questions.*", Some("group")).unwrap();
    let other = polled.link.subscribe("others", None).unwrap();
    assert!(polled.link.confirm().await);
    let headers = async_nats::HeaderMap::from_iter([("A".parse().unwrap(), "b".into())]);
    let large = Bytes::from(vec![7; 1 << 20]).slice(..(1 << 20) - 1000);
    let request = async_nats::Request::new().headers(headers).payload(large.clone());
    let asked = client.send_request("questions.one", request);
    let answered = async {
        let message = polled.message().await;
        assert_eq!((message.subject(), message.subscription()), ("questions.one", number));
        assert_eq!((message.headers().get("A"), message.status()), (Some("b"), 0));
        assert_eq!(message.payload(), large);
        let mut block = HeaderBlock::default();
        block.push("C", "d");
        let reply = message.reply().unwrap();
        assert!(
            polled
                .link
                .send(|pieces| pieces.publish(&reply, None, block.as_bytes(), &large))
        );
    };
    let (answer, ()) = tokio::join!(asked, answered);
    let answer = answer.unwrap();
    assert_eq!(answer.payload, large);
    assert_eq!(answer.headers.unwrap().get("C").unwrap().as_str(), "d");
    client.publish("others", Bytes::new()).await.unwrap();
    let message = polled.message().await;
    assert_eq!((message.subscription(), message.reply()), (other, None));
    // Nobody listens there: the broker says so in the status.
    polled.link.subscribe("inbox", None).unwrap();
    polled
        .link
        .send(|pieces| pieces.publish("nobody", Some("inbox"), b"", &Bytes::new()));
    assert_eq!(polled.message().await.status(), 503);
}

#[tokio::test]
async fn everything_sent_before_an_unsubscription_is_confirmed_arrives() {
    let broker = Broker::start(&[]);
    let client = broker.client().await;
    let mut polled = Polled::new(&options(&broker.url)).await;
    for round in 0..20 {
        let number = polled.link.subscribe("counted", Some("group")).unwrap();
        assert!(polled.link.confirm().await);
        let flood = async {
            for _ in 0..500 {
                client.publish("counted", "x".into()).await.unwrap();
            }
            client.flush().await.unwrap();
        };
        let end = async {
            for _ in 0..round {
                tokio::task::yield_now().await;
            }
            polled.link.unsubscribe(&[number]);
            assert!(polled.link.confirm().await);
        };
        tokio::join!(flood, end);
        let mut before = 0;
        while polled.events.try_recv().is_ok() {
            before += 1;
        }
        assert!(before <= 500, "{before}");
        client.publish("counted", "late".into()).await.unwrap();
        client.flush().await.unwrap();
        assert!(polled.link.confirm().await);
        assert!(
            polled.events.try_recv().is_err(),
            "nothing comes after the confirmation"
        );
    }
}

#[tokio::test]
async fn a_lost_broker_is_found_again_with_all_subscriptions() {
    let broker = Broker::start(&[]);
    let port = broker.port.clone();
    let mut polled = Polled::new(&options(&broker.url)).await;
    let gone = polled.link.subscribe("gone", None).unwrap();
    polled.link.subscribe("kept", Some("group")).unwrap();
    assert!(polled.link.confirm().await);
    drop(broker);
    polled.lost().await;
    assert!(!polled.link.confirm().await, "there is no broker to confirm anything");
    polled.link.unsubscribe(&[gone]);
    let added = polled.link.subscribe("added", None).unwrap();
    let broker = Broker::start(&["--port", &port]);
    let client = broker.client().await;
    let mut answers = client.subscribe("answers").await.unwrap();
    client.flush().await.unwrap();
    // What was done while the broker was away leaves with the new connection, unless it is there already.
    polled
        .link
        .send(|pieces| pieces.publish("answers", None, b"", &Bytes::from_static(b"waited")));
    polled.connected().await;
    let answer = tokio::time::timeout(PATIENCE, answers.next()).await.unwrap().unwrap();
    assert_eq!(&answer.payload[..], b"waited");
    assert!(polled.link.confirm().await);
    for subject in ["gone", "kept", "added"] {
        client.publish(subject, subject.into()).await.unwrap();
    }
    assert_eq!(polled.message().await.subject(), "kept");
    let last = polled.message().await;
    assert_eq!((last.subject(), last.subscription()), ("added", added));
}

#[tokio::test]
async fn what_waits_while_there_is_no_broker_leaves_once_there_is() {
    let broker = Broker::start(&[]);
    let port = broker.port.clone();
    drop(broker);
    let (link, mut connection) = open(&options(&format!("nats://127.0.0.1:{port}")));
    link.send(|pieces| pieces.publish("answers", None, b"", &Bytes::from_static(b"early")));
    link.subscribe("answers", None).unwrap();
    assert!(connection.connect().await.is_err());
    let _broker = Broker::start(&["--port", &port]);
    let received = async {
        loop {
            if let Event::Message(message) = connection.next().await {
                return message.payload();
            }
        }
    };
    // The subscription goes first, so it comes back to us.
    assert_eq!(tokio::time::timeout(PATIENCE, received).await.unwrap(), "early");
}

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

#[tokio::test(flavor = "multi_thread")]
async fn threads_wait_for_a_broker_that_reads_nothing_and_lose_nothing() {
    const EACH: usize = 20;
    let broker = Broker::start(&[]);
    let client = broker.client().await;
    let mut counted = client.subscribe("counted.*").await.unwrap();
    client.flush().await.unwrap();
    let polled = Polled::new(&options(&broker.url)).await;
    broker.signal("STOP");
    let megabyte = Bytes::from(vec![0; 1_000_000]);
    let senders = [0, 1, 2].map(|sender| {
        let (link, megabyte) = (polled.link.clone(), megabyte.clone());
        let subject = format!("counted.{sender}");
        std::thread::spawn(move || {
            for _ in 0..EACH {
                assert!(link.send_patiently(|pieces| pieces.publish(&subject, None, b"", &megabyte)));
            }
        })
    });
    let full = async {
        while polled.link.waiting() < 5_000_000 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, full).await.unwrap();
    assert!(polled.link.waiting() < 40_000_000, "what waits is bounded");
    broker.signal("CONT");
    for _ in 0..EACH * senders.len() {
        let message = tokio::time::timeout(PATIENCE, counted.next()).await.unwrap().unwrap();
        assert_eq!(message.payload.len(), megabyte.len());
    }
    for sender in senders {
        sender.join().unwrap();
    }
}

#[tokio::test]
async fn a_broker_that_is_about_to_shut_down_says_so() {
    let broker = Broker::configured("lame_duck_duration: \"30s\"\nlame_duck_grace_period: \"1s\"\n");
    let mut polled = Polled::new(&options(&broker.url)).await;
    assert!(polled.link.confirm().await);
    broker.signal("USR2");
    polled
        .wait(|event| matches!(event, Event::LameDuck).then_some(()))
        .await;
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
