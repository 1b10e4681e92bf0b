//! The lists in this crate and in `contract.toml` are the same, both ways: nothing missing, nothing extra, same order.

use npufleet_wire::contract::{self, TensorRow, Tensors};
use npufleet_wire::{Dtype, ErrorKind, Lane, Reason, Route, claim, frame, header, job, subject};
use serde_json::{Map, Value, json};
use toml::{Table, Value as Toml};

fn document() -> Table {
    contract::TEXT.parse().unwrap()
}

fn words(value: &Toml) -> Vec<String> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|word| word.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn sections() {
    let known = [
        "version",
        "names",
        "lanes",
        "subjects",
        "queues",
        "headers",
        "fallback",
        "limits",
        "jobs",
        "claim",
        "payload", // this one and the next two are compared by the crate payload
        "arena",
        "channel",
        "errors",
        "dtypes",
        "operations",
    ];
    let mut found: Vec<_> = document().keys().cloned().collect();
    let mut expected = known.map(str::to_owned).to_vec();
    found.sort();
    expected.sort();
    assert_eq!(found, expected, "a section that no test below compares");
    assert_eq!(document()["version"].as_integer(), Some(contract::VERSION.into()));
    assert_eq!(
        document()["names"],
        Toml::Table(
            [("pattern".to_owned(), subject::NAME_PATTERN.into())]
                .into_iter()
                .collect()
        )
    );
}

#[test]
fn errors() {
    let rows: Vec<_> = document()["errors"].as_array().unwrap().clone();
    let ours: Vec<_> = ErrorKind::ALL
        .iter()
        .map(|kind| {
            let row = [
                ("kind".to_owned(), kind.as_str().into()),
                ("code".to_owned(), i64::from(kind.code()).into()),
                ("retry".to_owned(), kind.retry().as_str().into()),
            ];
            Toml::Table(row.into_iter().collect())
        })
        .collect();
    assert_eq!(rows, ours);
    for kind in ErrorKind::ALL {
        assert_eq!(ErrorKind::parse(kind.as_str()), Some(kind));
        assert!(
            !kind.hands_over() || Reason::of(kind).is_some(),
            "{kind} hands over without a reason"
        );
    }
}

#[test]
fn lanes() {
    let lanes = &document()["lanes"];
    assert_eq!(words(&lanes["order"]), Lane::ALL.map(Lane::as_str));
    assert_eq!(lanes["default"].as_str(), Some(Lane::default().as_str()));
    for (index, lane) in Lane::ALL.into_iter().enumerate() {
        assert_eq!((Lane::parse(lane.as_str()), lane.index()), (Some(lane), index));
    }
}

#[test]
fn headers() {
    let rows: Vec<_> = document()["headers"].as_table().unwrap().clone().into_iter().collect();
    let mut ours: Vec<_> = header::ALL
        .map(|(key, name)| (key.to_owned(), Toml::from(name)))
        .to_vec();
    ours.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(rows, ours);
}

#[test]
fn fallback_reasons() {
    assert_eq!(
        words(&document()["fallback"]["reasons"]),
        Reason::ALL.map(Reason::as_str)
    );
    for reason in Reason::ALL {
        assert_eq!(Reason::parse(&format!("{}: text: more", reason.as_str())), Some(reason));
    }
    assert_eq!(Reason::parse("boredom"), None);
}

#[test]
fn limits() {
    let ours = [
        ("header_bytes", frame::MAX_HEADER_BYTES),
        ("tensors", frame::MAX_TENSORS),
        ("dimensions", frame::MAX_DIMENSIONS),
        ("tensor_name_bytes", frame::MAX_NAME_BYTES),
        ("alignment", frame::ALIGNMENT),
        ("result_bytes", frame::MAX_RESULT_BYTES),
    ];
    let ours: Table = ours
        .map(|(name, limit)| (name.to_owned(), Toml::Integer(i64::try_from(limit).unwrap())))
        .into_iter()
        .collect();
    assert_eq!(document()["limits"].as_table(), Some(&ours));
    assert_eq!(
        document()["claim"]["max_length"].as_integer(),
        Some(i64::try_from(claim::MAX_LENGTH).unwrap())
    );
}

#[test]
fn dtypes() {
    let rows = document()["dtypes"].as_table().unwrap().clone();
    let ours: Table = Dtype::ALL
        .iter()
        .map(|dtype| {
            let row: Table = [
                ("numpy".to_owned(), dtype.numpy().into()),
                ("bytes".to_owned(), Toml::Integer(i64::try_from(dtype.size()).unwrap())),
            ]
            .into_iter()
            .collect();
            (dtype.name().to_owned(), row.into())
        })
        .collect();
    assert_eq!(rows, ours);
}

