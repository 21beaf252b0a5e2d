//! `post`, the part for broadcasts: who hears it, and in which pages.
//!
//! Up to 500 are pushed to at once. A larger audience is only planned: pages of 500 ids go out as `deliver` notices, and
//! a `deliver` pushes exactly its ids and never plans. So a notice that comes again repeats, and never multiplies. Pages go
//! out as fast as the gateway takes pushes, and no faster: what it refuses would be missing to everybody else (docs/adr/0009).

use std::time::Duration;

use events::{
    Appended, ConnectionId,
    delivery::{self, BroadcastDelivered},
    time,
};
use lambda_runtime::Context;
use projections::{
    Cursor, LivePage, ViewError,
    notices::{Broadcast, ConnectionGone, Deliver, Notice, Resume, Said},
};
use tokio::time::Instant;
use tracing::warn;

use crate::{
    Fault,
    frames::Push,
    post::{ATTEMPTS, Post},
    pusher::Fate,
    service::time_left,
};

/// Connections of a page: at 128 in flight and 10 ms a push, one invocation is done in about 50 ms.
const PAGE: usize = 500;
/// Pages that go out at once: together they are the 5,000 requests an account's bucket holds when it is full.
const BURST: u32 = 10;

impl Post {
    /// Pushes to everyone whose connection opened no later than the message was sent, or plans to.
    pub(crate) async fn broadcast(&self, broadcast: Broadcast, context: &Context) -> Result<String, Fault> {
        let Broadcast { said, resume } = broadcast;
        let (started, resumed) = (tokio::time::Instant::now(), resume.is_some());
        let Resume { cursor, page } = resume.unwrap_or(Resume { cursor: Cursor::default(), page: 0 });
        let (mut plan, first) = (Plan { said, page, audience: Vec::new() }, page);
        let mut cursor = Some(cursor);
        while let Some(from) = cursor.take() {
            let live = self.live(from, context).await?;
            let in_time = live.connections.into_iter().filter(|live| live.opened_at <= plan.said.at);
            plan.audience.extend(in_time.map(|live| live.connection));
            cursor = live.next;
            self.publish(plan.full_pages()).await?;
            tokio::time::sleep_until(started + due(plan.page - first, resumed, self.timing.page_interval)).await;
            if let Some(cursor) = cursor.take_if(|_| time_left(context) < self.timing.deadline_margin) {
                return self.hand_on(plan, cursor).await;
            }
        }
        if plan.page == 0 && !resumed {
            return self.deliver(plan.last_page(), context).await;
        }
        self.publish(vec![Notice::Deliver(plan.last_page())]).await?;
        Ok(format!("planned {} pages", plan.page))
    }

    /// A page of the live index. Tried again for a while: to fail would leave the message to Lambda's next try, a minute
    /// later.
    async fn live(&self, from: Cursor, context: &Context) -> Result<LivePage, Fault> {
        let budget = self.timing.push_budget.min(time_left(context).saturating_sub(self.timing.deadline_margin));
        let give_up = Instant::now() + budget;
        let mut wait = self.timing.push_backoff;
        loop {
            match self.view.live(from.clone(), PAGE).await {
                Ok(page) => return Ok(page),
                Err(error @ ViewError::Unavailable { .. }) if Instant::now() + wait < give_up => {
                    warn!(%error, "the live index was not read; trying again");
                }
                Err(error) => return Err(Fault::new("NotRead", error)),
            }
            tokio::time::sleep(wait).await;
            wait = Duration::min(wait * 2, self.timing.push_backoff_max);
        }
    }

    /// Short of time: who has been read so far, and as the last act where to go on.
    async fn hand_on(&self, mut plan: Plan, cursor: Cursor) -> Result<String, Fault> {
        self.publish(vec![Notice::Deliver(plan.last_page())]).await?;
        let resume = Some(Resume { cursor, page: plan.page });
        self.publish(vec![Notice::Broadcast(Broadcast { said: plan.said, resume })]).await?;
        Ok(format!("planned {} pages and handed on", plan.page))
    }

