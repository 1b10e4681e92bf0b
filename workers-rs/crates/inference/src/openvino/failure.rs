//! A failed call: OpenVINO's text in one line, and the error kind it becomes.

use std::ffi::{CStr, CString, c_char};
use std::time::Duration;

use npufleet_wire::{Error, ErrorKind};
use openvino_sys::{ov_free, ov_get_last_err_msg, ov_status_e};

/// Longer texts are cut: they are answers to callers, not logs.
const MAX_TEXT: usize = 600;

/// Our own words for a device that does not answer.
const HANGS: &str = "the device does not answer";

/// Words by which the plugins say that the device itself is gone; the C statuses have none for it.
const LOST: [&str; 6] = [
    HANGS,
    "DEVICE_LOST",
    "CL_DEVICE_NOT_AVAILABLE",
    "device lost",
    "No available devices",
    "No available backend",
];

/// Why a call into OpenVINO failed.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) text: String,
}

impl Failure {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into() }
    }

    /// A device did not answer for so long.
    pub(crate) fn hangs(patience: Duration) -> Self {
        Self::new(format!("{HANGS}; waited {} ms", patience.as_millis()))
    }

    /// The error of a model that does not load.
    pub(crate) fn into_load_error(self) -> Error {
        Error::new(
            ErrorKind::InvalidParameter,
            format!("model does not load: {}", self.text),
        )
    }

    /// The error of an inference that failed: `device_lost` where the text says so, `internal` otherwise.
    pub(crate) fn into_run_error(self, device: &str) -> Error {
        let lost = LOST.iter().any(|word| self.text.contains(word));
        let kind = if lost {
            ErrorKind::DeviceLost
        } else {
            ErrorKind::Internal
        };
        Error::new(kind, format!("inference failed on {device}: {}", self.text))
    }
}

/// Turns a status into a result, with the text of the call that just failed.
///
/// OpenVINO keeps one last text for the whole process, so two calls that fail within the same microseconds on
/// different threads can swap their texts. Loading is serialised for this reason.
pub(super) fn check(status: ov_status_e) -> Result<(), Failure> {
    if status == ov_status_e::OK {
        return Ok(());
    }
    // SAFETY: takes no argument; gives null or a string that the caller owns.
    let text = unsafe { take_text(ov_get_last_err_msg().cast_mut()) };
    let text = one_line(text.as_deref().unwrap_or_default());
    Err(Failure::new(if text.is_empty() {
        format!("OpenVINO status {status:?}")
    } else {
        text
    }))
}

/// Copies a string that OpenVINO allocated, and frees it.
///
/// # Safety
/// `text` is null or a NUL-terminated string from OpenVINO that nobody frees afterwards.
pub(super) unsafe fn take_text(text: *mut c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: not null, and NUL-terminated by the caller's promise.
    let copy = unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned();
    // SAFETY: allocated by OpenVINO by the caller's promise; not used again.
    unsafe { ov_free(text) };
    Some(copy)
}

/// A string for OpenVINO; an inner NUL is a failure, not a cut.
pub(super) fn c_text(text: &str) -> Result<CString, Failure> {
    CString::new(text).map_err(|_| Failure::new(format!("text {text:?} has a NUL byte")))
}

/// OpenVINO's text without its source lines, in one line.
fn one_line(text: &str) -> String {
    let mut line = text
        .lines()
        .map(str::trim)
        .filter(|line| {
            let trace = line.starts_with("Exception from ")
                || line.starts_with("Check '")
                || line.starts_with("FrontEnd API failed");
            !line.is_empty() && !trace
        })
        .map(|line| {
            // A plugin's wrapped exception: keep what it says, not where it was thrown.
            line.split_once("Error: Exception from ")
                .map_or(line, |(said, _)| said.trim_end())
        })
        .collect::<Vec<_>>()
        .join(": ");
    if line.is_empty() {
        // Nothing but a failed check: its condition is all there is.
        line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    }
    if line.len() > MAX_TEXT {
        let cut = (0..=MAX_TEXT).rev().find(|at| line.is_char_boundary(*at));
        line.truncate(cut.unwrap_or(0));
        line.push_str(" ...");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_are_dropped_and_lines_joined() {
        let text =
            "Exception from src/a.cpp:84:\nCheck 'x' failed at b.cpp:1:\nError parsing element\nat offset 901\n\n";
        assert_eq!(one_line(text), "Error parsing element: at offset 901");
    }

    #[test]
    fn a_text_of_nothing_but_a_trace_is_kept() {
        assert_eq!(
            one_line("Check 'a == b' failed at c.cpp:1:\n"),
            "Check 'a == b' failed at c.cpp:1:"
        );
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        let line = one_line(&"ä".repeat(1000));
        assert!(line.len() <= MAX_TEXT + 4 && line.ends_with(" ..."));
    }

    #[test]
    fn a_lost_device_is_told_from_a_failed_inference() {
        let lost = Failure::new("L0 zeFenceHostSynchronize result: ZE_RESULT_ERROR_DEVICE_LOST");
        assert_eq!(lost.into_run_error("NPU").kind, ErrorKind::DeviceLost);
        let failed = Failure::new("shape mismatch").into_run_error("CPU");
        assert_eq!(failed.kind, ErrorKind::Internal);
        assert_eq!(failed.message, "inference failed on CPU: shape mismatch");
    }
}
