//! Why a worker could not run. How a request fails is [`npufleet_wire::Error`].

/// Why a worker could not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A field of the configuration makes no sense.
    #[error("{0}")]
    Configuration(String),
    /// The broker's address, credentials or certificates cannot be used.
    #[error("cannot connect to {url}: {reason}")]
    Connect {
        /// The address, without credentials.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// The broker connection ended for good.
    #[error("lost the broker: {0}")]
    Broker(String),
    /// The operating system refused something.
    #[error(transparent)]
    System(#[from] std::io::Error),
}
