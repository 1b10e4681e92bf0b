//! The NATS services protocol (ADR-32): `PING`, `INFO` and `STATS` for whoever looks at the fleet with a NATS tool.

use std::time::SystemTime;

use npufleet_link::Message;
use npufleet_wire::{Result, Route, contract};
use serde_json::{Map, Value, json};

use crate::core::{Core, ENGINE};
use crate::intake::Target;

/// The service's name; every worker is an instance of it.
const NAME: &str = "npufleet";

/// What is asked of a service.
#[derive(Clone, Copy)]
pub(crate) enum Verb {
    Ping,
    Info,
    Stats,
}

impl Core {
    /// Listens on the service's subjects.
    ///
    /// # Errors
    /// When the worker's id makes no subject.
    pub(crate) fn serve_tools(&self) -> Result<()> {
        for (name, verb) in [("PING", Verb::Ping), ("INFO", Verb::Info), ("STATS", Verb::Stats)] {
            for subject in [
                format!("$SRV.{name}"),
                format!("$SRV.{name}.{NAME}"),
                format!("$SRV.{name}.{NAME}.{}", self.id),
            ] {
                self.listen(&subject, None, Target::Service(verb))?;
            }
        }
        Ok(())
    }

    /// Answers what is asked of the service.
    pub(crate) fn tell(&self, verb: Verb, message: &Message) {
        let Some(reply) = message.reply() else { return };
        let body = match verb {
            Verb::Ping => self.describe("ping_response"),
            Verb::Info => self.info(),
            Verb::Stats => self.statistics(),
        };
        self.send(|pieces| pieces.publish(&reply, None, b"", &body.to_string().into()));
    }

    fn describe(&self, kind: &str) -> Value {
        json!({
            "type": format!("io.nats.micro.v1.{kind}"),
            "name": NAME,
            "id": self.id,
            "version": env!("CARGO_PKG_VERSION"),
            "metadata": {
                "engine": ENGINE,
                "host": host(),
                "pid": std::process::id().to_string(),
                "devices": self.devices.lock().to_string(),
                "contract": contract::VERSION.to_string(),
            },
        })
    }

    fn info(&self) -> Value {
        let endpoints = self.endpoints.read();
        let rows = endpoints.values().map(|endpoint| {
            let metadata = endpoint.metadata();
            json!({"name": endpoint.name, "subject": endpoint.pattern, "queue_group": Route::Call.queue(), "metadata": metadata})
        });
        let mut info = self.describe("info_response");
        info["description"] = json!("Tensor operations on NPU, GPU and CPU");
        info["endpoints"] = rows.collect();
        info
    }

    fn statistics(&self) -> Value {
        let endpoints = self.endpoints.read();
        let rows = endpoints.values().map(|endpoint| {
            let queued = self.queue.count(|request| request.endpoint.name == endpoint.name);
            let mut row = Map::from_iter([
                ("name".to_owned(), json!(endpoint.name)),
                ("subject".to_owned(), json!(endpoint.pattern)),
                ("queue_group".to_owned(), json!(Route::Call.queue())),
            ]);
            if let Value::Object(counters) = endpoint.statistics.to_json(queued) {
                row.extend(counters);
            }
            Value::Object(row)
        });
        let mut statistics = self.describe("stats_response");
        statistics["started"] = json!(self.started);
        statistics["endpoints"] = rows.collect();
        statistics
    }
}

fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned());
    name.or_else(|_| std::env::var("HOSTNAME"))
        .unwrap_or_else(|_| "unknown".to_owned())
}

/// A moment as RFC 3339 in UTC with milliseconds.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days.cast_signed());
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z",
        since.subsec_millis()
    )
}

/// The date of a day counted from 1970-01-01, by the algorithm of Howard Hinnant's `civil_from_days`.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 {
        month_index + 3
    } else {
        month_index - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_are_rfc3339() {
        let at = |seconds, millis| {
            rfc3339(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(millis))
        };
        assert_eq!(at(0, 0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_827_696, 789), "2000-02-29T12:34:56.789Z");
        assert_eq!(at(1_767_225_599, 999), "2025-12-31T23:59:59.999Z");
    }
}
