//! What a job's message says beyond its frame.

use std::time::Duration;

use npufleet_link::Headers;
use npufleet_wire::{Error, ErrorKind, Lane, Result, header, job, subject};

use super::delivery::Delivery;

/// The broker's header on a job whose time has come: when it comes next, or `purge` when it does not.
const SCHEDULE_NEXT: &str = "Nats-Schedule-Next";
/// The operation of a job that cannot be read.
const NOWHERE: &str = "unreadable";
const LONGEST_ID: usize = 64;

/// A job as it was submitted.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Order {
    pub(super) id: String,
    pub(super) lane: Lane,
    /// Empty when only the id is known.
    pub(super) operation: String,
    pub(super) model: Option<String>,
    /// Unix microseconds; 0 when that is not known.
    pub(super) submitted: u64,
    /// Unix microseconds.
    pub(super) deadline: Option<u64>,
    pub(super) retries: u32,
    pub(super) attempt_timeout: Duration,
    /// Attempts made before these deliveries.
    pub(super) made: u32,
    /// Where the submitter hears that the result is there.
    pub(super) notify: Option<String>,
    /// Where the frame lies when it is not in the message.
    pub(super) payload: Option<String>,
    /// The repeated job whose run it is.
    pub(super) series: Option<String>,
}

impl Order {
    /// Reads what was delivered.
    ///
    /// # Errors
    /// `invalid_parameter` for a subject or a header that is none of a job's.
    pub(super) fn of(prefix: &str, delivery: &Delivery) -> Result<Self> {
        let (message, route) = (&delivery.message, delivery.taking.route());
        Self::parse(prefix, route, message.subject(), message.headers(), delivery.sequence)
    }

    /// Reads a message of the streams JOBS or FLOWS, whose subjects have the word `route`; `sequence` is its place there.
    fn parse(prefix: &str, route: &str, subject: &str, headers: Headers<'_>, sequence: u64) -> Result<Self> {
        let name = subject
            .strip_prefix(prefix)
            .and_then(|rest| rest.strip_prefix(".v1.")?.strip_prefix(route)?.strip_prefix('.'))
            .ok_or_else(|| no_job(subject))?;
        let (lane, operation, model) = split(name).ok_or_else(|| no_job(subject))?;
        let mut order = Self {
            lane,
            operation: operation.to_owned(),
            model: model.map(str::to_owned),
            retries: job::RETRIES,
            attempt_timeout: job::ATTEMPT_TIMEOUT,
            ..Self::default()
        };
        let mut repeated = false;
        for (name, value) in headers.iter() {
            match name {
                header::JOB_ID => value.clone_into(&mut order.id),
                header::SUBMITTED => order.submitted = header::parse_microseconds(name, value)?,
                header::DEADLINE => order.deadline = Some(header::parse_microseconds(name, value)?),
                header::RETRIES => order.retries = number(name, value, job::RETRIES_LIMIT)?,
                header::ATTEMPT_TIMEOUT => {
                    order.attempt_timeout = Duration::from_micros(header::parse_microseconds(name, value)?);
                }
                header::ATTEMPT => order.made = number(name, value, 999_999_999)?,
                header::NOTIFY => order.notify = Some(check_notify(value)?.to_owned()),
                header::PAYLOAD => order.payload = Some(value.to_owned()),
                SCHEDULE_NEXT => repeated = value != "purge",
                _ => {}
            }
        }
        if repeated {
            // One of many: each run of a repeated job is a job of its own.
            let run = format!("{}-{sequence}", order.id);
            order.series = Some(std::mem::replace(&mut order.id, run));
        }
        check_id(&order.id)?;
        Ok(order)
    }

    /// What stands for a message that is no job.
    pub(super) fn unreadable(sequence: u64) -> Self {
        Self {
            id: format!("{NOWHERE}-{sequence}"),
            operation: NOWHERE.to_owned(),
            ..Self::default()
        }
    }

    /// A job of which somebody wants to hear no more; `name` says what it is.
    ///
    /// # Errors
    /// `invalid_parameter` when the id or the name is none.
    pub(super) fn known_by(id: &str, name: Option<&str>) -> Result<Self> {
        check_id(id)?;
        let (lane, operation, model) = match name {
            Some(name) => split(name).ok_or_else(|| no_job(name))?,
            None => (Lane::default(), "", None),
        };
        Ok(Self {
            id: id.to_owned(),
            lane,
            operation: operation.to_owned(),
            model: model.map(str::to_owned),
            ..Self::default()
        })
    }

    /// `<lane>.<operation>[.<model>]`, as results and dead letters carry it.
    pub(super) fn name(&self) -> String {
        let Self {
            lane, operation, model, ..
        } = self;
        match model {
            Some(model) => format!("{}.{operation}.{model}", lane.as_str()),
            None => format!("{}.{operation}", lane.as_str()),
        }
    }

    /// The name of the endpoint that does it.
    pub(super) fn endpoint(&self) -> String {
        match &self.model {
            Some(model) => format!("{}-{model}", self.operation),
            None => self.operation.clone(),
        }
    }
}

