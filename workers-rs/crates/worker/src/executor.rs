//! The threads that do the work: take a batch, check that it is still wanted, execute, answer.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use npufleet_operations::{Context, Operation};
use npufleet_payload::exchange::Loan;
use npufleet_wire::frame::Room;
use npufleet_wire::{Error, ErrorKind, Result, Timing};

use crate::answers::Answers;
use crate::core::Core;
use crate::endpoint::{Engine, Network};
use crate::events::log;
use crate::request::Request;
use crate::room::ResultRoom;
use crate::steps::Here;
use crate::telemetry::{Batch, Times};

/// Bytes that may wait for the broker while answers are written on the connection's own thread: far from what has executors
/// wait for room.
const ROOM: usize = 1 << 20;

/// Starts one executor.
///
/// # Errors
/// When the system has no room for another thread.
pub(crate) fn start(core: &Arc<Core>, index: usize) -> std::io::Result<JoinHandle<()>> {
    let core = Arc::clone(core);
    std::thread::Builder::new()
        .name(format!("executor-{index}"))
        .spawn(move || {
            let mut batch = Vec::new();
            while core.queue.take(index, &mut batch) {
                Executor::new(&core, index).execute(&mut batch);
            }
        })
}

/// Does what is so quick that waking an executor would take longer; on the connection's own thread.
pub(crate) fn do_quick(core: &Arc<Core>, batch: &mut Vec<Request>) {
    // What is written here must not wait for this very thread to make room.
    while core.queue.take_quick(core.link.waiting() < ROOM, batch) {
        Executor::new(core, core.queue.own_thread()).execute(batch);
    }
}

/// One batch at work.
struct Executor<'a> {
    core: &'a Arc<Core>,
    index: usize,
    taken: Instant,
}

/// A request that was executed, or was no longer wanted.
struct Done<'a> {
    request: Request,
    outcome: Result<Bytes>,
    /// Where the result is, when it is not in the reply.
    loan: Option<Loan<'a>>,
    start: Instant,
    end: Instant,
}

impl Done<'_> {
    /// A request that nothing was done for.
    fn refused(request: Request, error: Error, at: Instant) -> Self {
        Self {
            request,
            outcome: Err(error),
            loan: None,
            start: at,
            end: at,
        }
    }
}

impl<'a> Executor<'a> {
    fn new(core: &'a Arc<Core>, index: usize) -> Self {
        Self {
            core,
            index,
            taken: Instant::now(),
        }
    }

    fn execute(&self, batch: &mut Vec<Request>) {
        let Some(first) = batch.first() else { return };
        let (engine, endpoint) = (Arc::clone(&first.prepared.engine), Arc::clone(&first.endpoint));
        let told = if self.core.telemetry.is_on() {
            Batch::of(batch)
        } else {
            Batch::default()
        };
        let done = match &*engine {
            Engine::Operation(operation) => self.one_by_one(*operation, batch),
            Engine::Model { network, .. } => self.together(&**network, batch),
        };
        if let (Some(first), Some(last)) = (done.first(), done.last()) {
            endpoint.statistics.executed(last.end - first.start);
        }
        // All answers leave together.
        let count = done.len();
        let sent = self.core.link.send_patiently(|pieces| {
            let mut answers = Answers::new(pieces, self.core.link.max_payload());
            let now = Instant::now();
            for done in done {
                self.finish(done, now, &told, &mut answers);
            }
            answers.leave();
        });
        if !sent {
            log(format_args!(
                "{count} answers are dropped: too many wait for the broker"
            ));
        }
    }

