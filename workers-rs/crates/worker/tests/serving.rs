//! A worker answers: results, errors, deadlines, cancellation, overload.

mod support;

use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use futures::StreamExt as _;
use futures::future::join_all;
use npufleet_wire::{Dtype, Frame, Timing, header};
use serde_json::json;
use support::*;

const ECHO: &str = "npu.v1.call.normal.echo";
const FFT: &str = "npu.v1.call.normal.fft";

#[tokio::test]
async fn echo_gives_the_frame_back_and_says_who_did_it() {
    let broker = Broker::start(&[]);
    let _worker = Worker::start(&broker, &[]);
    let client = broker.client().await;
    let sent = doubles(&[1.0, f64::NAN, f64::INFINITY], json!({}));
    for lane in ["realtime", "critical", "high", "normal", "low"] {
        let reply = call(&client, &format!("npu.v1.call.{lane}.echo"), sent.clone()).await;
        assert_eq!(reply.payload, sent);
        assert_eq!(text(&reply, header::ENGINE), "rust");
        assert_eq!(text(&reply, header::DEVICE), "CPU");
        text(&reply, header::TIMING).parse::<Timing>().unwrap();
        assert_eq!(text(&reply, header::FALLBACK_REASON), "");
    }
}

#[tokio::test]
async fn fft_transforms() {
    let broker = Broker::start(&[]);
    let _worker = Worker::start(&broker, &[]);
    let client = broker.client().await;
    let reply = call(&client, FFT, doubles(&[1.0, 0.0, 0.0, 0.0], json!({}))).await;
    let frame = Frame::decode(reply.payload).unwrap();
    let y = frame.tensor("y").unwrap();
    assert_eq!((y.info.dtype, &y.info.shape[..]), (Dtype::C128, &[3][..]));
    let numbers: Vec<_> = y
        .data
        .chunks_exact(8)
        .map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap()))
        .collect();
    assert_eq!(numbers, [1.0, 0.0].repeat(3));
}

#[tokio::test]
async fn every_kind_of_bad_request_is_told_apart() {
    let broker = Broker::start(&[]);
    let _worker = Worker::start(&broker, &[]);
    let client = broker.client().await;
    let good = doubles(&[1.0, 2.0], json!({}));
    let cases = [
        ("invalid_frame", "400", good.slice(..good.len() - 1)),
        ("invalid_frame", "400", bytes::Bytes::from_static(b"{}")),
        ("invalid_frame", "400", bytes::Bytes::new()),
        ("invalid_parameter", "400", doubles(&[1.0], json!({"norm": "foo"}))),
        ("invalid_parameter", "400", doubles(&[1.0], json!({"foo": 1}))),
        ("invalid_shape", "400", single("x", Dtype::I32, &[1], &[0; 4])),
        ("invalid_shape", "400", single("z", Dtype::F64, &[1], &[0; 8])),
    ];
    for (expected, code, frame) in cases {
        let reply = call(&client, FFT, frame).await;
        assert_eq!(kind(&reply), expected);
        assert_eq!(text(&reply, header::ERROR_CODE), code);
        assert_eq!(text(&reply, header::ENGINE), "rust");
        assert!(!text(&reply, header::ERROR).is_empty());
        assert!(reply.payload.is_empty());
    }
    let reply = call(&client, FFT, doubles(&[1.0], json!({"norm": "foo"}))).await;
    assert_eq!(
        text(&reply, header::ERROR),
        "parameter 'norm' is 'foo'; allowed: backward, ortho, forward"
    );
}

