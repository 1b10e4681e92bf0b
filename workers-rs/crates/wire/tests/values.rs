//! Subjects and header values.

use npufleet_wire::subject::{self, Parts};
use npufleet_wire::{ErrorKind, Lane, Route, Subject, Timing, header};

#[test]
fn subjects_under_another_prefix() {
    let subject = "acme.eu.v1.fallback.low.infer.mnist-8";
    let parts = Parts::parse("acme.eu", subject).unwrap();
    assert_eq!(
        parts,
        Parts {
            route: Route::Fallback,
            lane: Lane::Low,
            operation: "infer",
            model: Some("mnist-8")
        }
    );
    assert!(Parts::parse("acme", subject).is_err());
    assert_eq!(Route::Call.pattern("npu", "echo", None), "npu.v1.call.*.echo");
    assert_eq!(
        Route::Fallback.pattern("npu", "infer", Some("m")),
        "npu.v1.fallback.*.infer.m"
    );
}

#[test]
fn a_model_is_named_exactly_where_models_run() {
    for subject in [
        "npu.v1.call.normal.infer",
        "npu.v1.call.normal.fft.m",
        "npu.v1.call.normal.unheard.m",
    ] {
        assert!(Subject::parse("npu", subject).is_err(), "{subject}");
    }
    // A worker may be asked for an operation that this version does not know; that is answered, not misread.
    assert_eq!(
        Subject::parse("npu", "npu.v1.call.normal.unheard").unwrap().operation,
        "unheard"
    );
}

#[test]
fn names() {
    for name in ["a", "0", "fft", "mnist-8", "a_b", &"a".repeat(64)] {
        subject::validate_name(name).unwrap();
    }
    for name in [
        "",
        "-a",
        "_a",
        "A",
        "a.b",
        "a b",
        "a*",
        ">",
        "ä",
        "a/b",
        "..",
        &"a".repeat(65),
    ] {
        assert_eq!(
            subject::validate_name(name).unwrap_err().kind,
            ErrorKind::InvalidParameter,
            "{name}"
        );
    }
}

#[test]
fn call_ids() {
    let known = [
        ("_INBOX.client.17", Some("client.17")),
        ("_INBOX_anna.x.client.17", Some("client.17")),
        ("client.17", None),
        ("17", None),
        ("", None),
        ("_INBOX..17", None),
        ("_INBOX.client.", None),
    ];
    for (reply, id) in known {
        assert_eq!(subject::call_id(reply), id, "{reply}");
    }
}

#[test]
fn timings() {
    let timing = Timing {
        queued: 3,
        fetching: 1,
        batching: 0,
        executing: 12,
    };
    assert_eq!(timing.to_string(), "queued=3;fetching=1;batching=0;executing=12");
    assert_eq!(timing.to_string().parse(), Ok(timing));
    assert_eq!("executing=12;later=x;fetching=1;queued=3".parse(), Ok(timing));
    assert!("queued=-1".parse::<Timing>().is_err());
    assert!("queued".parse::<Timing>().is_err());
}

#[test]
fn microseconds() {
    assert_eq!(
        header::parse_microseconds(header::DEADLINE, "1767225600000000"),
        Ok(1_767_225_600_000_000)
    );
    for value in ["", "+1", "-1", "1.5", "1e6", " 1", "18446744073709551616", "soon"] {
        let error = header::parse_microseconds(header::DEADLINE, value).unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidParameter);
        assert!(error.message.contains(header::DEADLINE));
    }
}