#[test]
fn subjects() {
    let prefix = subject::DEFAULT_PREFIX;
    let (lane, operation, model) = (Lane::High, "infer", Some("m"));
    let formatted = |route| {
        subject::Subject {
            route,
            lane,
            operation: operation.into(),
            model: model.map(str::to_owned),
        }
        .format(prefix)
    };
    let ours = [
        ("call", formatted(Route::Call)),
        ("fallback", formatted(Route::Fallback)),
        ("job", subject::job(prefix, lane, operation, model)),
        ("result", subject::result(prefix, "j")),
        ("event", subject::event(prefix, "j")),
        ("handover", subject::handover(prefix, lane, operation, model)),
        ("dead", subject::dead(prefix, operation, "j")),
        ("payload", subject::payload(prefix, "j.in", "7")),
        ("schedule", subject::schedule(prefix, "j")),
        ("due", subject::due(prefix, lane, operation, model)),
        ("flow", subject::flow(prefix, lane, operation, model)),
        ("advance", subject::advance(prefix, "j")),
        ("cancel", subject::cancel(prefix, "c.1")),
        ("agent", subject::agent(prefix, "a", "b")),
        ("control", subject::control(prefix, "w")),
    ];
    let mut rows = document()["subjects"].as_table().unwrap().clone();
    assert_eq!(rows.remove("prefix").unwrap().as_str(), Some(prefix));
    for (name, ours) in ours {
        let template = rows
            .remove(name)
            .unwrap_or_else(|| panic!("no subject '{name}' in the contract"));
        let values = [
            ("{prefix}", prefix),
            ("{lane}", lane.as_str()),
            ("{operation}", operation),
            ("[.{model}]", ".m"),
            ("{job_id}", "j"),
            ("{id}", "c.1"),
            ("{path}", "j.in"),
            ("{piece}", "7"),
            ("{worker}", "w"),
            ("{agent}", "a"),
            ("{action}", "b"),
        ];
        let expected = values
            .into_iter()
            .fold(template.as_str().unwrap().to_owned(), |text, (key, value)| {
                text.replace(key, value)
            });
        assert_eq!(ours, expected);
    }
    assert!(rows.is_empty(), "subjects that this crate cannot make: {rows:?}");
    let queues: Table = Route::ALL
        .map(|route| (route.as_str().to_owned(), route.queue().into()))
        .into_iter()
        .collect();
    assert_eq!(document()["queues"].as_table(), Some(&queues));
}

#[test]
fn operations() {
    let rows = document()["operations"].as_table().unwrap().clone();
    let names: Vec<_> = contract::operations().iter().map(|row| row.name.as_str()).collect();
    assert_eq!(rows.keys().collect::<Vec<_>>(), names);
    for row in contract::operations() {
        subject::validate_name(&row.name).unwrap();
        let theirs = &rows[&row.name];
        assert_eq!(
            theirs["inputs"].as_str() == Some("any"),
            matches!(row.inputs, Tensors::Any(_)),
            "{}",
            row.name
        );
        // A default is looked at without those parameters that every request must give.
        let mut alone = row.clone();
        alone
            .parameters
            .iter_mut()
            .for_each(|parameter| parameter.required = false);
        for parameter in &row.parameters {
            let Some(default) = &parameter.default else {
                continue;
            };
            let params: Map<String, Value> = [(parameter.name.clone(), default.clone())].into_iter().collect();
            alone
                .check_params(&params)
                .unwrap_or_else(|error| panic!("{}: its own default: {error}", row.name));
        }
    }
}

fn check(operation: &str, params: &Value) -> Result<Value, String> {
    let row = contract::operation(operation).unwrap();
    let checked = row.check_params(params.as_object().unwrap());
    checked.map(Value::Object).map_err(|error| {
        assert_eq!(error.kind, ErrorKind::InvalidParameter);
        error.message
    })
}

#[test]
fn parameters_are_filled_and_typed() {
    assert_eq!(check("fft", &json!({})), Ok(json!({"axis": -1, "norm": "backward"})));
    assert_eq!(
        check(
            "fft",
            &json!({"n": 8, "return_onesided": false, "axis": 0, "norm": "ortho"})
        ),
        Ok(json!({"n": 8, "axis": 0, "norm": "ortho", "return_onesided": false}))
    );
    assert_eq!(
        check("fft", &json!({"n": 8.0})),
        Ok(json!({"n": 8, "axis": -1, "norm": "backward"})),
        "a whole number may be written as a float"
    );
    assert_eq!(
        check("echo", &json!({"delay": 1})),
        Ok(json!({"delay": 1.0})),
        "a number accepts an integer"
    );
    assert_eq!(check("infer", &json!({})), Ok(json!({})));
}

