//! Pushing one frame to some connections, as long as it may take.
//!
//! Used by post for one recipient or 500. Whatever may yet succeed is tried again, with growing waits, within one budget
//! of time for all; what is left then is the caller's to hand on. Of many, those that do not read are not waited for a
//! second time ([`Slow`]).

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use events::{
    ConnectionId, EventLog, Timing,
    connection::{self, State},
    time,
};
use futures::{StreamExt, stream};
use tokio::time::Instant;
use tracing::warn;

use crate::{
    Fault,
    frames::Push,
    gateway::{Frame, GatewayClient, Pushed},
};

/// So many times as many must have been settled at once before it is the client that is to blame, and not the gateway.
const OTHERS: usize = 3;

/// Pushes frames.
pub(crate) struct Pusher {
    gateway: GatewayClient,
    log: EventLog,
    timing: Timing,
    slow: Slow,
}

/// What became of a frame for one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The gateway took it.
    Delivered,
    /// The connection has ended, as its stream says.
    Ended,
    /// The gateway no longer knows a connection that its stream thinks live.
    Gone,
    /// The gateway will never take it.
    Refused,
    /// One of many that is known not to read, and did not take this either.
    Slow,
    /// Not yet: another try may succeed.
    Pending,
}

/// What one try came to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tried {
    Settled(Fate),
    /// The gateway does not know the connection, but may in a moment.
    Early,
    /// The gateway did not take it, but may later.
    NotTaken,
}

type Tries<T> = Vec<(ConnectionId, T)>;

impl Pusher {
    pub(crate) fn new(gateway: GatewayClient, log: EventLog, timing: Timing) -> Pusher {
        let slow = Slow { remembered: timing.slow_memory, until: Mutex::default() };
        Pusher { gateway, log, timing, slow }
    }

    /// Pushes `frame` to every one of `connections` and says what became of each.
    pub(crate) async fn push(&self, frame: &Push<'_>, connections: Vec<ConnectionId>) -> Result<Tries<Fate>, Fault> {
        let (fates, _) = self.keep_trying(&encoded(frame)?, connections).await?;
        Ok(fates)
    }

    /// The same, but for one try only where the listener is known not to read.
    pub(crate) async fn push_to_listeners(
        &self,
        frame: &Push<'_>,
        connections: Vec<ConnectionId>,
    ) -> Result<Tries<Fate>, Fault> {
        let frame = encoded(frame)?;
        let (slow, others) = connections.into_iter().partition(|connection| self.slow.is(connection));
        let (once, many) = tokio::join!(self.push_once(&frame, slow), self.keep_trying(&frame, others));
        let (mut fates, not_reading) = many?;
        not_reading.into_iter().for_each(|connection| self.slow.add(connection));
        for (connection, tried) in once? {
            let fate = match tried {
                Tried::Settled(fate) => fate,
                Tried::Early => Fate::Pending,
                Tried::NotTaken => Fate::Slow,
            };
            if fate == Fate::Slow {
                self.slow.add(connection.clone());
            } else {
                self.slow.remove(&connection);
            }
            fates.push((connection, fate));
        }
        Ok(fates)
    }

    /// Tries within the budget. Also says which ones are not reading, as far as can be told from this frame.
    async fn keep_trying(
        &self,
        frame: &Frame,
        connections: Vec<ConnectionId>,
    ) -> Result<(Tries<Fate>, HashSet<ConnectionId>), Fault> {
        let give_up = Instant::now() + self.timing.push_budget;
        let mut wait = self.timing.push_backoff;
        let (mut settled, mut open) = split(self.push_once(frame, connections).await?);
        let (at_once, not_at_once) = (settled.len(), open.len());
        let mut not_reading = not_taken(&open);
        while !open.is_empty() && Instant::now() + wait < give_up {
            tokio::time::sleep(wait).await;
            wait = Duration::min(wait * 2, self.timing.push_backoff_max);
            let again = open.into_iter().map(|(connection, _)| connection).collect();
            let (done, rest) = split(self.push_once(frame, again).await?);
            settled.extend(done);
            open = rest;
            let once_more = not_taken(&open);
            not_reading.retain(|connection| once_more.contains(connection));
        }
        // The same few through every round, while all others were settled at once: it is not the gateway that is short of something.
        if open.len() < not_at_once || at_once < not_at_once * OTHERS {
            not_reading.clear();
        }
        settled.extend(open.into_iter().map(|(connection, _)| (connection, Fate::Pending)));
        Ok((settled, not_reading))
    }

