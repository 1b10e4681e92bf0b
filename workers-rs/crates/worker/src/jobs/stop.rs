//! Why a flow does not go on.

use npufleet_wire::Error;

use super::payloads::Missing;
use super::stream::Silence;

/// What ends a worker's part in a flow.
pub(super) enum Stop {
    /// It has ended in another way, as by its cancellation.
    Over,
    /// It has failed: a step, or the plan.
    Failed(Error),
    /// The broker is away.
    Silent(Silence),
}

impl From<Silence> for Stop {
    fn from(silence: Silence) -> Self {
        Self::Silent(silence)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Missing> for Stop {
    fn from(missing: Missing) -> Self {
        match missing {
            Missing::Lost(error) => Self::Failed(error),
            Missing::Silent(silence) => Self::Silent(silence),
        }
    }
}
