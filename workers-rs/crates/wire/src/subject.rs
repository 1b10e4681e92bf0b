//! Where requests are sent: NATS subjects, their parts and their queue groups.

use crate::header::shortened;
use crate::{Error, ErrorKind, Lane, Result, contract};

/// The prefix where configuration names no other.
pub const DEFAULT_PREFIX: &str = "npu";
/// What operation and model names match.
pub const NAME_PATTERN: &str = "[a-z0-9][a-z0-9_-]{0,63}";

const MAX_NAME: usize = 64;

/// The engine that a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// Rust workers, first.
    Call,
    /// Python workers, when the first engine cannot.
    Fallback,
}

impl Route {
    /// Both routes.
    pub const ALL: [Self; 2] = [Self::Call, Self::Fallback];

    /// The word that subjects carry.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Fallback => "fallback",
        }
    }

    /// The queue group whose members share the route's requests.
    pub const fn queue(self) -> &'static str {
        match self {
            Self::Call => "rust",
            Self::Fallback => "python",
        }
    }

    /// The route that a word names.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|route| route.as_str() == word)
    }

    /// What a worker subscribes to: the requests of one operation in every lane.
    pub fn pattern(self, prefix: &str, operation: &str, model: Option<&str>) -> String {
        format!("{prefix}.v1.{}.*.{}", self.as_str(), operation_tokens(operation, model))
    }
}

/// The parts of a request's subject, borrowed from its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Parts<'a> {
    /// Which engine it is for.
    pub route: Route,
    /// Its priority.
    pub lane: Lane,
    /// What to compute.
    pub operation: &'a str,
    /// Which model does it; present exactly for operations that run models.
    pub model: Option<&'a str>,
}

impl<'a> Parts<'a> {
    /// Takes a subject apart without allocating.
    ///
    /// # Errors
    /// `invalid_parameter` when it is no subject of a request.
    pub fn parse(prefix: &str, subject: &'a str) -> Result<Self> {
        Self::find(prefix, subject).ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidParameter,
                format!(
                    "subject '{}' names no request; expected: \
                     {prefix}.v1.<call or fallback>.<lane>.<operation>[.<model>]",
                    shortened(subject)
                ),
            )
        })
    }

    fn find(prefix: &str, subject: &'a str) -> Option<Self> {
        let mut tokens = subject.strip_prefix(prefix)?.strip_prefix(".v1.")?.split('.');
        let route = Route::parse(tokens.next()?)?;
        let lane = Lane::parse(tokens.next()?)?;
        let operation = tokens.next().filter(|name| is_name(name))?;
        let model = tokens.next();
        let runs_models = contract::operation(operation).is_some_and(|row| row.model);
        (tokens.next().is_none() && model.is_none_or(is_name) && model.is_some() == runs_models).then_some(Self {
            route,
            lane,
            operation,
            model,
        })
    }
}

/// The parts of a request's subject.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject {
    /// Which engine it is for.
    pub route: Route,
    /// Its priority.
    pub lane: Lane,
    /// What to compute.
    pub operation: String,
    /// Which model does it; present exactly for operations that run models.
    pub model: Option<String>,
}

impl Subject {
    /// The subject's text.
    pub fn format(&self, prefix: &str) -> String {
        let operation = operation_tokens(&self.operation, self.model.as_deref());
        format!("{prefix}.v1.{}.{}.{operation}", self.route.as_str(), self.lane.as_str())
    }

    /// Takes a subject apart.
    ///
    /// # Errors
    /// As [`Parts::parse`].
    pub fn parse(prefix: &str, subject: &str) -> Result<Self> {
        let Parts {
            route,
            lane,
            operation,
            model,
        } = Parts::parse(prefix, subject)?;
        Ok(Self {
            route,
            lane,
            operation: operation.to_owned(),
            model: model.map(str::to_owned),
        })
    }
}

/// Where a durable job is sent.
pub fn job(prefix: &str, lane: Lane, operation: &str, model: Option<&str>) -> String {
    work(prefix, "job", lane, operation, model)
}

/// Where a job goes that only the Python engine shall try.
pub fn handover(prefix: &str, lane: Lane, operation: &str, model: Option<&str>) -> String {
    work(prefix, "handover", lane, operation, model)
}

/// Where the broker puts a job whose time has come.
pub fn due(prefix: &str, lane: Lane, operation: &str, model: Option<&str>) -> String {
    work(prefix, "due", lane, operation, model)
}

/// Where the plan of jobs that follow each other waits.
pub fn flow(prefix: &str, lane: Lane, operation: &str, model: Option<&str>) -> String {
    work(prefix, "flow", lane, operation, model)
}

/// Where it is said that a step of such a plan is over.
pub fn advance(prefix: &str, job_id: &str) -> String {
    format!("{prefix}.v1.advance.{job_id}")
}

/// Where a job waits for its time.
pub fn schedule(prefix: &str, job_id: &str) -> String {
    format!("{prefix}.v1.schedule.{job_id}")
}

/// Where one piece of a frame lies that is too large for a message; `piece` may be `*`, for all of them.
pub fn payload(prefix: &str, path: &str, piece: &str) -> String {
    format!("{prefix}.v1.payload.{path}.{piece}")
}

fn work(prefix: &str, route: &str, lane: Lane, operation: &str, model: Option<&str>) -> String {
    let tokens = operation_tokens(operation, model);
    format!("{prefix}.v1.{route}.{}.{tokens}", lane.as_str())
}

/// Where a job's result is committed.
pub fn result(prefix: &str, job_id: &str) -> String {
    format!("{prefix}.v1.result.{job_id}")
}

/// Where a job's progress is told.
pub fn event(prefix: &str, job_id: &str) -> String {
    format!("{prefix}.v1.event.{job_id}")
}

/// Where a job goes that failed for good.
pub fn dead(prefix: &str, operation: &str, job_id: &str) -> String {
    format!("{prefix}.v1.dead.{operation}.{job_id}")
}

/// Where a call or job is cancelled; `id` may be `>`, to hear of every one.
pub fn cancel(prefix: &str, id: &str) -> String {
    format!("{prefix}.v1.cancel.{id}")
}

/// Where an agent is asked for something by its name.
pub fn agent(prefix: &str, agent: &str, action: &str) -> String {
    format!("{prefix}.v1.agent.{agent}.{action}")
}

/// Where one worker is told to drain or reload.
pub fn control(prefix: &str, worker: &str) -> String {
    format!("{prefix}.v1.control.{worker}")
}

/// The id of a call: the last two tokens of its reply subject `<inbox>.<client>.<sequence>`.
pub fn call_id(reply: &str) -> Option<&str> {
    let (rest, sequence) = reply.rsplit_once('.')?;
    let (_, client) = rest.rsplit_once('.')?;
    (!client.is_empty() && !sequence.is_empty()).then(|| &reply[reply.len() - sequence.len() - 1 - client.len()..])
}

/// Checks an operation's or model's name.
///
/// # Errors
/// `invalid_parameter` when it does not match [`NAME_PATTERN`].
pub fn validate_name(name: &str) -> Result<()> {
    if is_name(name) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InvalidParameter,
        format!("name '{}' is not allowed; allowed: {NAME_PATTERN}", shortened(name)),
    ))
}

fn is_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes.len() <= MAX_NAME
        && bytes
            .first()
            .is_some_and(|first| first.is_ascii_lowercase() || first.is_ascii_digit())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-'))
}

fn operation_tokens(operation: &str, model: Option<&str>) -> String {
    model.map_or_else(|| operation.to_owned(), |model| format!("{operation}.{model}"))
}
