//! A way for jobs to one subject: what their messages have in common, and what tells whether the broker has them.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use npufleet_client::{HeaderBlock, Pieces, Store, Subject};
use npufleet_wire::{header, job};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};
use rustix::rand::{GetRandomFlags, getrandom};

use crate::flight::Flight;
use crate::fork::Generation;
use crate::headers::push_all;
use crate::hub::{Asked, Hub, alive, now_us};
use crate::job_batch::JobBatch;
use crate::layout::Layouts;
use crate::payloads::Frame;

/// Bytes of a job's id, which are written as twice as many digits.
const ID: usize = 16;
/// So many of them, the first, are the time; the others are more than anybody can guess.
const TIME: usize = 6;

/// Where jobs go that differ in their tensors only.
///
/// The contract is checked in Python, as for [`Route`](crate::route::Route). A flight is `plain` when the broker has stored
/// what was sent. Jobs that leave in one turn of the event loop are stored together.
#[pyclass(frozen, module = "npufleet._native")]
pub(crate) struct JobRoute {
    hub: Weak<Hub>,
    generation: Generation,
    subject: Subject,
    headers: HeaderBlock,
    layouts: Layouts,
}

impl JobRoute {
    pub(crate) fn new(
        py: Python<'_>,
        hub: &Arc<Hub>,
        generation: Generation,
        subject: &str,
        main_input: Option<String>,
        headers: &Bound<'_, PyDict>,
    ) -> PyResult<Self> {
        let mut block = HeaderBlock::default();
        push_all(py, &mut block, headers)?;
        Ok(Self {
            hub: Arc::downgrade(hub),
            generation,
            subject: subject.into(),
            headers: block,
            layouts: Layouts::new(main_input),
        })
    }

    pub(crate) fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The headers of one job.
    pub(crate) fn headers(&self, py: Python<'_>, id: &str, more: Option<&Bound<'_, PyDict>>) -> PyResult<HeaderBlock> {
        let mut headers = self.headers.clone();
        headers.push(header::JOB_ID, id);
        headers.push(header::MESSAGE_ID, id);
        headers.push_number(header::SUBMITTED, now_us());
        if let Some(more) = more {
            push_all(py, &mut headers, more)?;
        }
        Ok(headers)
    }

    /// The frame of tensors like some that were learnt, if it travels in the message.
    pub(crate) fn frame(&self, py: Python<'_>, tensors: &Bound<'_, PyAny>) -> Option<Bytes> {
        let (layout, header) = self.layouts.find(py, tensors, py.None().bind(py))?;
        let is_inline = header.len() + layout.bytes() <= job::INLINE_BYTES;
        is_inline.then(|| layout.join(py, &header))?
    }

    /// Sends one job, and `ahead` of it what belongs to the same batch.
    pub(crate) fn send(&self, py: Python<'_>, last: Last, ahead: Pieces, seconds: f64) -> PyResult<Py<Flight>> {
        let asked = Asked {
            subject: self.subject.clone(),
            frame: Frame::Inline(last.frame),
            accepts: false,
            learns: None,
            store: Some(Store {
                headers: last.headers,
                ahead,
                count: last.count,
                gathers: last.gathers,
            }),
            deadline_us: now_us() + (seconds * 1e6) as u64,
            headers: None,
            origin: last.origin,
            half_time: false,
        };
        self.hub()?.start(py, asked)
    }

    pub(crate) fn hub(&self) -> PyResult<Arc<Hub>> {
        self.generation.check()?;
        alive(&self.hub)
    }
}

/// The message that the broker answers.
pub(crate) struct Last {
    pub(crate) headers: HeaderBlock,
    pub(crate) frame: Bytes,
    /// How many messages its batch has; one when it is alone.
    pub(crate) count: usize,
    /// Whether it may be stored together with others.
    pub(crate) gathers: bool,
    pub(crate) origin: Py<PyAny>,
}

#[pymethods]
impl JobRoute {
    /// Send a job; None when its tensors are for Python to look at, or there is no connection now.
    ///
    /// The flight's origin is the job's id: `job_id`, or one at random. `headers` are further ones. It fails as
    /// `unknown` when there is no answer within so many seconds.
    #[pyo3(signature = (tensors, seconds, headers=None, job_id=None))]
    fn begin<'py>(
        &self,
        py: Python<'py>,
        tensors: &Bound<'py, PyAny>,
        seconds: f64,
        headers: Option<&Bound<'py, PyDict>>,
        job_id: Option<Bound<'py, PyString>>,
    ) -> PyResult<Option<Py<Flight>>> {
        let hub = self.hub()?;
        let Some(frame) = self.frame(py, tensors).filter(|_| hub.core().is_connected()) else {
            return Ok(None);
        };
        let id = match job_id {
            Some(id) => id,
            None => PyString::new(py, &new_ids(1)?[0]),
        };
        let last = Last {
            headers: self.headers(py, id.to_str()?, headers)?,
            frame,
            count: 1,
            gathers: true,
            origin: id.into_any().unbind(),
        };
        self.send(py, last, Pieces::default(), seconds).map(Some)
    }

    /// Remember the header of a frame that Python made of these tensors, if all such frames are made alike.
    fn learn(&self, py: Python<'_>, tensors: &Bound<'_, PyAny>, frame: &Bound<'_, PyBytes>) {
        let keep = |_: &_, header: &[u8]| Bytes::copy_from_slice(header);
        self.layouts
            .learn(py, tensors, py.None().bind(py), frame.as_bytes(), keep);
    }

    /// Begin an atomic batch; None when there is no connection now.
    fn batch(slf: Py<Self>) -> PyResult<Option<JobBatch>> {
        let is_connected = slf.get().hub()?.core().is_connected();
        Ok(is_connected.then(|| JobBatch::new(slf)))
    }
}

/// Ids that nobody can guess. They begin with the time in milliseconds, so that the broker has next to each other in memory
/// what it looks for at the same time.
pub(crate) fn new_ids(count: usize) -> PyResult<Vec<String>> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut random = vec![0; count * ID];
    let mut filled = 0;
    while filled < random.len() {
        filled += getrandom(&mut random[filled..], GetRandomFlags::empty()).map_err(std::io::Error::from)?;
    }
    let time = (now_us() / 1000).to_be_bytes();
    random
        .chunks_mut(ID)
        .for_each(|id| id[..TIME].copy_from_slice(&time[time.len() - TIME..]));
    let digits = |byte: &u8| [byte >> 4, byte & 15].map(|digit| char::from(DIGITS[usize::from(digit)]));
    Ok(random
        .chunks(ID)
        .map(|id| id.iter().flat_map(digits).collect())
        .collect())
}
