//! EventBridge on one machine: PutEvents, the rules, the schedule.
//!
//! An accepted entry is in the store as the invocations it causes before PutEvents is answered. The rules are the
//! deployment's: everything on the bus goes to `post`, but `connection.gone` to `manage`.

use std::{sync::Arc, time::Duration};

use events::Timing;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::{queue::Queue, randomness};

/// The bus's name.
pub const BUS: &str = "webchat-local";

/// EventBridge's limit of entries in a call.
const MAX_ENTRIES: usize = 10;
/// EventBridge's limit of a call, in bytes of its entries.
const MAX_BYTES: usize = 256 * 1024;
/// What an entry's time counts for.
const TIME_BYTES: usize = 14;

/// Source, detail-types, and the function they are for.
const RULES: [(&str, &[&str], &str); 2] = [
    ("webchat", &["welcome", "chat", "broadcast", "deliver", "receipt"], "post"),
    ("webchat", &["connection.gone"], "manage"),
];

/// The event bus.
pub(crate) struct EventBridge {
    queue: Arc<Queue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutEvents {
    #[serde(default)]
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    source: Option<String>,
    detail_type: Option<String>,
    detail: Option<String>,
    event_bus_name: Option<String>,
    /// Seconds since 1970.
    time: Option<f64>,
    #[serde(default)]
    resources: Vec<String>,
}

impl Entry {
    /// What it counts for in the limit of a call.
    fn bytes(&self) -> usize {
        let texts = [&self.source, &self.detail_type, &self.detail].into_iter().flatten();
        let time = self.time.map_or(0, |_| TIME_BYTES);
        time + texts.chain(&self.resources).map(String::len).sum::<usize>()
    }

    /// Whether it is for our bus, by name or by ARN. Without a name it is for the account's default bus.
    fn is_for_us(&self) -> bool {
        let name = self.event_bus_name.as_deref().unwrap_or_default();
        name.rsplit_once(":event-bus/").map_or(name, |(_, name)| name) == BUS
    }
}

/// What an entry comes to: its EventId, or code and message.
type Accepted = Result<String, (&'static str, String)>;

impl EventBridge {
    pub(crate) fn new(queue: Arc<Queue>) -> EventBridge {
        EventBridge { queue }
    }

    /// Answers PutEvents: status and body.
    pub(crate) fn put_events(&self, body: &str) -> (u16, Value) {
        let entries = match serde_json::from_str::<PutEvents>(body) {
            Ok(request) => request.entries,
            Err(error) => return invalid(&error.to_string()),
        };
        if entries.is_empty() || entries.len() > MAX_ENTRIES {
            return invalid(
                "1 validation error detected: Value at 'entries' failed to satisfy constraint: Member must have length between 1 and 10",
            );
        }
        if entries.iter().map(Entry::bytes).sum::<usize>() > MAX_BYTES {
            return invalid("Total size of the entries in the request is over the limit.");
        }
        let mut calls = Vec::new();
        let results: Vec<Accepted> = entries.into_iter().map(|entry| accept(entry, &mut calls)).collect();
        match self.queue.accept(calls) {
            Ok(()) => (200, answer(&results)),
            Err(error) => {
                error!(%error, "accepted events could not be kept");
                (500, json!({"__type": "InternalException", "message": "the events could not be kept"}))
            }
        }
    }

    /// Runs `manage` regularly.
    pub(crate) async fn run_schedule(&self, timing: Timing, stop: CancellationToken) {
        let mut wait = first_sweep(&timing);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
            if let Err(error) = self.queue.accept(vec![("manage", scheduled_event())]) {
                error!(%error, "the schedule could not be kept");
            }
            wait = timing.sweep_interval;
        }
    }
}

/// When the first sweep begins, counted from the start. Soon: an earlier process may have left connections that no
/// longer are, and by then every one of them is old enough to be judged.
#[must_use]
pub fn first_sweep(timing: &Timing) -> Duration {
    timing.early_gone + timing.sweep_interval / 60
}

/// Checks an entry as EventBridge does and adds the calls its rules make.
fn accept(entry: Entry, calls: &mut Vec<(&'static str, String)>) -> Accepted {
    let is_for_us = entry.is_for_us();
    let missing = |name: &str| {
        Err(("InvalidArgument", format!("Parameter {name} is not valid. Reason: {name} is a required argument.")))
    };
    let Some(source) = entry.source.filter(|s| !s.is_empty()) else { return missing("Source") };
    let Some(detail_type) = entry.detail_type.filter(|s| !s.is_empty()) else { return missing("DetailType") };
    let Some(detail) = entry.detail.filter(|s| !s.is_empty()) else { return missing("Detail") };
    if source.starts_with("aws.") {
        return Err(("NotAuthorizedForSourceException", "Not authorized for the source.".to_owned()));
    }
    let detail = match serde_json::from_str::<Value>(&detail) {
        Ok(detail) if detail.is_object() => detail,
        _ => return Err(("MalformedDetail", "Detail is malformed.".to_owned())),
    };
    let id = randomness::uuid();
    // A bus that does not exist takes everything and delivers nothing, as on AWS.
    if is_for_us {
        let targets = RULES.iter().filter(|(from, kinds, _)| *from == source && kinds.contains(&detail_type.as_str()));
        let envelope = Envelope { id: &id, detail_type: &detail_type, source: &source, resources: &entry.resources };
        calls.extend(targets.map(|(_, _, target)| (*target, envelope.around(&detail, entry.time))));
    }
    Ok(id)
}

/// What an event is delivered in.
struct Envelope<'a> {
    id: &'a str,
    detail_type: &'a str,
    source: &'a str,
    resources: &'a [String],
}

impl Envelope<'_> {
    /// `time` in seconds since 1970, as the sender said; written without a fraction.
    fn around(&self, detail: &Value, time: Option<f64>) -> String {
        #[expect(clippy::cast_possible_truncation, reason = "a time beyond the calendar is none")]
        let time = time.and_then(|seconds| chrono::DateTime::from_timestamp(seconds as i64, 0));
        let time = time.unwrap_or_else(events::time::now).to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        let Envelope { id, detail_type, source, resources } = self;
        json!({
            "version": "0", "id": id, "detail-type": detail_type, "source": source, "account": "000000000000",
            "time": time, "region": "us-east-1", "resources": resources, "detail": detail,
        })
        .to_string()
    }
}

fn scheduled_event() -> String {
    let id = randomness::uuid();
    let rule = "arn:aws:events:us-east-1:000000000000:rule/webchat-local-sweep".to_owned();
    let envelope = Envelope { id: &id, detail_type: "Scheduled Event", source: "aws.events", resources: &[rule] };
    envelope.around(&json!({}), None)
}

fn answer(results: &[Accepted]) -> Value {
    let entry = |result: &Accepted| match result {
        Ok(id) => json!({"EventId": id}),
        Err((code, message)) => json!({"ErrorCode": code, "ErrorMessage": message}),
    };
    let failed = results.iter().filter(|result| result.is_err()).count();
    json!({"FailedEntryCount": failed, "Entries": results.iter().map(entry).collect::<Vec<_>>()})
}

fn invalid(message: &str) -> (u16, Value) {
    (400, json!({"__type": "ValidationException", "message": message}))
}
