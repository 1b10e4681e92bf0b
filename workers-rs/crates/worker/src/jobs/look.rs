//! Whether jobs are over already: one question to the broker for all that came together.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use npufleet_link::Message;
use npufleet_wire::subject;
use serde_json::json;
use tokio::time::timeout;

use super::gathering::{Gathering, Sender};
use super::stream::{RESULTS, Silence};
use crate::core::Core;

const PATIENCE: Duration = Duration::from_secs(5);
/// Jobs in one question: the broker takes 1,024 subjects, and each job has two.
const MOST: usize = 512;
const NO_SUCH: u16 = 404;
/// The last of several answers.
const END: u16 = 204;

/// What is known about a job: its result, and whether somebody has asked for it to be cancelled.
pub(super) type Known = (Option<Message>, bool);

/// The jobs that are to be looked at.
pub(super) type Looks = Gathering<String, Known>;

/// What the broker has about a job.
pub(super) async fn known(core: &Core, id: &str) -> Result<Known, Silence> {
    core.jobs.looks.ask(id.to_owned()).await
}

impl Core {
    /// Asks about the jobs that wait, those together that came together.
    pub(super) async fn look(self: Arc<Self>) {
        let looks = &self.jobs.looks;
        loop {
            looks.asked().await;
            let mut waiting = std::mem::take(&mut *looks.waiting());
            while !waiting.is_empty() {
                let some = waiting.split_off(waiting.len().saturating_sub(MOST));
                // The next ones need not wait for these.
                tokio::spawn(Arc::clone(&self).look_at(some));
            }
        }
    }

    async fn look_at(self: Arc<Self>, jobs: Vec<(String, Sender<Known>)>) {
        let (result, cancel) = (
            |id: &str| subject::result(&self.prefix, id),
            |id: &str| subject::cancel(&self.prefix, id),
        );
        let wanted: Vec<_> = jobs.iter().flat_map(|(id, _)| [result(id), cancel(id)]).collect();
        let found = self.last_of(&wanted).await;
        for (id, sender) in jobs {
            let answer = match &found {
                Ok(found) => Ok((found.get(&result(&id)).cloned(), found.contains_key(&cancel(&id)))),
                Err(Silence(text)) => Err(Silence(text.clone())),
            };
            // The attempt may have ended with the worker.
            let _ = sender.send(answer);
        }
    }

    /// The last message on each of the subjects of RESULTS that has one.
    pub(super) async fn last_of(&self, subjects: &[String]) -> Result<HashMap<String, Message>, Silence> {
        let question = format!("$JS.API.DIRECT.GET.{RESULTS}");
        let body = Bytes::from(json!({"multi_last": subjects}).to_string());
        let (number, inbox, mut answers) = self.questions.ask_for_many();
        let sent = self.post(|pieces| pieces.publish(&question, Some(&inbox), b"", &body));
        let gathered = async {
            let mut found = HashMap::new();
            while let Some(answer) = answers.recv().await {
                match answer.status() {
                    0 => {
                        let subject = answer.headers().get("Nats-Subject").unwrap_or_default().to_owned();
                        found.insert(subject, answer);
                    }
                    END | NO_SUCH => return Ok(found),
                    status => return Err(Silence(format!("{question}: status {status}"))),
                }
            }
            Err(Silence(format!("{question}: the connection was lost")))
        };
        let silent = || Silence(format!("{question}: no answer in {} s", PATIENCE.as_secs()));
        let gathered = if sent {
            timeout(PATIENCE, gathered).await
        } else {
            Ok(Err(silent()))
        };
        self.questions.forget(number);
        gathered.unwrap_or_else(|_| Err(silent()))
    }
}