#[test]
fn parameters_are_refused_by_name_value_and_limit() {
    let refused = [
        (
            "fft",
            json!({"foo": 1}),
            ["foo", "fft", "n, axis, norm, return_onesided"],
        ),
        (
            "fft",
            json!({"norm": "foo"}),
            ["norm", "foo", "backward, ortho, forward"],
        ),
        ("fft", json!({"n": 0}), ["n", "0", "1 to 16777216"]),
        ("fft", json!({"n": 16_777_217}), ["n", "16777217", "1 to 16777216"]),
        ("fft", json!({"n": 8.5}), ["n", "8.5", "integer"]),
        ("fft", json!({"n": true}), ["n", "true", "integer"]),
        ("fft", json!({"n": null}), ["n", "null", "integer"]),
        (
            "fft",
            json!({"n": 18_446_744_073_709_551_615_u64}),
            ["n", "18446744073709551615", "integer"],
        ),
        ("fft", json!({"axis": "last"}), ["axis", "last", "integer"]),
        (
            "fft",
            json!({"return_onesided": 1}),
            ["return_onesided", "1", "boolean"],
        ),
        ("echo", json!({"delay": -0.5}), ["delay", "-0.5", "0.0 to 60.0"]),
        ("echo", json!({"delay": false}), ["delay", "false", "number"]),
        ("infer", json!({"version": 0}), ["version", "0", "1 to 2147483647"]),
    ];
    for (operation, params, parts) in refused {
        let message = check(operation, &params).expect_err(&format!("{operation} {params}"));
        for part in parts {
            assert!(message.contains(part), "'{message}' does not say '{part}'");
        }
    }
}

#[test]
fn a_numbered_tensor_stands_for_any_number() {
    let row = TensorRow {
        name: "cD".to_owned(),
        dtypes: vec![Dtype::F64],
        minimum_rank: 1,
        optional: true,
        numbered: true,
        summary: String::new(),
    };
    for name in ["cD0", "cD1", "cD10", "cD9999"] {
        assert!(row.matches(name), "{name}");
    }
    for name in [
        "cD",
        "cD01",
        "cD-1",
        "cD+1",
        "cD1x",
        "cD\u{661}",
        "cD10000",
        "cA1",
        "1",
        "xcD1",
        "",
    ] {
        assert!(!row.matches(name), "{name}");
    }
}

#[test]
fn jobs() {
    let micros = |time: std::time::Duration| Toml::from(i64::try_from(time.as_micros()).unwrap());
    let kinds = |chosen: fn(ErrorKind) -> bool| -> Toml {
        let words = ErrorKind::ALL.into_iter().filter(|kind| chosen(*kind));
        words.map(|kind| Toml::from(kind.as_str())).collect::<Vec<_>>().into()
    };
    let weights: Table = Lane::ALL
        .iter()
        .map(|lane| (lane.as_str().to_owned(), i64::from(job::weight(*lane)).into()))
        .collect();
    let mut section = document()["jobs"].as_table().unwrap().clone();
    // In no order that matters.
    let mut handed_over: Vec<_> = section["handed_over"].as_array().unwrap().clone();
    handed_over.sort_by_key(|word| ErrorKind::parse(word.as_str().unwrap()));
    section.insert("handed_over".to_owned(), handed_over.into());
    let ours: Table = [
        ("id", job::ID_PATTERN.into()),
        ("retries", i64::from(job::RETRIES).into()),
        ("retries_limit", i64::from(job::RETRIES_LIMIT).into()),
        ("attempt_timeout_us", micros(job::ATTEMPT_TIMEOUT)),
        ("retry_first_us", micros(job::RETRY_FIRST)),
        ("retry_longest_us", micros(job::RETRY_LONGEST)),
        ("inline_bytes", i64::try_from(job::INLINE_BYTES).unwrap().into()),
        ("states", job::STATES.map(Toml::from).to_vec().into()),
        ("permanent", kinds(job::permanent)),
        ("handed_over", kinds(job::handed_over)),
        ("weights", weights.into()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    assert_eq!(section, ours);
    assert_eq!(job::retry_after(1), job::RETRY_FIRST);
    assert_eq!(job::retry_after(3), 4 * job::RETRY_FIRST);
    assert_eq!(job::retry_after(1000), job::RETRY_LONGEST);
}
