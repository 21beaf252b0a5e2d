//! `manage`: finds connections that ended without a word, and records that they are lost.
//!
//! One by one when a push found it gone, and all of them on a schedule. The gateway's 410, and nothing else, means gone;
//! and not for a connection so young that it may still be establishing.

use std::{sync::Arc, time::Duration};

use events::{
    ConnectionId, EventLog, Timing,
    connection::{self, FoundBy, State},
    time,
};
use futures::{StreamExt, stream};
use lambda_runtime::Context;
use projections::{ConnectionsView, Cursor, LiveConnection, connections, notices::ConnectionGone};
use serde::{Deserialize, de::IgnoredAny};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::{
    Fault,
    gateway::{GatewayClient, Known},
    service::{millis, time_left},
};

/// Connections read, then looked at, at once.
const PAGE: usize = 100;
/// Looks at the gateway in flight at once.
const IN_FLIGHT: usize = 16;
/// Looks a second: a small share of the account's 10,000 requests a second, which pushes need.
const RATE: u32 = 200;

/// The handler of `connection.gone` and of the schedule.
pub(crate) struct Manage {
    pub(crate) log: EventLog,
    pub(crate) view: ConnectionsView,
    pub(crate) gateway: GatewayClient,
    pub(crate) timing: Timing,
}

/// What makes `manage` run.
#[derive(Deserialize)]
#[serde(tag = "detail-type", content = "detail")]
pub(crate) enum Trigger {
    /// A push found a connection gone.
    #[serde(rename = "connection.gone")]
    Gone(ConnectionGone),
    /// It is time for a sweep.
    #[serde(rename = "Scheduled Event")]
    Scheduled(IgnoredAny),
}

/// What a look at a connection came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finding {
    /// It is there, or too young to tell.
    Left,
    /// It is lost: recorded now.
    Lost,
    /// Its end was recorded before; the row says so again.
    Repaired,
    /// The gateway did not say.
    Unclear,
}

#[derive(Default)]
struct Tally {
    seen: usize,
    lost: usize,
    repaired: usize,
    unclear: usize,
}

impl Manage {
    pub(crate) async fn handle(self: Arc<Self>, trigger: Trigger, context: Context) -> Result<(), Fault> {
        let started = Instant::now();
        match trigger {
            Trigger::Gone(gone) => {
                let finding = self.look_at(&gone.connection, FoundBy::Post, &context.request_id).await?;
                info!(function = "manage", connection = %gone.connection, ?finding, duration_ms = millis(started.elapsed()), "looked");
            }
            Trigger::Scheduled(_) => {
                let Tally { seen, lost, repaired, unclear } = self.sweep(&context).await?;
                info!(
                    function = "manage",
                    seen,
                    lost,
                    repaired,
                    unclear,
                    duration_ms = millis(started.elapsed()),
                    "swept"
                );
            }
        }
        Ok(())
    }

    /// Looks at every live connection once, from a random start: should time run out, other ones are left out next time.
    async fn sweep(&self, context: &Context) -> Result<Tally, Fault> {
        let mut tally = Tally::default();
        let start = random_start(&context.request_id);
        let mut cursor = start.clone();
        let mut wrapped = false;
        loop {
            let page = self.view.live(cursor, PAGE).await.map_err(|error| Fault::new("NotRead", error))?;
            let (due, past_start) = up_to(page.connections, wrapped.then_some(&start));
            self.look_at_all(due, context, &mut tally).await;
            cursor = match page.next {
                Some(next) if !past_start => next,
                None if !wrapped => {
                    wrapped = true;
                    Cursor::default()
                }
                _ => return Ok(tally),
            };
            if time_left(context) < self.timing.deadline_margin {
                warn!(seen = tally.seen, "the sweep ran out of time; the next one starts elsewhere");
                return Ok(tally);
            }
        }
    }