/// The parts of `<lane>.<operation>[.<model>]`.
fn split(name: &str) -> Option<(Lane, &str, Option<&str>)> {
    let mut tokens = name.split('.');
    let lane = Lane::parse(tokens.next()?)?;
    let (operation, model) = (tokens.next()?, tokens.next());
    let right = |name: &str| subject::validate_name(name).is_ok();
    (tokens.next().is_none() && right(operation) && model.is_none_or(right)).then_some((lane, operation, model))
}

fn no_job(subject: &str) -> Error {
    let text: String = subject.chars().take(200).collect();
    Error::new(ErrorKind::InvalidParameter, format!("subject '{text}' names no job"))
}

fn check_id(id: &str) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(plain) {
        return Ok(());
    }
    let text: String = id.chars().take(80).collect();
    Err(Error::new(
        ErrorKind::InvalidParameter,
        format!("job id is '{text}'; allowed: {}", job::ID_PATTERN),
    ))
}

fn number(name: &str, value: &str, most: u32) -> Result<u32> {
    let digits = !value.is_empty() && value.len() <= 9 && value.bytes().all(|byte| byte.is_ascii_digit());
    match value.parse() {
        Ok(number) if digits && number <= most => Ok(number),
        _ => {
            let text: String = value.chars().take(80).collect();
            let message = format!("header {name} is '{text}'; allowed: 0 to {most}");
            Err(Error::new(ErrorKind::InvalidParameter, message))
        }
    }
}

/// A subject that can be published to: nothing in it may be read as protocol, or the broker would end the connection.
fn check_notify(value: &str) -> Result<&str> {
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic());
    if value.split('.').all(is_word) && !value.contains(['*', '>']) {
        return Ok(value);
    }
    let shown: String = value.chars().take(80).collect();
    let text = format!("header {} is '{shown}'; allowed: a subject", header::NOTIFY);
    Err(Error::new(ErrorKind::InvalidParameter, text))
}

#[cfg(test)]
mod tests {
    use npufleet_link::HeaderBlock;

    use super::*;

    fn parse(subject: &str, headers: &[(&str, &str)]) -> Result<Order> {
        let mut block = HeaderBlock::default();
        for (name, value) in headers {
            block.push(name, value);
        }
        Order::parse("npu", "job", subject, Headers::new(block.as_bytes()), 17)
    }

    #[test]
    fn a_job_says_what_it_is() {
        let headers = [
            ("Npu-Job-Id", "a_B-1"),
            ("Npu-Submitted", "5"),
            ("Npu-Deadline", "6"),
            ("Npu-Retries", "0"),
            ("Npu-Attempt-Timeout", "1500000"),
            ("Npu-Notify", "_INBOX.x"),
        ];
        let order = parse("npu.v1.job.high.infer.net", &headers).unwrap();
        let expected = Order {
            id: "a_B-1".into(),
            lane: Lane::High,
            operation: "infer".into(),
            model: Some("net".into()),
            submitted: 5,
            deadline: Some(6),
            retries: 0,
            attempt_timeout: Duration::from_millis(1500),
            notify: Some("_INBOX.x".into()),
            ..Order::default()
        };
        assert_eq!(order, expected);
        assert_eq!(
            (order.name(), order.endpoint()),
            ("high.infer.net".into(), "infer-net".into())
        );
    }

    #[test]
    fn what_a_job_does_not_say_has_the_contract_s_defaults() {
        let order = parse("npu.v1.job.normal.echo", &[("Npu-Job-Id", "x")]).unwrap();
        assert_eq!(
            (order.retries, order.attempt_timeout),
            (job::RETRIES, job::ATTEMPT_TIMEOUT)
        );
        assert_eq!((order.deadline, order.made, order.series), (None, 0, None));
    }

    #[test]
    fn each_run_of_a_repeated_job_is_a_job() {
        let run = |next| {
            parse(
                "npu.v1.job.low.echo",
                &[("Npu-Job-Id", "x"), ("Nats-Schedule-Next", next)],
            )
            .unwrap()
        };
        assert_eq!((run("purge").id.as_str(), run("purge").series), ("x", None));
        let one = run("2026-01-01T00:00:00Z");
        assert_eq!((one.id.as_str(), one.series.as_deref()), ("x-17", Some("x")));
    }

    #[test]
    fn what_is_no_job_is_refused_by_name() {
        let id = ("Npu-Job-Id", "x");
        for subject in [
            "npu.v1.call.low.echo",
            "npu.v1.job.slow.echo",
            "npu.v1.job.low",
            "npu.v1.job.low.Echo",
            "npu.v1.job.low.infer.m.n",
            "other.v1.job.low.echo",
        ] {
            assert!(parse(subject, &[id]).unwrap_err().message.contains(subject));
        }
        for (name, value) in [
            ("Npu-Job-Id", "a.b"),
            ("Npu-Deadline", "soon"),
            ("Npu-Retries", "101"),
            ("Npu-Attempt", "-1"),
            ("Npu-Attempt-Timeout", ""),
        ] {
            let error = parse("npu.v1.job.low.echo", &[id, (name, value)]).unwrap_err();
            assert_eq!(error.kind, ErrorKind::InvalidParameter, "{name}");
        }
        assert!(parse("npu.v1.job.low.echo", &[]).is_err());
    }
}