#[tokio::test]
async fn deadlines_are_kept_on_arrival_in_the_queue_and_at_work() {
    let broker = Broker::start(&[]);
    let _worker = Worker::start(&broker, &["--executors", "1"]);
    let client = broker.client().await;
    let with_deadline = |after: Duration, frame| {
        let headers = HeaderMap::from_iter([(header::DEADLINE.parse().unwrap(), deadline(after).into())]);
        call_with(&client, ECHO, headers, frame)
    };
    assert_eq!(
        kind(&with_deadline(Duration::ZERO, slow(0.0)).await),
        "deadline_exceeded"
    );
    let started = Instant::now();
    let (at_work, in_queue) = tokio::join!(
        with_deadline(Duration::from_millis(300), slow(60.0)),
        with_deadline(Duration::from_millis(100), slow(0.0)),
    );
    assert_eq!(
        (kind(&at_work), kind(&in_queue)),
        ("deadline_exceeded".to_owned(), "deadline_exceeded".to_owned())
    );
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "the worker does not work on past the deadline"
    );
    let headers = HeaderMap::from_iter([(header::DEADLINE.parse().unwrap(), "soon".into())]);
    assert_eq!(
        kind(&call_with(&client, ECHO, headers, slow(0.0)).await),
        "invalid_parameter"
    );
}

#[tokio::test]
async fn waiting_and_running_calls_can_be_cancelled() {
    let broker = Broker::start(&[]);
    let _worker = Worker::start(&broker, &["--executors", "1"]);
    let client = broker.client().await;
    let mut replies = client.subscribe("inbox.me.*").await.unwrap();
    for sequence in ["1", "2"] {
        let reply = format!("inbox.me.{sequence}");
        client.publish_with_reply(ECHO, reply, slow(60.0)).await.unwrap();
    }
    for (sequence, place) in [("2", "waiting"), ("1", "running")] {
        client
            .publish(format!("npu.v1.cancel.me.{sequence}"), bytes::Bytes::new())
            .await
            .unwrap();
        let reply = tokio::time::timeout(PATIENCE, replies.next()).await.unwrap().unwrap();
        assert_eq!(
            (reply.subject.as_str(), kind(&reply)),
            (&*format!("inbox.me.{sequence}"), "cancelled".to_owned()),
            "{place}"
        );
    }
    assert_eq!(
        kind(&call(&client, ECHO, slow(0.0)).await),
        "",
        "the executor is free again"
    );
}

#[tokio::test]
async fn a_bundle_is_answered_call_by_call_in_bundles() {
    let broker = Broker::start(&[]);
    let _worker = Worker::start(&broker, &[]);
    let client = broker.client().await;
    // The first of its kind may take long.
    let asked = tokio::time::timeout(PATIENCE, async {
        while text(
            &call(&client, ECHO, doubles(&[0.0], json!({}))).await,
            header::BUNDLE_LIMIT,
        )
        .is_empty()
        {}
    });
    asked.await.expect("short requests may share a bundle");
    let mut replies = client.subscribe("inbox.me.*").await.unwrap();
    let parts = (1..=20).map(|number| {
        let frame = if number == 7 {
            bytes::Bytes::new()
        } else {
            doubles(&[f64::from(number)], json!({}))
        };
        (format!("inbox.me.{number}"), frame)
    });
    let payload: Vec<u8> = parts
        .flat_map(|(reply, frame)| {
            let line = format!("PUB {ECHO} {reply} {}\r\n", frame.len());
            [line.as_bytes(), &frame, b"\r\n"].concat()
        })
        .collect();
    let headers = HeaderMap::from_iter([(header::BUNDLE.parse().unwrap(), "20".into())]);
    client
        .publish_with_reply_and_headers(ECHO, "inbox.me.bundle-1", headers.clone(), payload.clone().into())
        .await
        .unwrap();
    let (mut messages, mut answered) = (0, Vec::new());
    while answered.len() < 20 {
        let reply = tokio::time::timeout(PATIENCE, replies.next()).await.unwrap().unwrap();
        messages += 1;
        if text(&reply, header::BUNDLE).is_empty() {
            // One that was executed alone is answered alone.
            let number = reply.subject.rsplit('.').next().unwrap().parse::<u32>().unwrap();
            assert_eq!(kind(&reply), if number == 7 { "invalid_frame" } else { "" });
            answered.push(number);
            continue;
        }
        assert_eq!(reply.subject.as_str(), "inbox.me.bundle");
        let body = String::from_utf8_lossy(&reply.payload).into_owned();
        answered.extend(body.split("HPUB inbox.me.").skip(1).map(|part| {
            assert!(part.contains("Npu-Engine: rust"), "{part}");
            part.split(' ').next().unwrap().parse::<u32>().unwrap()
        }));
    }
    answered.sort_unstable();
    assert_eq!(answered, (1..=20).collect::<Vec<_>>());
    assert!(messages < 10, "{messages}");
    let cut = bytes::Bytes::copy_from_slice(&payload[..payload.len() - 1]);
    assert_eq!(kind(&call_with(&client, ECHO, headers, cut).await), "invalid_frame");
}