    /// Looks at those old enough. One that goes wrong does not keep the others from being looked at.
    async fn look_at_all(&self, due: Vec<LiveConnection>, context: &Context, tally: &mut Tally) {
        let (start, now) = (Instant::now(), time::now());
        let age = |live: &LiveConnection| now.signed_duration_since(live.opened_at).to_std().unwrap_or_default();
        let old = due.into_iter().filter(|live| age(live) > self.timing.early_gone).enumerate();
        let looks = old.map(|(index, live)| async move {
            // Spread over time: the n-th look of a page starts n / RATE seconds in.
            let turn = Duration::from_secs(1) / RATE * u32::try_from(index).unwrap_or(0);
            tokio::time::sleep_until(start + turn).await;
            if time_left(context) < self.timing.deadline_margin {
                return Finding::Left;
            }
            let finding = self.look_at(&live.connection, FoundBy::Sweep, &context.request_id).await;
            finding.unwrap_or_else(|fault| {
                warn!(connection = %live.connection, %fault, "a connection could not be looked at");
                Finding::Unclear
            })
        });
        let findings: Vec<Finding> = stream::iter(looks).buffer_unordered(IN_FLIGHT).collect().await;
        findings.into_iter().for_each(|finding| tally.add(finding));
    }

    async fn look_at(&self, connection: &ConnectionId, found_by: FoundBy, request_id: &str) -> Result<Finding, Fault> {
        match self.gateway.look_for(connection).await {
            Known::Here => Ok(Finding::Left),
            Known::Gone => self.reconcile(connection, found_by, request_id).await,
            Known::Unclear(why) => {
                warn!(%connection, why, "the gateway did not say whether a connection is there");
                Ok(Finding::Unclear)
            }
        }
    }

    /// The gateway does not know the connection: either we did not know yet, or the row does not say what we know.
    async fn reconcile(
        &self,
        connection: &ConnectionId,
        found_by: FoundBy,
        request_id: &str,
    ) -> Result<Finding, Fault> {
        let stream = connection::stream(connection);
        let stored = self.log.read_whole_stream(&stream).await.map_err(|error| Fault::new("NotRead", error))?;
        let events: Vec<_> = stored.into_iter().flatten().collect();
        let state = State::fold(&events);
        if let Some(lost) =
            connection::lose(connection, &state, found_by, self.timing.early_gone, time::now(), request_id)
        {
            self.log.append(&lost).await.map_err(|error| Fault::new("NotAppended", error))?;
            return Ok(Finding::Lost);
        }
        match connections::fold(&events).remove(connection) {
            Some(row) if state.has_ended() => {
                self.view.write(&row).await.map_err(|error| Fault::new("NotWritten", error))?;
                Ok(Finding::Repaired)
            }
            _ => Ok(Finding::Left),
        }
    }
}

impl Tally {
    fn add(&mut self, finding: Finding) {
        self.seen += 1;
        match finding {
            Finding::Left => {}
            Finding::Lost => self.lost += 1,
            Finding::Repaired => self.repaired += 1,
            Finding::Unclear => self.unclear += 1,
        }
    }
}

/// A place in the index that differs from sweep to sweep: the request's id is random.
fn random_start(request_id: &str) -> Cursor {
    let letters: String = request_id.chars().filter(char::is_ascii_alphanumeric).collect();
    let shard = request_id.bytes().fold(0, u8::wrapping_add);
    letters.parse().map_or_else(|_| Cursor::default(), |connection| Cursor::behind(shard, connection))
}

/// The connections before `end` (all, if there is none), and whether `end` was passed.
fn up_to(connections: Vec<LiveConnection>, end: Option<&Cursor>) -> (Vec<LiveConnection>, bool) {
    let Some(end) = end else { return (connections, false) };
    let all = connections.len();
    let before: Vec<_> = connections.into_iter().take_while(|live| !end.is_before(&live.connection)).collect();
    let passed = before.len() < all;
    (before, passed)
}
