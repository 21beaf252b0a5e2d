//! The log as the page shows it: read once as a whole, then only what is new.
//!
//! Every event of a connection is kept, as any past view may be asked for; of all events only the newest. What a past
//! view shows is made by the projections' own fold.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use events::{ConnectionId, EventLog, ReadError, Reader, RecordedEvent, connection, time};
use projections::{Row, connections};
use tokio::sync::{Mutex, MutexGuard};

use crate::observer::Observer;

/// Events shown.
const RECENT: usize = 5000;

/// The log, and what was read of it.
pub(super) struct History {
    log: EventLog,
    observer: Observer,
    read: Mutex<Read>,
}

/// What was read, by place in the log: `<at>#<id>`.
#[derive(Default)]
pub(super) struct Read {
    connections: BTreeMap<String, RecordedEvent>,
    recent: BTreeMap<String, RecordedEvent>,
    older: usize,
    /// When it was read, and the last call that could have written by then.
    as_of: Option<(DateTime<Utc>, u64)>,
}

impl History {
    pub(super) fn new(log: EventLog, observer: Observer) -> History {
        History { log, observer, read: Mutex::default() }
    }

    /// The log as it is now. Every write passes the observer, so without a new call there is nothing new.
    pub(super) async fn read(&self) -> Result<MutexGuard<'_, Read>, ReadError> {
        let mut read = self.read.lock().await;
        let (now, calls) = (events::time::now(), self.observer.last());
        match read.as_of {
            Some((_, last)) if last == calls => return Ok(read),
            // An event may come behind others by what a request or an append may take: 30 s. Twice that is on the safe side.
            Some((then, _)) => {
                let mut new = self.log.read_log(then - TimeDelta::seconds(60), now + TimeDelta::seconds(60));
                while let Some(stored) = new.next().await? {
                    stored.into_iter().for_each(|event| read.add(event, Older::Counted));
                }
            }
            None => {
                let mut all: Reader = self.log.scan(0, 1);
                while let Some(stored) = all.next().await? {
                    stored.into_iter().for_each(|event| read.add(event, Older::New));
                }
            }
        }
        read.as_of = Some((now, calls));
        Ok(read)
    }
}

impl Read {
    /// The newest events, in order of time.
    pub(super) fn recent(&self) -> impl Iterator<Item = &RecordedEvent> {
        self.recent.values()
    }

    /// Number of events before those.
    pub(super) fn older(&self) -> usize {
        self.older
    }

    /// The view up to a place in the log, that event included.
    pub(super) fn fold(&self, up_to: &str) -> BTreeMap<ConnectionId, Row> {
        connections::fold(self.connections.range(..=up_to.to_owned()).map(|(_, event)| event))
    }

    /// The view of the whole log.
    pub(super) fn fold_all(&self) -> BTreeMap<ConnectionId, Row> {
        connections::fold(self.connections.values())
    }

    fn add(&mut self, event: RecordedEvent, if_older: Older) {
        let place = place(&event);
        if connection::of_stream(&event.stream).is_some() {
            self.connections.insert(place.clone(), event.clone());
        }
        if self.older > 0 && self.recent.first_key_value().is_some_and(|(first, _)| place < *first) {
            self.older += usize::from(if_older == Older::New);
            return;
        }
        self.recent.insert(place, event);
        if self.recent.len() > RECENT {
            self.recent.pop_first();
            self.older += 1;
        }
    }
}

/// Whether an event older than those kept has been counted: the whole log comes in no order, and its end comes twice.
#[derive(PartialEq)]
enum Older {
    New,
    Counted,
}

/// An event's place in the log.
pub(super) fn place(event: &RecordedEvent) -> String {
    format!("{}#{}", time::to_text(event.at), event.id)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails

    use events::connection::ConnectionOpened;

    use super::*;

    fn opened(number: usize) -> RecordedEvent {
        let connection = format!("connection-{number}").parse().unwrap();
        let at = DateTime::from_timestamp_millis(1_795_337_746_000 + i64::try_from(number).unwrap()).unwrap();
        connection::open(&connection, ConnectionOpened { source_ip: None, user_agent: None }, at, "r")
    }

    #[test]
    fn only_the_newest_are_shown_but_all_are_counted_and_any_moment_is_known() {
        let mut read = Read::default();
        let count = RECENT + 100;
        // As a scan gives them: in no order.
        (0..count).map(|n| n * 7919 % count).for_each(|number| read.add(opened(number), Older::New));
        (0..count).rev().for_each(|number| read.add(opened(number), Older::Counted));
        assert_eq!((read.recent().count(), read.older()), (RECENT, 100));
        assert_eq!(read.recent().next(), Some(&opened(100)));
        assert_eq!(read.fold(&place(&opened(9))).len(), 10, "before those that are shown");
        assert_eq!(read.fold_all().len(), count);
    }
}
