//! `post`: pushes what notices say, and records what became of messages. Nothing else pushes.
//!
//! A notice may come again and out of order; pushes repeat then, with the same ids, and outcomes are recorded once. What
//! cannot be pushed within one invocation goes back onto the bus with its attempt counted. Broadcasts go on in `fan_out.rs`.

use std::sync::Arc;

use events::{
    Appended, Event, EventLog, RecordedEvent, Timing, conversation,
    delivery::{self, Address, Reason},
    time,
};
use lambda_runtime::Context;
use projections::{
    ConnectionsView,
    notices::{Chat, ConnectionGone, Notice, Receipt, Welcome},
};
use tokio::time::Instant;
use tracing::{error, info};

use crate::{
    Fault,
    bus::Bus,
    frames::Push,
    pusher::{Fate, Pusher},
    service::millis,
};

/// Notices of one push before it is given up. Each tries for `push_budget`, so faults of a minute are outlived.
pub(crate) const ATTEMPTS: u32 = 5;

/// The handler of welcome, chat, receipt, broadcast and deliver.
pub(crate) struct Post {
    pub(crate) pusher: Pusher,
    pub(crate) log: EventLog,
    pub(crate) view: ConnectionsView,
    pub(crate) bus: Bus,
    pub(crate) timing: Timing,
}

impl Post {
    pub(crate) async fn handle(self: Arc<Self>, notice: Notice, context: Context) -> Result<(), Fault> {
        let started = Instant::now();
        let kind = notice.detail_type();
        let outcome = match notice {
            Notice::Welcome(welcome) => self.welcome(welcome).await?,
            Notice::Chat(chat) => self.chat(chat, &context).await?,
            Notice::Receipt(receipt) => self.receipt(receipt).await?,
            Notice::Broadcast(broadcast) => self.broadcast(broadcast, &context).await?,
            Notice::Deliver(deliver) => self.deliver(deliver, &context).await?,
            Notice::ConnectionGone(_) => return Err(Fault::new("InvalidEvent", "connection.gone is for manage")),
        };
        info!(function = "post", notice = kind, outcome, duration_ms = millis(started.elapsed()), "pushed");
        Ok(())
    }

    async fn welcome(&self, welcome: Welcome) -> Result<String, Fault> {
        let fate = self.push_one(&Push::from(&welcome), &welcome.connection, welcome.id).await?;
        if fate == Fate::Pending {
            let attempt = welcome.attempt;
            self.again(Notice::Welcome(Welcome { attempt: attempt + 1, ..welcome }), attempt).await?;
        }
        Ok(format!("{fate:?}"))
    }

    async fn receipt(&self, receipt: Receipt) -> Result<String, Fault> {
        let fate = self.push_one(&Push::from(&receipt), &receipt.to, receipt.id).await?;
        if fate == Fate::Pending {
            let attempt = receipt.attempt;
            self.again(Notice::Receipt(Receipt { attempt: attempt + 1, ..receipt }), attempt).await?;
        }
        Ok(format!("{fate:?}"))
    }

    async fn chat(&self, chat: Chat, context: &Context) -> Result<String, Fault> {
        let fate = self.push_one(&Push::from(&chat), &chat.to, chat.id).await?;
        let reason = match fate {
            Fate::Delivered => None,
            Fate::Ended => Some(Reason::Ended),
            Fate::Gone => Some(Reason::Gone),
            Fate::Refused => Some(Reason::Refused),
            Fate::Pending if chat.attempt < ATTEMPTS => {
                let attempt = chat.attempt;
                self.again(Notice::Chat(Chat { attempt: attempt + 1, ..chat }), attempt).await?;
                return Ok(format!("{fate:?}"));
            }
            Fate::Pending | Fate::Slow => Some(Reason::Unreachable),
        };
        let conversation = conversation::between(&chat.from, &chat.to);
        let address = Address { conversation, from: chat.from, to: chat.to, receipt: chat.receipt };
        let (now, request) = (time::now(), &context.request_id);
        self.record(match reason {
            None => delivery::delivered(chat.id, address, now, request),
            Some(reason) => delivery::undeliverable(chat.id, address, reason, now, request),
        })
        .await?;
        Ok(format!("{fate:?}"))
    }

    /// Pushes to one connection, and has `manage` look at it if it is gone.
    async fn push_one(
        &self,
        frame: &Push<'_>,
        connection: &events::ConnectionId,
        id: events::EventId,
    ) -> Result<Fate, Fault> {
        let fates = self.pusher.push(frame, vec![connection.clone()]).await?;
        let fate = fates.first().map_or(Fate::Pending, |(_, fate)| *fate);
        if fate == Fate::Gone {
            self.publish(vec![Notice::ConnectionGone(ConnectionGone { id, connection: connection.clone() })]).await?;
        }
        Ok(fate)
    }

    /// Puts the rest of a push back onto the bus, unless it has been there often enough.
    async fn again(&self, notice: Notice, attempt: u32) -> Result<(), Fault> {
        if attempt < ATTEMPTS {
            return self.publish(vec![notice]).await;
        }
        error!(notice = notice.detail_type(), attempt, "gave up a push");
        Ok(())
    }

    pub(crate) async fn publish(&self, notices: Vec<Notice>) -> Result<(), Fault> {
        let unpublished = self.bus.publish(&notices).await;
        unpublished.into_iter().next().map_or(Ok(()), |first| Err(Fault::new("NotPublished", first)))
    }

    /// Records an outcome; if another stands already, that one does.
    pub(crate) async fn record(&self, outcome: RecordedEvent) -> Result<Appended, Fault> {
        if let Event::MessageUndeliverable(undeliverable) = &outcome.event {
            info!(stream = %outcome.stream, reason = ?undeliverable.reason, "a message is undeliverable");
        }
        self.log.append(&outcome).await.map_err(|error| Fault::new("NotAppended", error))
    }
}
