//! Models that are registered and not served yet: a job waits for them, a call cannot.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long after its start a worker believes in models that it has not heard of, unless it has read the registry.
const LOOK: Duration = Duration::from_secs(5);

/// Names of models that may be served in a moment.
#[derive(Debug)]
pub(crate) struct Coming(Mutex<State>);

#[derive(Debug)]
struct State {
    started: Instant,
    looked: bool,
    names: HashSet<String>,
}

impl Default for Coming {
    fn default() -> Self {
        Self(Mutex::new(State {
            started: Instant::now(),
            looked: false,
            names: HashSet::new(),
        }))
    }
}

impl Coming {
    /// The registry has been read: these keys (`<name>.<version>`) are all that there is.
    pub(super) fn look_through(&self, keys: &[String]) {
        let mut state = self.0.lock();
        state.looked = true;
        let names = keys.iter().filter_map(|key| key.rsplit_once('.'));
        state.names.extend(names.map(|(name, _)| name.to_owned()));
    }

    /// A model was registered or removed, and it is not settled yet what that means.
    pub(super) fn expect(&self, name: &str) {
        self.0.lock().names.insert(name.to_owned());
    }

    /// The model is served, gone or failed to load.
    pub(super) fn settled(&self, name: &str) {
        self.0.lock().names.remove(name);
    }

    /// Whether a model that is not served may be in a moment.
    pub(crate) fn is_coming(&self, name: &str) -> bool {
        let state = self.0.lock();
        state.names.contains(name) || !state.looked && state.started.elapsed() < LOOK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_comes_from_its_registration_until_it_is_settled() {
        let coming = Coming::default();
        assert!(coming.is_coming("any"), "nobody knows yet");
        coming.look_through(&["net.1".to_owned(), "net.2".to_owned()]);
        assert!(coming.is_coming("net") && !coming.is_coming("any"));
        coming.settled("net");
        assert!(!coming.is_coming("net"));
        coming.expect("net");
        assert!(coming.is_coming("net"));
    }
}