    /// Pushes to exactly the ids of one page and records the count.
    pub(crate) async fn deliver(&self, deliver: Deliver, context: &Context) -> Result<String, Fault> {
        let Deliver { said, page, attempt, connections } = deliver;
        let frame = Push::from(&said);
        let fates = if attempt == 1 {
            self.pusher.push_to_listeners(&frame, connections).await?
        } else {
            self.pusher.push(&frame, connections).await?
        };
        let gone = with(&fates, Fate::Gone);
        let mut pending = with(&fates, Fate::Pending);
        let counted = count(&fates, page, attempt);
        let outcome = format!(
            "{} delivered, {} gone, {} failed, {} pending",
            counted.delivered,
            counted.gone,
            counted.failed,
            pending.len()
        );
        let id = said.id;
        let counted = delivery::broadcast_delivered(id, counted, time::now(), &context.request_id);
        if let Appended::AlreadyThere(_) = self.record(counted).await? {
            // An earlier run counted this page, and may have left the slow ones to further tries.
            pending.extend(with(&fates, Fate::Slow));
        }
        let mut notices: Vec<_> =
            gone.into_iter().map(|connection| Notice::ConnectionGone(ConnectionGone { id, connection })).collect();
        if attempt < ATTEMPTS && !pending.is_empty() {
            notices.push(Notice::Deliver(Deliver { said, page, attempt: attempt + 1, connections: pending }));
        }
        // The last act: an invocation that fails before has put nothing on the bus that its retry would put there again.
        self.publish(notices).await?;
        Ok(outcome)
    }
}

/// A broadcast being planned.
struct Plan {
    said: Said,
    /// Number of the next page.
    page: u32,
    /// Who is in no page yet.
    audience: Vec<ConnectionId>,
}

impl Plan {
    /// Takes as many full pages as there are, keeping at least one connection for [`last_page`](Self::last_page).
    fn full_pages(&mut self) -> Vec<Notice> {
        let mut pages = Vec::new();
        while self.audience.len() > PAGE {
            let rest = self.audience.split_off(PAGE);
            let connections = std::mem::replace(&mut self.audience, rest);
            pages.push(Notice::Deliver(self.numbered(connections)));
        }
        pages
    }

    /// The page of all who are left.
    fn last_page(&mut self) -> Deliver {
        let connections = std::mem::take(&mut self.audience);
        self.numbered(connections)
    }

    fn numbered(&mut self, connections: Vec<ConnectionId>) -> Deliver {
        let page = self.page;
        self.page += 1;
        Deliver { said: self.said.clone(), page, attempt: 1, connections }
    }
}

/// When the page after these may go out, since the planner began. One that goes on finds the bucket empty.
fn due(published: u32, resumed: bool, interval: Duration) -> Duration {
    let burst = if resumed { 0 } else { BURST };
    interval * (published + 1).saturating_sub(burst)
}

fn with(fates: &[(ConnectionId, Fate)], wanted: Fate) -> Vec<ConnectionId> {
    fates.iter().filter(|(_, fate)| *fate == wanted).map(|(connection, _)| connection.clone()).collect()
}

fn count(fates: &[(ConnectionId, Fate)], page: u32, attempt: u32) -> BroadcastDelivered {
    let count = |counts: fn(Fate) -> bool| {
        fates.iter().filter(|(_, fate)| counts(*fate)).count().try_into().unwrap_or(u32::MAX)
    };
    let given_up = |fate| matches!(fate, Fate::Refused | Fate::Slow);
    let last_given_up = |fate| matches!(fate, Fate::Refused | Fate::Slow | Fate::Pending);
    BroadcastDelivered {
        page,
        attempt,
        delivered: count(|fate| fate == Fate::Delivered),
        gone: count(|fate| matches!(fate, Fate::Ended | Fate::Gone)),
        failed: count(if attempt < ATTEMPTS { given_up } else { last_given_up }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_ten_pages_go_out_at_once_and_then_one_each_interval() {
        let interval = Duration::from_millis(50);
        let due = |published| due(published, false, interval);
        assert!((0..BURST).all(|published| due(published) == Duration::ZERO));
        assert_eq!([10, 11, 200].map(due), [50, 100, 9550].map(Duration::from_millis));
    }

    #[test]
    fn a_planner_that_goes_on_has_no_burst() {
        assert_eq!(due(0, true, Duration::from_millis(50)), Duration::from_millis(50));
    }
}
