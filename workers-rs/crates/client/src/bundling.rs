//! Calls that travel as one message, as far as workers ask for it.
//!
//! Nobody waits for others: together are those that leave together anyway. How many, the workers say in their answers:
//! as many of these requests as take a worker no time worth sharing with another.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use npufleet_link::{Bundle, Message, Pieces, Subject, bundle};
use npufleet_wire::header;

/// What stands before a bundle's name in its reply subject, where a call's number would.
const WORD: &str = "bundle-";

/// Calls of one subject that leave together.
struct Open {
    subject: Subject,
    /// The number of the first of them, which names the bundle.
    name: u64,
    bundle: Bundle,
}

pub(crate) struct Bundling {
    inbox_prefix: String,
    /// How many requests may share a bundle, by subject; where it is one, the subject is not here.
    limits: HashMap<Subject, usize, RandomState>,
    open: Vec<Open>,
    /// Memory for bundles.
    spare: Vec<Bundle>,
}

impl Bundling {
    pub(crate) fn new(inbox_prefix: String) -> Self {
        Self {
            inbox_prefix,
            limits: HashMap::default(),
            open: Vec::new(),
            spare: Vec::new(),
        }
    }

    /// The name of the bundle that an answer on `subject` is for: nobody received it.
    pub(crate) fn name(&self, subject: &str) -> Option<u64> {
        subject.get(self.inbox_prefix.len()..)?.strip_prefix(WORD)?.parse().ok()
    }

    /// How many requests to a subject may share a bundle.
    pub(crate) fn limit(&self, subject: &Subject) -> usize {
        self.limits.get(subject).copied().unwrap_or(1)
    }

    /// Takes note of what an answer says about requests like the one to `subject`.
    pub(crate) fn learn(&mut self, subject: &Subject, answer: &Message) {
        let said = answer.headers().get(header::BUNDLE_LIMIT);
        let limit = said
            .and_then(|limit| limit.parse().ok())
            .unwrap_or(1)
            .min(bundle::PARTS);
        if limit == self.limit(subject) {
            return;
        }
        if limit > 1 {
            self.limits.insert(subject.clone(), limit);
        } else {
            self.limits.remove(subject);
        }
    }

    /// Forgets what was said: others may answer from now on. Nothing is open.
    pub(crate) fn forget(&mut self) {
        self.limits.clear();
    }

    /// Has `add` put a call into its subject's bundle, and returns the name of that.
    pub(crate) fn join(
        &mut self,
        subject: &Subject,
        number: u64,
        pieces: &mut Pieces,
        add: impl FnOnce(&mut Bundle),
    ) -> u64 {
        let limit = self.limit(subject);
        let index = self.open.iter().position(|open| open.subject == *subject);
        let index = index.unwrap_or_else(|| {
            self.open.push(Open {
                subject: subject.clone(),
                name: number,
                bundle: self.spare.pop().unwrap_or_default(),
            });
            self.open.len() - 1
        });
        let Open { name, bundle, .. } = &mut self.open[index];
        let name = *name;
        add(bundle);
        if bundle.is_full() || bundle.count() >= limit {
            let open = self.open.swap_remove(index);
            self.publish(open, pieces);
        }
        name
    }

    /// Sends everything that is open.
    pub(crate) fn leave(&mut self, pieces: &mut Pieces) {
        while let Some(open) = self.open.pop() {
            self.publish(open, pieces);
        }
    }

    fn publish(&mut self, mut open: Open, pieces: &mut Pieces) {
        let reply = format!("{}{WORD}{}", self.inbox_prefix, open.name);
        open.bundle.publish(&open.subject, Some(&reply), pieces);
        self.spare.push(open.bundle);
    }
}