    async fn push_once(&self, frame: &Frame, connections: Vec<ConnectionId>) -> Result<Tries<Tried>, Fault> {
        let pushes = stream::iter(connections).map(|connection| async move {
            let tried = self.push_to(&connection, frame).await?;
            Ok((connection, tried))
        });
        let tried: Vec<Result<_, Fault>> = pushes.buffer_unordered(self.gateway.in_flight()).collect().await;
        tried.into_iter().collect()
    }

    async fn push_to(&self, connection: &ConnectionId, frame: &Frame) -> Result<Tried, Fault> {
        match self.gateway.push(connection, frame).await {
            Pushed::Taken => Ok(Tried::Settled(Fate::Delivered)),
            Pushed::Gone => Ok(self.judge_gone(connection).await),
            Pushed::Refused(why) => {
                warn!(%connection, why, "the gateway refused a push for good");
                Ok(Tried::Settled(Fate::Refused))
            }
            Pushed::Failed(why) => {
                warn!(%connection, why, "a push failed");
                Ok(Tried::NotTaken)
            }
            Pushed::Forbidden(why) => Err(Fault::new("Forbidden", format_args!("pushing to {connection}: {why}"))),
        }
    }

    /// The gateway answers 410 also for a connection whose `$connect` is still running: its stream tells.
    async fn judge_gone(&self, connection: &ConnectionId) -> Tried {
        match self.log.read_whole_stream(&connection::stream(connection)).await {
            Ok(events) => {
                let state = State::fold(events.iter().flatten());
                if state.has_ended() {
                    Tried::Settled(Fate::Ended)
                } else if state.older_than(self.timing.early_gone, time::now()) {
                    Tried::Settled(Fate::Gone)
                } else {
                    Tried::Early
                }
            }
            Err(error) => {
                warn!(%error, "a connection that was gone could not be looked up");
                Tried::Early
            }
        }
    }
}

fn encoded(frame: &Push<'_>) -> Result<Frame, Fault> {
    serde_json::to_vec(frame).map(Frame::new).map_err(|error| Fault::new("InvalidFrame", error))
}

/// What is settled, and what another try may settle.
fn split(round: Tries<Tried>) -> (Tries<Fate>, Tries<Tried>) {
    let (mut settled, mut open) = (Vec::with_capacity(round.len()), Vec::new());
    for (connection, tried) in round {
        match tried {
            Tried::Settled(fate) => settled.push((connection, fate)),
            Tried::Early | Tried::NotTaken => open.push((connection, tried)),
        }
    }
    (settled, open)
}

fn not_taken(open: &Tries<Tried>) -> HashSet<ConnectionId> {
    let not_taken = open.iter().filter(|(_, tried)| *tried == Tried::NotTaken);
    not_taken.map(|(connection, _)| connection.clone()).collect()
}

/// Connections whose clients do not read: they took nothing within a whole budget, while others did. The gateway keeps what it
/// sends to a client, refuses more when that is full, and does not say for how long. To wait for them would hold an invocation of
/// `post` for each message, so they get one try of each for a while (docs/adr/0015).
///
/// A process knows what it has seen itself: that is forgotten with it, and nothing is lost.
struct Slow {
    remembered: Duration,
    until: Mutex<HashMap<ConnectionId, Instant>>,
}

impl Slow {
    fn is(&self, connection: &ConnectionId) -> bool {
        self.until().get(connection).is_some_and(|until| Instant::now() < *until)
    }

    fn add(&self, connection: ConnectionId) {
        let (now, mut until) = (Instant::now(), self.until());
        until.retain(|_, until| now < *until);
        until.insert(connection, now + self.remembered);
    }

    fn remove(&self, connection: &ConnectionId) {
        self.until().remove(connection);
    }

    fn until(&self) -> std::sync::MutexGuard<'_, HashMap<ConnectionId, Instant>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
