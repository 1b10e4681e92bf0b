//! Jobs that the broker stores all at once, or none of them (ADR-50).

use bytes::Bytes;
use npufleet_client::{HeaderBlock, Pieces, Refusal, number_in_batch};
use parking_lot::Mutex;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

use crate::errors::refused;
use crate::flight::Flight;
use crate::job_route::{JobRoute, Last, new_ids};

/// The server's limit.
const JOBS: usize = 1000;
/// What the frames of one batch hold at most, in bytes.
const BYTES: usize = 32 << 20;

/// Jobs of one route that are sent together; it is filled, and then sent.
#[pyclass(frozen, module = "npufleet._native")]
pub(crate) struct JobBatch {
    route: Py<JobRoute>,
    jobs: Mutex<Jobs>,
}

#[derive(Default)]
struct Jobs {
    jobs: Vec<Job>,
    bytes: usize,
}

struct Job {
    id: String,
    headers: Option<Py<PyDict>>,
    frame: Bytes,
}

impl JobBatch {
    pub(crate) fn new(route: Py<JobRoute>) -> Self {
        Self {
            route,
            jobs: Mutex::default(),
        }
    }
}

impl Jobs {
    fn room(&self) -> usize {
        JOBS - self.jobs.len()
    }

    /// Takes a job, unless the batch is full.
    fn push(&mut self, job: Job) -> bool {
        let has_room = self.jobs.is_empty() || (self.room() > 0 && self.bytes + job.frame.len() <= BYTES);
        if has_room {
            self.bytes += job.frame.len();
            self.jobs.push(job);
        }
        has_room
    }
}

#[pymethods]
impl JobBatch {
    /// Add the jobs on `many[start:stop]`, all with these further headers; return how many, up to one that is for Python
    /// to look at or has no room.
    #[pyo3(signature = (many, start, stop, headers=None))]
    fn extend(
        &self,
        py: Python<'_>,
        many: &Bound<'_, PyList>,
        start: usize,
        stop: usize,
        headers: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<usize> {
        let (route, mut jobs) = (self.route.get(), self.jobs.lock());
        let most = stop.saturating_sub(start).min(jobs.room());
        for (index, id) in new_ids(most)?.into_iter().enumerate() {
            let Some(frame) = route.frame(py, &many.get_item(start + index)?) else {
                return Ok(index);
            };
            let headers = headers.map(|headers| headers.clone().unbind());
            if !jobs.push(Job { id, headers, frame }) {
                return Ok(index);
            }
        }
        Ok(most)
    }

    /// Add the job on a frame that Python made; false when it has no room.
    #[pyo3(signature = (frame, headers=None, job_id=None))]
    fn append(
        &self,
        frame: &Bound<'_, PyBytes>,
        headers: Option<Py<PyDict>>,
        job_id: Option<String>,
    ) -> PyResult<bool> {
        let id = match job_id {
            Some(id) => id,
            None => new_ids(1)?.remove(0),
        };
        let frame = Bytes::copy_from_slice(frame.as_bytes());
        Ok(self.jobs.lock().push(Job { id, headers, frame }))
    }

    /// Send it; the flight is `plain` once the broker has stored all of it.
    fn send(&self, py: Python<'_>, seconds: f64) -> PyResult<Py<Flight>> {
        let route = self.route.get();
        let (limit, batch) = (route.hub()?.core().max_payload(), new_ids(1)?.remove(0));
        let jobs = self.jobs.lock();
        let count = jobs.jobs.len();
        if count == 0 {
            return Err(PyValueError::new_err("the batch is empty"));
        }
        let (mut ahead, mut last) = (Pieces::default(), (HeaderBlock::default(), Bytes::new()));
        for (number, job) in jobs.jobs.iter().enumerate() {
            let more = job.headers.as_ref().map(|headers| headers.bind(py));
            let mut headers = route.headers(py, &job.id, more)?;
            let is_last = number + 1 == count;
            number_in_batch(&mut headers, &batch, number, is_last);
            let size = headers.as_bytes().len() + job.frame.len();
            if size > limit {
                return Err(refused(py, Refusal::TooLarge { size, limit }));
            }
            if is_last {
                last = (headers, job.frame.clone());
            } else {
                ahead.publish(route.subject(), None, headers.as_bytes(), &job.frame);
            }
        }
        let last = Last {
            headers: last.0,
            frame: last.1,
            count,
            gathers: false,
            origin: py.None(),
        };
        route.send(py, last, ahead, seconds)
    }

    /// The ids of its jobs.
    #[getter]
    fn ids(&self) -> Vec<String> {
        self.jobs.lock().jobs.iter().map(|job| job.id.clone()).collect()
    }

    /// Its jobs: id, frame, further headers.
    fn jobs<'py>(&self, py: Python<'py>) -> Vec<(String, Bound<'py, PyBytes>, Option<Py<PyDict>>)> {
        let jobs = self.jobs.lock();
        let each = jobs.jobs.iter();
        each.map(|job| {
            let headers = job.headers.as_ref().map(|headers| headers.clone_ref(py));
            (job.id.clone(), PyBytes::new(py, &job.frame), headers)
        })
        .collect()
    }

    fn __len__(&self) -> usize {
        self.jobs.lock().jobs.len()
    }
}