#[tokio::test]
async fn a_full_worker_says_so_at_once() {
    let broker = Broker::start(&[]);
    let _worker = Worker::start(&broker, &["--executors", "1", "--queue-limit", "100"]);
    let client = broker.client().await;
    let started = Instant::now();
    let blocker = call(&client, ECHO, slow(0.5));
    let flood = join_all((0..2000).map(|_| call(&client, ECHO, slow(0.0))));
    let (_, replies) = tokio::join!(blocker, flood);
    let refused: Vec<_> = replies.iter().filter(|reply| kind(reply) == "overloaded").collect();
    let served = replies.iter().filter(|reply| kind(reply).is_empty()).count();
    assert_eq!(refused.len() + served, 2000, "none is lost");
    // The first one takes a place, too, if it comes with the others.
    assert!(
        served >= 99 && refused.len() >= 1000,
        "{served} served, {} refused",
        refused.len()
    );
    assert!(text(refused[0], header::RETRY_AFTER).parse::<u64>().unwrap() > 0);
    assert!(started.elapsed() < PATIENCE);
}

#[tokio::test]
async fn a_reply_above_the_limit_of_the_broker_is_a_typed_error() {
    let broker = Broker::configured("max_payload: 4096\n");
    let _worker = Worker::start(&broker, &[]);
    let client = broker.client().await;
    // 400 doubles fit; their two-sided spectrum has 400 pairs of doubles and does not.
    let reply = call(&client, FFT, doubles(&[1.0; 400], json!({"return_onesided": false}))).await;
    assert_eq!(kind(&reply), "payload_too_large");
    assert!(
        text(&reply, header::ERROR).ends_with("the broker allows 4096"),
        "{}",
        text(&reply, header::ERROR)
    );
    assert_eq!(
        kind(&call(&client, ECHO, slow(0.0)).await),
        "",
        "the connection is intact"
    );
}

#[tokio::test]
async fn more_urgent_lanes_go_first() {
    let broker = Broker::start(&[]);
    let _worker = Worker::start(&broker, &["--executors", "1"]);
    let client = broker.client().await;
    let mut replies = client.subscribe("inbox.me.*").await.unwrap();
    client
        .publish_with_reply("npu.v1.call.realtime.echo", "inbox.me.blocker", slow(0.3))
        .await
        .unwrap();
    for lane in ["low", "normal", "high", "critical", "realtime"] {
        // Different frames, so that they cannot share a batch.
        let frame = doubles(&vec![0.0; lane.len()], json!({"delay": 0.001 * lane.len() as f64}));
        client
            .publish_with_reply(format!("npu.v1.call.{lane}.echo"), format!("inbox.me.{lane}"), frame)
            .await
            .unwrap();
    }
    let mut order = Vec::new();
    for _ in 0..6 {
        let reply = tokio::time::timeout(PATIENCE, replies.next()).await.unwrap().unwrap();
        order.push(reply.subject.rsplit_once('.').unwrap().1.to_owned());
    }
    assert_eq!(order, ["blocker", "realtime", "critical", "high", "normal", "low"]);
}
