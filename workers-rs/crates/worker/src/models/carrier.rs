//! A model on its device, and on the next one when that device fails: what requests reach.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use npufleet_inference::{Joint, Model};
use npufleet_wire::{Error, ErrorKind, Frame, Layout, Result};
use parking_lot::{Condvar, Mutex};
use tokio::sync::mpsc::UnboundedSender;

use crate::endpoint::{CPU, DEVICES, Network};

/// How long requests wait until the next device serves a model whose device is lost.
const SUCCESSION: Duration = Duration::from_secs(30);

/// A device failed under a model.
pub(crate) struct Failure {
    pub(crate) carrier: Arc<Carrier>,
    pub(crate) reason: String,
}

/// A model on a device; once that fails, whatever took its place.
pub(crate) struct Carrier {
    model: Model,
    device: &'static str,
    failures: UnboundedSender<Failure>,
    /// Itself, for whoever hears of its failure.
    this: std::sync::Weak<Self>,
    /// Once it is known: what does the work from now on, or that nothing does.
    successor: OnceLock<Option<Arc<Self>>>,
    waiting: Mutex<()>,
    known: Condvar,
}

impl Carrier {
    pub(crate) fn new(model: Model, failures: UnboundedSender<Failure>) -> Arc<Self> {
        // `GPU.0` is a `GPU`.
        let kind = model.device().split('.').next().unwrap_or_default();
        let device = DEVICES.into_iter().find(|known| *known == kind).unwrap_or(CPU);
        Arc::new_cyclic(|this| Self {
            model,
            device,
            failures,
            this: this.clone(),
            successor: OnceLock::new(),
            waiting: Mutex::new(()),
            known: Condvar::new(),
        })
    }

    pub(crate) fn model(&self) -> &Model {
        &self.model
    }

    /// Where the model itself is, whatever took its place.
    pub(crate) fn own_device(&self) -> &'static str {
        self.device
    }

    /// Says what does the work from now on; only the first word counts.
    pub(crate) fn succeed(&self, carrier: Option<Arc<Self>>) {
        let _waiting = self.waiting.lock();
        // Later words would come from a second failure of the same device, which moved everything already.
        let _ = self.successor.set(carrier);
        self.known.notify_all();
    }

    /// Why the device is believed to have failed, if these outcomes say so.
    fn failure(&self, outcomes: &[Result<Bytes>]) -> Option<Error> {
        let find = |kind| {
            outcomes
                .iter()
                .filter_map(|it| it.as_ref().err())
                .find(|error| error.kind == kind)
        };
        if let Some(error) = find(ErrorKind::DeviceLost) {
            return Some(error.clone());
        }
        let error = find(ErrorKind::Internal).filter(|_| self.device != CPU)?;
        // Either these values are what the model cannot take, or the device fails whatever it gets.
        self.model.answers().err().map(|_| error.clone())
    }

    /// Waits for what does the work from now on.
    fn wait(&self) -> Option<Arc<Self>> {
        let mut waiting = self.waiting.lock();
        if self.successor.get().is_none() {
            self.known.wait_for(&mut waiting, SUCCESSION);
        }
        self.successor.get().cloned().flatten()
    }
}

impl Network for Carrier {
    fn device(&self) -> &str {
        match self.successor.get() {
            Some(Some(next)) => next.device(),
            _ => self.device,
        }
    }

    fn joint(&self) -> Joint {
        self.model.joint()
    }

    fn check(&self, layout: &Layout) -> Result<usize> {
        self.model.check(layout)
    }

    fn infer(&self, members: &[Frame]) -> Vec<Result<Bytes>> {
        if let Some(Some(next)) = self.successor.get() {
            return next.infer(members);
        }
        let mut outcomes = self.model.infer(members);
        let Some(error) = self.failure(&outcomes) else {
            return outcomes;
        };
        if let Some(carrier) = self.this.upgrade() {
            let reason = error.message.clone();
            // Nobody listens when the worker ends.
            let _ = self.failures.send(Failure { carrier, reason });
        }
        let next = self.wait();
        let failed = |outcome: &Result<Bytes>| {
            outcome
                .as_ref()
                .is_err_and(|error| matches!(error.kind, ErrorKind::DeviceLost | ErrorKind::Internal))
        };
        let places: Vec<_> = (0..outcomes.len()).filter(|index| failed(&outcomes[*index])).collect();
        let again: Vec<_> = places.iter().map(|index| members[*index].clone()).collect();
        let answers = match next {
            Some(next) => next.infer(&again),
            None => vec![Err(Error::new(ErrorKind::DeviceLost, error.message)); again.len()],
        };
        for (place, answer) in places.into_iter().zip(answers) {
            outcomes[place] = answer;
        }
        outcomes
    }
}
