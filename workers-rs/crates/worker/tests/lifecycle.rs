//! A worker hands over what it cannot do, is seen by NATS tools, survives its broker, and loses nothing when it ends.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::join_all;
use npufleet_operations::{Context, Operation};
use npufleet_wire::{Dtype, Frame, Layout, Result, header};
use serde_json::{Map, Value, json};
use support::*;

const ECHO: &str = "npu.v1.call.normal.echo";
const FFT: &str = "npu.v1.call.normal.fft";

#[tokio::test]
async fn what_this_engine_cannot_do_goes_to_the_other_with_the_reason() {
    let broker = Broker::start(&[]);
    let _worker = Worker::start(&broker, &[]);
    let client = broker.client().await;
    let mut fallback = client.subscribe("npu.v1.fallback.>").await.unwrap();
    let half = single("x", Dtype::F16, &[4], &[0; 8]);
    let headers = || HeaderMap::from_iter([("X-Own".parse().unwrap(), "kept".into())]);
    let answer = async {
        let message = fallback.next().await.unwrap();
        client
            .publish(message.reply.clone().unwrap(), "from python".into())
            .await
            .unwrap();
        message
    };
    let (reply, forwarded) = tokio::join!(call_with(&client, FFT, headers(), half.clone()), answer);
    assert_eq!(&reply.payload[..], b"from python");
    assert_eq!(forwarded.subject.as_str(), "npu.v1.fallback.normal.fft");
    assert_eq!(forwarded.payload, half);
    assert_eq!(text(&forwarded, "X-Own"), "kept");
    assert!(text(&forwarded, header::FALLBACK_REASON).starts_with("unsupported: "));

    // Nobody there: the caller hears of it from us, at once.
    fallback.unsubscribe().await.unwrap();
    let half = single("x", Dtype::F16, &[4], &[0; 8]);
    let alone = async {
        loop {
            // What was handed over while the other engine was thought to be there stays without an answer.
            let patience = Some(Duration::from_millis(500));
            let request = async_nats::Request::new().payload(half.clone()).timeout(patience);
            let reply = client.send_request(FFT, request).await;
            if reply.is_ok_and(|reply| kind(&reply) == "unsupported") {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, alone).await.unwrap();

    // What already left another engine is not sent round in circles.
    let reason = HeaderMap::from_iter([(header::FALLBACK_REASON.parse().unwrap(), "no_answer".into())]);
    let reply = call_with(&client, FFT, reason, half).await;
    assert_eq!(
        (kind(&reply), text(&reply, header::FALLBACK_REASON)),
        ("unsupported".to_owned(), "no_answer".to_owned())
    );
}

#[tokio::test]
async fn nats_tools_see_the_worker() {
    let broker = Broker::start(&[]);
    let worker = Worker::spawn(&broker, &[], &[]);
    let ready = worker.event("ready");
    let id = ready["id"].as_str().unwrap();
    let client = broker.client().await;
    call(&client, ECHO, slow(0.0)).await;
    call(&client, ECHO, Bytes::new()).await;
    let ask = async |verb: &str, whom: &str| -> Value {
        let reply = client
            .request(format!("$SRV.{verb}{whom}"), Bytes::new())
            .await
            .unwrap();
        serde_json::from_slice(&reply.payload).unwrap()
    };
    for whom in [String::new(), ".npufleet".to_owned(), format!(".npufleet.{id}")] {
        let ping = ask("PING", &whom).await;
        assert_eq!(
            (&ping["type"], &ping["name"], &ping["id"]),
            (&json!("io.nats.micro.v1.ping_response"), &json!("npufleet"), &json!(id))
        );
        assert_eq!(
            (&ping["metadata"]["engine"], &ping["metadata"]["contract"]),
            (&json!("rust"), &json!("1"))
        );
        let devices: Value = serde_json::from_str(ping["metadata"]["devices"].as_str().unwrap()).unwrap();
        assert_eq!(devices.as_array().unwrap().len(), 3);
        let info = ask("INFO", &whom).await;
        let echo = info["endpoints"]
            .as_array()
            .unwrap()
            .iter()
            .find(|row| row["name"] == "echo")
            .unwrap();
        assert_eq!(
            (&echo["subject"], &echo["queue_group"]),
            (&json!("npu.v1.call.*.echo"), &json!("rust"))
        );
        let statistics = ask("STATS", &whom).await;
        let echo = statistics["endpoints"]
            .as_array()
            .unwrap()
            .iter()
            .find(|row| row["name"] == "echo")
            .unwrap();
        assert_eq!((&echo["num_requests"], &echo["num_errors"]), (&json!(2), &json!(1)));
        assert!(echo["last_error"].as_str().unwrap().starts_with("invalid_frame: "));
        assert_eq!((&echo["data"]["rows"], &echo["data"]["queued"]), (&json!(1), &json!(0)));
    }
    assert!(client.request("$SRV.PING.npufleet.other", Bytes::new()).await.is_err());
}

#[tokio::test]
async fn a_drain_loses_nothing() {
    let broker = Broker::start(&[]);
    let mut workers = [Worker::start(&broker, &[]), Worker::start(&broker, &[])];
    let client = broker.client().await;
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let callers = (0..64).map(|_| {
        let (client, stop, answered) = (client.clone(), Arc::clone(&stop), Arc::clone(&answered));
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let reply = call(&client, ECHO, slow(0.0)).await;
                assert_eq!(kind(&reply), "");
                answered.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    let callers: Vec<_> = callers.collect();
    let wait_for = async |count: u64| {
        while answered.load(Ordering::Relaxed) < count {
            tokio::task::yield_now().await;
        }
    };
    wait_for(500).await;
    // Requests gather in front of a broker that stands still; when it goes on, it may route some of them to the worker
    // before it reads that this one wants no more.
    broker.signal("STOP");
    workers[0].terminate();
    workers[0].event("draining");
    broker.signal("CONT");
    let served = workers[0].event("stopped")["served"].as_u64().unwrap();
    assert_eq!(workers[0].wait(), Some(0));
    assert!(served > 0);
    wait_for(answered.load(Ordering::Relaxed) + 500).await;
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.expect("every call is answered");
    }
}

#[tokio::test]
async fn a_drain_finishes_what_waits_and_gives_up_what_takes_too_long() {
    let broker = Broker::start(&[]);
    let mut patient = Worker::start(&broker, &["--executors", "1"]);
    let client = broker.client().await;
    let calls = join_all((0..3).map(|_| call(&client, ECHO, slow(0.2))));
    let replies = async {
        until_queued(&client, 2).await;
        patient.terminate();
    };
    let (replies, ()) = tokio::join!(calls, replies);
    assert!(replies.iter().all(|reply| kind(reply).is_empty()));
    assert_eq!(patient.wait(), Some(0));

    let mut hurried = Worker::start(&broker, &["--executors", "1", "--drain-timeout", "0.2"]);
    let calls = join_all((0..2).map(|_| call(&client, ECHO, slow(20.0))));
    let stop = async {
        until_queued(&client, 1).await;
        hurried.terminate();
    };
    let (replies, ()) = tokio::join!(calls, stop);
    let mut kinds: Vec<_> = replies.iter().map(kind).collect();
    kinds.sort();
    assert_eq!(kinds, ["cancelled", "unavailable"]);
    assert_eq!(hurried.wait(), Some(0));
}

/// Waits until requests wait in the only worker's queue.
async fn until_queued(client: &async_nats::Client, count: u64) {
    let queued = async {
        loop {
            let reply = client.request("$SRV.STATS.npufleet", Bytes::new()).await.unwrap();
            let statistics: Value = serde_json::from_slice(&reply.payload).unwrap();
            let rows = statistics["endpoints"].as_array().unwrap();
            if rows.iter().any(|row| row["data"]["queued"].as_u64() >= Some(count)) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, queued).await.unwrap();
}

#[tokio::test]
async fn a_worker_waits_for_its_broker_and_comes_back_to_it() {
    let broker = Broker::start(&[]);
    let port = broker.port.clone();
    let worker = Worker::start(&broker, &[]);
    drop(broker);
    worker.event_where(|event| event["event"] == "broker" && event["state"] == "disconnected");
    let broker = Broker::start(&["--port", &port]);
    worker.event_where(|event| event["event"] == "broker" && event["state"] == "connected");
    let client = broker.client().await;
    let served = async { while client.request(ECHO, slow(0.0)).await.is_err() {} };
    tokio::time::timeout(PATIENCE, served).await.unwrap();
}

#[tokio::test]
async fn a_worker_without_a_broker_can_be_stopped() {
    let broker = Broker::start(&[]);
    let mut worker = Worker::start(&broker, &[]);
    drop(broker);
    worker.event_where(|event| event["event"] == "broker" && event["state"] == "disconnected");
    worker.terminate();
    worker.event("stopped");
    assert_eq!(worker.wait(), Some(0));
}

/// Panics when asked to wait, and does nothing else.
struct Panicking;

impl Operation for Panicking {
    fn name(&self) -> &'static str {
        "echo"
    }
    fn rows(&self, _: &Layout) -> usize {
        1
    }
    fn execute(&self, frame: &Frame, params: &Map<String, Value>, _: &Context<'_>) -> Result<Bytes> {
        assert!(params["delay"] == 0.0, "delay is {}", params["delay"]);
        Ok(frame.bytes.clone())
    }
}

#[tokio::test]
async fn a_panic_is_an_internal_error_and_the_worker_lives_on() {
    let broker = Broker::start(&[]);
    let client = broker.client().await;
    let config = npufleet_worker::Config {
        url: broker.url.clone(),
        executors: 1,
        ..Default::default()
    };
    let worker = npufleet_worker::Worker {
        config,
        operations: vec![&Panicking],
    };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let thread = std::thread::spawn(move || worker.run_until(async { stopped.await.unwrap() }));
    let served = async { while client.request(ECHO, slow(0.0)).await.is_err() {} };
    tokio::time::timeout(PATIENCE, served).await.unwrap();
    // As if it came from another engine already: it is answered here.
    let headers = HeaderMap::from_iter([(header::FALLBACK_REASON.parse().unwrap(), "no_answer".into())]);
    let reply = call_with(&client, ECHO, headers, slow(1.0)).await;
    assert_eq!(kind(&reply), "internal");
    assert_eq!(text(&reply, header::ERROR), "echo panicked: delay is 1.0");
    assert_eq!(kind(&call(&client, ECHO, slow(0.0)).await), "");
    stop.send(()).unwrap();
    thread.join().unwrap().unwrap();
}

#[tokio::test]
async fn credentials_in_the_address_or_beside_it_are_used() {
    let mut broker = Broker::configured("authorization { users: [{ user: alice, password: \"p@ss\" }] }\n");
    let plain = broker.url.clone();
    Worker::start(&broker, &["--user", "alice", "--password", "p@ss"]);
    broker.url = plain.replace("nats://", "nats://alice:p%40ss@");
    Worker::start(&broker, &[]);
}

#[tokio::test]
async fn sampled_requests_leave_spans_and_others_do_not() {
    let broker = Broker::start(&[]);
    let traces = Directory::new();
    let environment = [
        ("OTEL_TRACES_EXPORTER", "file"),
        ("NPUFLEET_TRACE_DIR", traces.0.to_str().unwrap()),
    ];
    let mut worker = Worker::spawn(&broker, &[], &environment);
    worker.event("ready");
    let client = broker.client().await;
    let mut fallback = client.subscribe("npu.v1.fallback.>").await.unwrap();
    let sampled = |flags: &str| {
        let parent = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
        HeaderMap::from_iter([("traceparent".parse().unwrap(), parent.into())])
    };
    call_with(&client, ECHO, sampled("01"), slow(0.01)).await;
    call_with(&client, ECHO, sampled("00"), slow(0.0)).await;
    call(&client, ECHO, slow(0.0)).await;
    let half = single("x", Dtype::F16, &[4], &[0; 8]);
    client
        .publish_with_reply_and_headers(FFT, "inbox.me.1", sampled("01"), half)
        .await
        .unwrap();
    let forwarded = fallback.next().await.unwrap();
    client
        .publish(forwarded.reply.unwrap(), "from python".into())
        .await
        .unwrap();
    client.flush().await.unwrap();
    worker.terminate();
    assert_eq!(worker.wait(), Some(0));
    let file = std::fs::read_dir(&traces.0).unwrap().next().unwrap().unwrap().path();
    assert!(
        file.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("npufleet-worker-rust-")
    );
    let text = std::fs::read_to_string(file).unwrap();
    let mut spans = Vec::new();
    for line in text.lines() {
        let data: Value = serde_json::from_str(line).unwrap();
        let scopes = data["resourceSpans"][0]["scopeSpans"].as_array().unwrap().clone();
        spans.extend(
            scopes
                .into_iter()
                .flat_map(|scope| scope["spans"].as_array().unwrap().clone()),
        );
    }
    let names: Vec<_> = spans.iter().map(|span| span["name"].as_str().unwrap()).collect();
    let each = ["payload.fetch", "receive", "batch", "execute"];
    assert_eq!(names, [&each[..], &["reply"], &each, &["forward"]].concat());
    for span in &spans {
        assert_eq!(
            (&span["traceId"], &span["parentSpanId"]),
            (&json!("4bf92f3577b34da6a3ce929d0e0e4736"), &json!("00f067aa0ba902b7"))
        );
        let time = |name: &str| span[name].as_str().unwrap().parse::<u64>().unwrap();
        assert!(time("endTimeUnixNano") >= time("startTimeUnixNano"));
    }
    let execute = spans.iter().find(|span| span["name"] == "execute").unwrap();
    let nanoseconds = |name: &str| execute[name].as_str().unwrap().parse::<u64>().unwrap();
    let took = Duration::from_nanos(nanoseconds("endTimeUnixNano") - nanoseconds("startTimeUnixNano"));
    assert!(took >= Duration::from_millis(10) && took < PATIENCE);
}