    fn one_by_one(&self, operation: &dyn Operation, batch: &mut Vec<Request>) -> Vec<Done<'_>> {
        let mut start = self.taken;
        let mut execute = |request: Request| {
            if let Err(error) = self.check(&request, start) {
                return Done::refused(request, error, start);
            }
            let room = ResultRoom::new(self.core, &request);
            let mut outcome = self.one(operation, &request, &room);
            let loan = room.lend(&mut outcome);
            let end = Instant::now();
            request.prepared.took(end - start);
            let done = Done {
                request,
                outcome,
                loan,
                start,
                end,
            };
            start = end;
            done
        };
        batch.drain(..).map(&mut execute).collect()
    }

    fn one(&self, operation: &dyn Operation, request: &Request, room: &dyn Room) -> Result<Bytes> {
        let frame = request.frame();
        let is_cancelled = || self.core.queue.is_cancelled(self.index, &request.reply);
        let stop = || Instant::now() >= request.deadline || is_cancelled();
        let here = Here {
            core: self.core,
            request,
        };
        let progress = |done| {
            if let Some(job) = &request.job {
                job.progressed(done);
            }
        };
        let context = Context {
            stop: &stop,
            progress: &progress,
            room,
        };
        let work = || operation.execute_in(&here, &frame, &request.prepared.params, &context);
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(panicked(operation.name(), &*panic)))
    }

    fn together(&self, network: &dyn Network, batch: &mut Vec<Request>) -> Vec<Done<'_>> {
        let start = self.taken;
        let (mut frames, mut wanted, mut done) = (Vec::new(), Vec::new(), Vec::new());
        for request in batch.drain(..) {
            match self.check(&request, start) {
                Ok(()) => {
                    frames.push(request.frame());
                    wanted.push(request);
                }
                Err(error) => done.push(Done::refused(request, error, start)),
            }
        }
        if wanted.is_empty() {
            return done;
        }
        let outcomes = catch_unwind(AssertUnwindSafe(|| network.infer(&frames))).unwrap_or_else(|panic| {
            let error = panicked("infer", &*panic);
            vec![Err(error); frames.len()]
        });
        let end = Instant::now();
        let each = (end - start) / wanted.len() as u32;
        // A network that answers for too few members has a defect that its callers must hear of.
        let missing = || {
            Err(Error::new(
                ErrorKind::Internal,
                "the model gave no result for this request",
            ))
        };
        let outcomes = outcomes.into_iter().chain(std::iter::repeat_with(missing));
        done.extend(wanted.into_iter().zip(outcomes).map(|(request, mut outcome)| {
            request.prepared.took(each);
            let loan = ResultRoom::new(self.core, &request).lend(&mut outcome);
            Done {
                request,
                outcome,
                loan,
                start,
                end,
            }
        }));
        done
    }

    /// Whether the answer is still wanted.
    fn check(&self, request: &Request, now: Instant) -> Result<()> {
        if self.core.queue.is_cancelled(self.index, &request.reply) {
            return Err(cancelled());
        }
        if now >= request.deadline {
            return Err(too_late(now - request.arrived));
        }
        request.payload.check()
    }

    fn finish(&self, done: Done<'_>, now: Instant, batch: &Batch, answers: &mut Answers<'_>) {
        let Done {
            request,
            outcome,
            loan,
            start,
            end,
        } = done;
        // What was cancelled or came too late while it was executed is no longer wanted, whatever its outcome.
        let outcome = self.check(&request, now).and(outcome);
        if request.trace.is_some() {
            let times = Times {
                taken: self.taken,
                start,
                end,
            };
            self.core
                .telemetry
                .executed(&request, batch, times, outcome.as_ref().err());
        }
        let fetching = request.payload.fetching().unwrap_or_default();
        let timing = Timing {
            queued: (self.taken - request.arrived).saturating_sub(fetching).as_micros() as u64,
            fetching: fetching.as_micros() as u64,
            batching: (start - self.taken).as_micros() as u64,
            executing: (end - start).as_micros() as u64,
        };
        match outcome {
            Err(error) if error.kind.hands_over() && !request.is_fallback && request.job.is_none() => {
                self.core.hand_over(request, error, timing);
            }
            outcome => self.core.write(answers, &request, &outcome, loan, timing),
        }
    }
}

/// The answer to a cancelled call, which nobody may be waiting for.
pub(crate) fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "the caller cancelled")
}

/// The answer to a call whose deadline passed here, `after` its arrival.
pub(crate) fn too_late(after: Duration) -> Error {
    Error::new(
        ErrorKind::DeadlineExceeded,
        format!(
            "the deadline passed in the worker, {} ms after arrival",
            after.as_millis()
        ),
    )
}

fn panicked(what: &str, panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    Error::new(ErrorKind::Internal, format!("{what} panicked: {text}"))
}
