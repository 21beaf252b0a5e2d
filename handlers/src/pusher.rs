//! Pushing one frame to some connections, as long as it may take.
//!
//! Used by post for one recipient or 500. Whatever may yet succeed is tried again, with growing waits, within one budget
//! of time for all; what is left then is the caller's to hand on.

use std::time::Duration;

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

/// Pushes frames.
pub(crate) struct Pusher {
    pub(crate) gateway: GatewayClient,
    pub(crate) log: EventLog,
    pub(crate) timing: Timing,
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
    /// Not yet: another try may succeed.
    Pending,
}

impl Pusher {
    /// Pushes `frame` to every one of `connections` and says what became of each.
    pub(crate) async fn push(
        &self,
        frame: &Push<'_>,
        connections: Vec<ConnectionId>,
    ) -> Result<Vec<(ConnectionId, Fate)>, Fault> {
        let frame = serde_json::to_vec(frame).map_err(|error| Fault::new("InvalidFrame", error))?;
        let frame = Frame::new(frame);
        let give_up = Instant::now() + self.timing.push_budget;
        let mut wait = self.timing.push_backoff;
        let mut settled = Vec::with_capacity(connections.len());
        let mut pending = connections;
        loop {
            let round = self.push_once(&frame, pending).await?;
            let (again, done): (Vec<_>, Vec<_>) = round.into_iter().partition(|(_, fate)| *fate == Fate::Pending);
            settled.extend(done);
            if again.is_empty() || Instant::now() + wait >= give_up {
                settled.extend(again);
                return Ok(settled);
            }
            pending = again.into_iter().map(|(connection, _)| connection).collect();
            tokio::time::sleep(wait).await;
            wait = Duration::min(wait * 2, self.timing.push_backoff_max);
        }
    }

    async fn push_once(
        &self,
        frame: &Frame,
        connections: Vec<ConnectionId>,
    ) -> Result<Vec<(ConnectionId, Fate)>, Fault> {
        let pushes = stream::iter(connections).map(|connection| async move {
            let fate = self.push_to(&connection, frame).await?;
            Ok((connection, fate))
        });
        let fates: Vec<Result<_, Fault>> = pushes.buffer_unordered(self.gateway.in_flight()).collect().await;
        fates.into_iter().collect()
    }

    async fn push_to(&self, connection: &ConnectionId, frame: &Frame) -> Result<Fate, Fault> {
        match self.gateway.push(connection, frame).await {
            Pushed::Taken => Ok(Fate::Delivered),
            Pushed::Gone => Ok(self.judge_gone(connection).await),
            Pushed::Refused(why) => {
                warn!(%connection, why, "the gateway refused a push for good");
                Ok(Fate::Refused)
            }
            Pushed::Failed(why) => {
                warn!(%connection, why, "a push failed");
                Ok(Fate::Pending)
            }
            Pushed::Forbidden(why) => Err(Fault::new("Forbidden", format_args!("pushing to {connection}: {why}"))),
        }
    }

    /// The gateway answers 410 also for a connection whose `$connect` is still running: its stream tells.
    async fn judge_gone(&self, connection: &ConnectionId) -> Fate {
        match self.log.read_whole_stream(&connection::stream(connection)).await {
            Ok(events) => {
                let state = State::fold(events.iter().flatten());
                if state.has_ended() {
                    Fate::Ended
                } else if state.older_than(self.timing.early_gone, time::now()) {
                    Fate::Gone
                } else {
                    Fate::Pending
                }
            }
            Err(error) => {
                warn!(%error, "a connection that was gone could not be looked up");
                Fate::Pending
            }
        }
    }
}
