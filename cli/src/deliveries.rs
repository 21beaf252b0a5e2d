//! What became of a message, from its delivery stream: for `history` and `undelivered`.

use anyhow::Result;
use events::{Event, EventId, EventLog, ReadCost, RecordedEvent, delivery};

/// The outcomes recorded for a message.
pub(crate) struct Deliveries(pub(crate) Vec<RecordedEvent>);

impl Deliveries {
    /// Reads them; the cost is added to `cost`.
    pub(crate) async fn of(log: &EventLog, message: EventId, cost: &mut ReadCost) -> Result<Deliveries> {
        let mut reader = log.read_stream(&delivery::stream(message));
        let mut events = Vec::new();
        while let Some(stored) = reader.next().await? {
            events.extend(stored.ok());
        }
        events.sort_by_key(|recorded| (recorded.at, recorded.id));
        *cost += reader.cost();
        Ok(Deliveries(events))
    }

    /// For people: `delivered`, `undeliverable: gone`, `page 0.1: 3 delivered, 1 gone, 0 failed`, or `-`.
    pub(crate) fn text(&self) -> String {
        let outcomes: Vec<String> = self.0.iter().filter_map(|recorded| outcome(&recorded.event)).collect();
        if outcomes.is_empty() { "-".to_owned() } else { outcomes.join("; ") }
    }
}

fn outcome(event: &Event) -> Option<String> {
    match event {
        Event::MessageDelivered(_) => Some("delivered".to_owned()),
        Event::MessageUndeliverable(m) => Some(format!("undeliverable: {}", format!("{:?}", m.reason).to_lowercase())),
        Event::BroadcastDelivered(b) => {
            let (page, attempt) = (b.page, b.attempt);
            Some(format!("page {page}.{attempt}: {} delivered, {} gone, {} failed", b.delivered, b.gone, b.failed))
        }
        _ => None,
    }
}
