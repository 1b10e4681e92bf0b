//! A connection to a real broker: messages, subscriptions, loss and return, pressure.

mod support;

use bytes::Bytes;
use futures::StreamExt as _;
use npufleet_link::{Event, HeaderBlock};
use support::*;

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

/// Waits until the broker has read what a client sent: nobody answers this, which the broker says after that.
async fn read_by(client: &async_nats::Client) {
    assert!(client.request("nobody", Bytes::new()).await.is_err());
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
            read_by(&client).await;
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
        read_by(&client).await;
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
    read_by(&client).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn threads_wait_for_a_broker_that_reads_nothing_and_lose_nothing() {
    const EACH: usize = 20;
    let broker = Broker::start(&[]);
    let client = broker.client().await;
    let mut counted = client.subscribe("counted.*").await.unwrap();
    read_by(&client).await;
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
