//! Named places where a fault test lets a worker die: `NPUFLEET_FAIL_POINT=<place>:<n>` kills it at the n-th passing.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rustix::process::{Signal, getpid, kill_process};

use crate::events::log;

/// The places, in the order in which a job passes them; the same in both engines.
const PLACES: [&str; 6] = [
    "fetched",
    "looked",
    "executing",
    "executed",
    "committed",
    "acknowledged",
];

/// Counts the passings of one place; costs one comparison where none is set.
#[derive(Debug, Default)]
pub(crate) struct FailPoint {
    place: Option<&'static str>,
    left: AtomicU32,
}

impl FailPoint {
    /// The environment variable that sets one.
    pub(crate) const VARIABLE: &str = "NPUFLEET_FAIL_POINT";

    /// Reads `<place>[:<n>]`; nothing sets no place.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(setting: &str) -> Result<Self, String> {
        if setting.is_empty() {
            return Ok(Self::default());
        }
        let (place, count) = setting.split_once(':').unwrap_or((setting, "1"));
        let known = PLACES.into_iter().find(|known| *known == place);
        match (known, count.parse()) {
            (Some(place), Ok(count)) => Ok(Self {
                place: Some(place),
                left: AtomicU32::new(count),
            }),
            _ => Err(format!(
                "{} is '{setting}'; allowed: <place>:<count>, where the place is {}",
                Self::VARIABLE,
                PLACES.join(", ")
            )),
        }
    }

    /// Dies here, as by `kill -9`, if this is the place and the time.
    pub(super) fn pass(&self, place: &str) {
        if self.place == Some(place)
            && self.left.fetch_sub(1, Relaxed) <= 1
            && let Err(error) = kill_process(getpid(), Signal::KILL)
        {
            log(format_args!("cannot die at {place}: {error}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_one_of_six() {
        assert_eq!(FailPoint::parse("").unwrap().place, None);
        assert_eq!(FailPoint::parse("looked").unwrap().place, Some("looked"));
        let point = FailPoint::parse("committed:3").unwrap();
        assert_eq!((point.place, point.left.load(Relaxed)), (Some("committed"), 3));
        // Another place is passed by.
        point.pass("looked");
        assert_eq!(point.left.load(Relaxed), 3);
        for wrong in ["nowhere", "looked:", "looked:x"] {
            assert!(FailPoint::parse(wrong).unwrap_err().contains("fetched, looked"));
        }
    }
}
