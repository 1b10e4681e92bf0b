//! How often long work asks whether it is still wanted, and how it says how far it is.

use npufleet_wire::Result;

use crate::Context;

/// The context is asked after about this many points, which take well under a millisecond.
pub(crate) const POINTS_PER_CHECK: usize = 1 << 16;

/// Asks the context now and then.
pub(crate) struct Pace<'a> {
    points: usize,
    context: &'a Context<'a>,
}

impl<'a> Pace<'a> {
    pub(crate) const fn new(context: &'a Context<'a>) -> Self {
        Self { points: 0, context }
    }

    /// Counts work of so many points, and asks the context when enough has been done since it was asked last.
    ///
    /// # Errors
    /// `cancelled` when the work is no longer wanted.
    pub(crate) fn step(&mut self, points: usize) -> Result<()> {
        self.points += points;
        if self.points < POINTS_PER_CHECK {
            return Ok(());
        }
        self.points = 0;
        self.context.check()
    }

    /// Says that the share `done` (0 to 1) of the work is done.
    pub(crate) fn report(&self, done: f64) {
        self.context.report(done);
    }
}
