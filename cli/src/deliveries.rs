//! What became of a message, from its delivery stream: for `history`.

use anyhow::Result;
use events::{Event, EventId, EventLog, ReadCost, RecordedEvent, Stored, delivery};

use crate::flaws::Flaws;

/// What is recorded of a message's deliveries, unread.
pub(crate) struct Recorded {
    stored: Vec<Stored>,
    pub(crate) cost: ReadCost,
}

impl Recorded {
    /// Reads it, consistently.
    pub(crate) async fn of(log: &EventLog, message: EventId) -> Result<Recorded> {
        let mut reader = log.read_stream(&delivery::stream(message));
        let mut stored = Vec::new();
        while let Some(one) = reader.next().await? {
            stored.push(one);
        }
        Ok(Recorded { stored, cost: reader.cost() })
    }

    /// The outcomes in order of time.
    pub(crate) fn outcomes(self, flaws: &mut Flaws) -> Vec<RecordedEvent> {
        let mut outcomes: Vec<RecordedEvent> = self.stored.into_iter().filter_map(|one| flaws.sift(one)).collect();
        outcomes.sort_by_key(|recorded| (recorded.at, recorded.id));
        outcomes
    }
}

/// For people: `delivered`, `undeliverable: gone`, `page 0.1: 3 delivered, 1 gone, 0 failed`, or `-`.
pub(crate) fn text(outcomes: &[RecordedEvent]) -> String {
    let texts: Vec<String> = outcomes.iter().filter_map(|recorded| outcome(&recorded.event)).collect();
    if texts.is_empty() { "-".to_owned() } else { texts.join("; ") }
}

/// What one event says of a delivery, if it does.
pub(crate) fn outcome(event: &Event) -> Option<String> {
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
