//! Accepted messages of which nobody knows what became: for `webchat undelivered`, and for every test that asks whether
//! something was lost.
//!
//! One pass over the log pairs messages with their outcomes; only for those left over the delivery stream is read, which is
//! consistent.

use std::collections::BTreeMap;

use chrono::{DateTime, Duration, Utc};
use events::{Event, EventId, EventLog, ReadError, RecordedEvent, delivery};

/// Clocks of hosts are not further apart.
const CLOCKS: Duration = Duration::minutes(1);

/// Messages whose outcome has not been read yet, and outcomes whose message has not.
#[derive(Default)]
pub struct Undelivered {
    messages: BTreeMap<EventId, RecordedEvent>,
    /// The first outcome may stand before its message if a host's clock was behind.
    early: BTreeMap<EventId, DateTime<Utc>>,
}

impl Undelivered {
    /// The next event in order of time. Messages later than `due` may still be on their way and do not count.
    pub fn take(&mut self, recorded: RecordedEvent, due: DateTime<Utc>) {
        if let Some(message) = delivery::of_stream(&recorded.stream) {
            if self.messages.remove(&message).is_none() && recorded.at <= due {
                self.early.insert(message, recorded.at);
                if self.early.len().is_power_of_two() {
                    self.early.retain(|_, at| *at > recorded.at - CLOCKS);
                }
            }
        } else if is_message(&recorded.event) && recorded.at <= due && self.early.remove(&recorded.id).is_none() {
            self.messages.insert(recorded.id, recorded);
        }
    }

    /// The messages that have no outcome, in order of id. Each is looked up.
    pub async fn confirm(self, log: &EventLog) -> Result<Vec<RecordedEvent>, ReadError> {
        let mut found = Vec::new();
        for recorded in self.messages.into_values() {
            if log.read_stream(&delivery::stream(recorded.id)).next().await?.is_none() {
                found.push(recorded);
            }
        }
        Ok(found)
    }
}

fn is_message(event: &Event) -> bool {
    matches!(event, Event::MessageBroadcast(_) | Event::MessageSent(_))
}
