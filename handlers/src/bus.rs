//! The bus: publishes notices on EventBridge.
//!
//! EventBridge takes 10 entries and 256 KB a call and may refuse single entries; both stay in here. Used by projector,
//! post and `webchat redeliver`.

use std::time::Duration;

use aws_sdk_eventbridge::{
    Client,
    error::{DisplayErrorContext, ProvideErrorMetadata},
    types::{PutEventsRequestEntry, PutEventsResultEntry},
};
use futures::{StreamExt, stream};
use projections::notices::{Notice, SOURCE};
use tracing::warn;

/// EventBridge's limit of entries in a call.
const MAX_ENTRIES: usize = 10;
/// Bytes of details in a call: EventBridge takes 256 KB, counted with source, detail-type and their like.
const MAX_BYTES: usize = 200_000;
/// Calls in flight at once: what a batch of the stream causes. Nobody counts on the order of notices.
const CALLS: usize = 16;
/// Tries of an entry before it is reported.
const ATTEMPTS: u32 = 3;

/// The event bus.
#[derive(Clone, Debug)]
pub struct Bus {
    client: Client,
    name: String,
    backoff: Duration,
}

/// A notice that did not get onto the bus.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("publishing notice {index}: {why}")]
pub struct Unpublished {
    /// Its place among those given.
    pub index: usize,
    /// Whether EventBridge will never take it.
    pub for_good: bool,
    /// What EventBridge or the network said.
    pub why: String,
}

/// A notice on its way.
struct Entry {
    index: usize,
    detail_type: &'static str,
    detail: String,
}

impl Bus {
    /// The bus `name`; `backoff` is the first wait before another try.
    #[must_use]
    pub fn new(client: Client, name: impl Into<String>, backoff: Duration) -> Bus {
        Bus { client, name: name.into(), backoff }
    }

    /// Publishes the notices, and says which ones are not on the bus after all.
    pub async fn publish(&self, notices: &[Notice]) -> Vec<Unpublished> {
        let mut failed = Vec::new();
        let mut entries = Vec::with_capacity(notices.len());
        for (index, notice) in notices.iter().enumerate() {
            match notice.detail() {
                Ok(detail) => entries.push(Entry { index, detail_type: notice.detail_type(), detail }),
                Err(error) => failed.push(Unpublished { index, for_good: true, why: error.to_string() }),
            }
        }
        let mut puts = stream::iter(calls(entries)).map(|call| self.put(call)).buffer_unordered(CALLS);
        while let Some(unpublished) = puts.next().await {
            failed.extend(unpublished);
        }
        failed.sort_by_key(|unpublished| unpublished.index);
        failed
    }

    /// One call's worth, tried again where EventBridge says so.
    async fn put(&self, mut entries: Vec<Entry>) -> Vec<Unpublished> {
        let mut failed = Vec::new();
        for attempt in 1..=ATTEMPTS {
            let mut again = Vec::new();
            for (entry, failure) in self.put_once(entries).await {
                match failure {
                    Some(failure) if failure.for_good || attempt == ATTEMPTS => failed.push(failure),
                    Some(_) => again.push(entry),
                    None => {}
                }
            }
            if again.is_empty() {
                break;
            }
            warn!(entries = again.len(), attempt, "publishing again what the bus did not take");
            tokio::time::sleep(self.backoff * 2u32.pow(attempt - 1)).await;
            entries = again;
        }
        failed
    }

    async fn put_once(&self, entries: Vec<Entry>) -> Vec<(Entry, Option<Unpublished>)> {
        let request = entries.iter().map(|entry| {
            let request = PutEventsRequestEntry::builder().event_bus_name(&self.name).source(SOURCE);
            request.detail_type(entry.detail_type).detail(&entry.detail).build()
        });
        let results = match self.client.put_events().set_entries(Some(request.collect())).send().await {
            Ok(output) => output.entries.unwrap_or_default(),
            Err(error) => {
                let for_good = error.code() == Some("ValidationException");
                let why = DisplayErrorContext(error).to_string();
                let failure = |entry: &Entry| Some(Unpublished { index: entry.index, for_good, why: why.clone() });
                return entries.into_iter().map(|entry| (failure(&entry), entry)).map(|(f, e)| (e, f)).collect();
            }
        };
        let mut results = results.into_iter();
        entries.into_iter().map(|entry| (failure(&entry, results.next()), entry)).map(|(f, e)| (e, f)).collect()
    }
}

/// Why one entry of an answered call is not on the bus, if so.
fn failure(entry: &Entry, result: Option<PutEventsResultEntry>) -> Option<Unpublished> {
    let (for_good, why) = match result {
        Some(result) => {
            let code = result.error_code?;
            let for_good =
                matches!(code.as_str(), "InvalidArgument" | "MalformedDetail" | "NotAuthorizedForSourceException");
            (for_good, format!("{code}: {}", result.error_message.unwrap_or_default()))
        }
        None => (false, "EventBridge said nothing about it".to_owned()),
    };
    Some(Unpublished { index: entry.index, for_good, why })
}

/// Splits entries into calls that EventBridge takes.
fn calls(entries: Vec<Entry>) -> Vec<Vec<Entry>> {
    let mut calls: Vec<Vec<Entry>> = Vec::new();
    let mut bytes = 0;
    for entry in entries {
        bytes += entry.detail.len();
        match calls.last_mut() {
            Some(call) if call.len() < MAX_ENTRIES && bytes <= MAX_BYTES => call.push(entry),
            _ => {
                bytes = entry.detail.len();
                calls.push(vec![entry]);
            }
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: usize, bytes: usize) -> Entry {
        Entry { index, detail_type: "chat", detail: "x".repeat(bytes) }
    }

    #[test]
    fn a_call_has_at_most_10_entries_and_200_kb_and_keeps_the_order() {
        let split = |sizes: &[usize]| -> Vec<usize> {
            let entries = sizes.iter().enumerate().map(|(index, bytes)| entry(index, *bytes)).collect();
            let calls = calls(entries);
            let order: Vec<_> = calls.iter().flatten().map(|entry| entry.index).collect();
            assert_eq!(order, (0..sizes.len()).collect::<Vec<_>>());
            calls.iter().map(Vec::len).collect()
        };
        assert_eq!(split(&[]), Vec::<usize>::new());
        assert_eq!(split(&[1; 21]), [10, 10, 1]);
        assert_eq!(split(&[98_000; 5]), [2, 2, 1]);
        assert_eq!(split(&[300_000, 1, 1]), [1, 2], "one that is too large alone goes alone, to be refused by itself");
    }
}
