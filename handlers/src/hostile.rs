//! What the fuzz targets reach into: the readings of outside input that are nobody else's business. Not for use.

use events::RecordedEvent;
use projections::notices::Notice;
use serde_json::value::RawValue;

pub use crate::projector::Unreadable;
use crate::{frames::Push, manage::Trigger, projector::Record};

/// How the projector reads a stream record: its sequence number, and its event or why there is none.
pub fn read_record(raw: &RawValue) -> (String, Result<RecordedEvent, Unreadable>) {
    let Record { sequence, event } = Record::read(raw);
    (sequence, event)
}

/// The frame that `post` pushes for a notice.
#[must_use]
pub fn push_frame(notice: &Notice) -> Option<String> {
    let push = match notice {
        Notice::Welcome(welcome) => Push::from(welcome),
        Notice::Chat(chat) => Push::from(chat),
        Notice::Broadcast(broadcast) => Push::from(&broadcast.said),
        Notice::Deliver(deliver) => Push::from(&deliver.said),
        Notice::Receipt(receipt) => Push::from(receipt),
        Notice::ConnectionGone(_) => return None,
    };
    serde_json::to_string(&push).ok()
}

/// Whether `manage` takes an event of the bus.
#[must_use]
pub fn is_trigger(event: &str) -> bool {
    serde_json::from_str::<Trigger>(event).is_ok()
}
