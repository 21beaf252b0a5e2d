//! What must be true once the faults are over and everything has come to rest: the five promises of docs/RELIABILITY.md.
//!
//! Each check says in one sentence what is wrong. They read the log, the view and the ledger, and know nothing of how it came.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use aws_sdk_dynamodb::types::Select;
use chrono::{DateTime, Utc};
use events::{Event, EventId, EventLog, RecordedEvent, connection, conversation, delivery};
use local::{PARKED, Runtime};
use projections::{
    Undelivered,
    reconcile::{Finding, Mode, Reconciliation, Scope},
};
use serde_json::Value;

use super::ledger::{Connection, Ledger, Sent, What};

/// Clocks of clients and server agree to this much; in a simulation they are one.
const CLOCKS: Duration = Duration::from_millis(5);

/// Everything there is to judge by.
pub struct Aftermath {
    log: Vec<RecordedEvent>,
    /// Places in it, by the id as text. Ids of facts name a stream too, so they are nobody else's either.
    by_id: BTreeMap<String, Vec<usize>>,
    /// Places of outcomes, by the id of their message.
    outcomes: BTreeMap<EventId, Vec<usize>>,
    connections: Vec<Connection>,
    /// When each connection opened.
    opened: BTreeMap<String, DateTime<Utc>>,
    /// Whether the faults stopped inside the retry ladder, so that nothing may have failed for good.
    strict: bool,
}

type Verdict = Result<(), String>;

impl Aftermath {
    /// Reads the whole log.
    pub async fn read(log: &EventLog, ledger: &Ledger, strict: bool) -> Result<Aftermath, String> {
        let mut reader = log.scan(0, 1);
        let mut all = Vec::new();
        while let Some(stored) = reader.next().await.map_err(|error| error.to_string())? {
            all.push(stored.map_err(|error| format!("the log has what is no event: {error}"))?);
        }
        all.sort_by(|a, b| (a.at, a.id, &a.stream).cmp(&(b.at, b.id, &b.stream)));
        let opened = all
            .iter()
            .filter(|event| matches!(event.event, Event::ConnectionOpened(_)))
            .filter_map(|event| Some((connection::of_stream(&event.stream)?.to_string(), event.at)))
            .collect();
        let (mut by_id, mut outcomes) = (BTreeMap::<_, Vec<_>>::new(), BTreeMap::<_, Vec<_>>::new());
        for (place, event) in all.iter().enumerate() {
            by_id.entry(event.id.to_string()).or_default().push(place);
            if let Some(message) = delivery::of_stream(&event.stream) {
                outcomes.entry(message).or_default().push(place);
            }
        }
        Ok(Aftermath { log: all, by_id, outcomes, connections: ledger.connections(), opened, strict })
    }

    /// The log, in order of time and id.
    #[must_use]
    pub fn log(&self) -> &[RecordedEvent] {
        &self.log
    }

    /// Promises 1 to 3, which follow from the log and from what clients saw.
    pub fn check(&self) -> Verdict {
        self.accepted_is_recorded_once()?;
        self.nothing_is_recorded_that_nobody_said()?;
        self.chats_arrive()?;
        self.broadcasts_arrive()?;
        self.receipts_arrive()?;
        self.nobody_hears_what_is_not_for_them()?;
        self.everyone_sees_the_same()?;
        self.nobody_living_is_lost()
    }

    /// Promise 1: Every event whose `accepted` a client saw is in the log, exactly once, as it was said.
    fn accepted_is_recorded_once(&self) -> Verdict {
        let mut ids = BTreeSet::new();
        for (connection, sent, id) in self.accepted() {
            let found: Vec<_> = self.all(&id).collect();
            let [event] = found[..] else {
                return Err(format!("1: {id}, accepted from {}, is {} times in the log", connection.name, found.len()));
            };
            if !ids.insert(id) {
                return Err(format!("1: {} was accepted for two frames", event.id));
            }
            let from = connection.id.as_deref();
            let same = match (&event.event, &sent.what) {
                (Event::MessageBroadcast(m), What::Broadcast { text }) => m.text == *text && is(&m.from, from),
                (Event::MessageSent(m), What::Chat { to, text, receipt }) => {
                    m.text == *text && m.to.as_str() == to && m.receipt == *receipt && is(&m.from, from)
                }
                _ => false,
            };
            if !same {
                return Err(format!("1: {sent:?} of {} is recorded as {event:?}", connection.name));
            }
        }
        Ok(())
    }

    /// Promise 1: A frame makes one event at most. Texts are nobody else's, and are sent again only by their sender.
    fn nothing_is_recorded_that_nobody_said(&self) -> Verdict {
        let mut said: BTreeMap<&str, usize> = BTreeMap::new();
        for sent in self.connections.iter().flat_map(|connection| &connection.sent) {
            if let What::Broadcast { text } | What::Chat { text, .. } = &sent.what {
                *said.entry(text).or_default() += 1;
            }
        }
        let mut recorded: BTreeMap<&str, usize> = BTreeMap::new();
        for event in &self.log {
            let text = match &event.event {
                Event::MessageBroadcast(message) => &message.text,
                Event::MessageSent(message) => &message.text,
                _ => continue,
            };
            *recorded.entry(text).or_default() += 1;
            if event.id.request_time() != Some(event.at) {
                return Err(format!("3: {event:?} is not sorted by its time"));
            }
        }
        let more = recorded.into_iter().find(|(text, times)| said.get(text).copied().unwrap_or(0) < *times);
        more.map_or(Ok(()), |(text, times)| {
            Err(format!("1: `{text}` is {times} times in the log, more than it was said"))
        })
    }

    /// Promise 2: An accepted chat has one outcome, and was received by a recipient that stayed, or is undeliverable.
    fn chats_arrive(&self) -> Verdict {
        for event in &self.log {
            let Event::MessageSent(message) = &event.event else { continue };
            let outcomes: Vec<&Event> = self.outcomes(event).collect();
            let [outcome] = outcomes[..] else {
                return Err(format!("2: chat {} has {} outcomes: {outcomes:?}", event.id, outcomes.len()));
            };
            let Some(to) = self.connections.iter().find(|c| c.id.as_deref() == Some(message.to.as_str())) else {
                continue;
            };
            let heard = to.heard("chat", &event.id.to_string());
            let undeliverable = matches!(outcome, Event::MessageUndeliverable(_));
            if to.stayed() && !heard && !undeliverable {
                return Err(format!("2: chat {} says {outcome:?}, and {} never heard it", event.id, to.name));
            }
            if to.stayed() && undeliverable && self.strict {
                return Err(format!("2: chat {} says {outcome:?}, and {} is there", event.id, to.name));
            }
        }
        Ok(())
    }

    /// Promise 2: An accepted broadcast reached everyone who was welcomed before and stayed, or they are counted as failed.
    fn broadcasts_arrive(&self) -> Verdict {
        for (_, sent, id) in self.accepted().filter(|(_, sent, _)| matches!(sent.what, What::Broadcast { .. })) {
            let in_time = |c: &&Connection| c.stayed() && c.welcomed.is_some_and(|welcomed| welcomed < sent.moment);
            let missed: Vec<&str> = self
                .connections
                .iter()
                .filter(in_time)
                .filter(|connection| !connection.heard("broadcast", &id))
                .map(|connection| connection.name.as_str())
                .collect();
            let event = self.all(&id).next();
            let outcomes: Vec<&Event> = event.map(|event| self.outcomes(event).collect()).unwrap_or_default();
            let failed: u32 =
                outcomes.iter().map(|event| if let Event::BroadcastDelivered(b) = event { b.failed } else { 0 }).sum();
            if outcomes.is_empty() {
                return Err(format!("2: broadcast {id} has no outcome"));
            }
            if missed.len() > failed as usize {
                return Err(format!("2: broadcast {id} was not heard by {missed:?}, and the log says {outcomes:?}"));
            }
            if failed > 0 && self.strict {
                return Err(format!(
                    "2: the faults stopped inside the retry ladder, and broadcast {id} has {outcomes:?}"
                ));
            }
        }
        Ok(())
    }

    /// Promise 2: Who sent a chat and stayed has the receipt they asked for, and in any case hears that it is undeliverable. A push of
    /// a receipt that is given up leaves no event, so this holds only where nothing is given up.
    fn receipts_arrive(&self) -> Verdict {
        for event in self.log.iter().filter(|_| self.strict) {
            let Event::MessageSent(message) = &event.event else { continue };
            let Some(sender) =
                self.connections.iter().find(|c| c.id.as_deref() == Some(message.from.as_str()) && c.stayed())
            else {
                continue;
            };
            let status = match self.outcomes(event).next() {
                Some(Event::MessageDelivered(_)) if message.receipt => "delivered",
                Some(Event::MessageUndeliverable(_)) => "undeliverable",
                _ => continue,
            };
            let id = event.id.to_string();
            let receipts =
                sender.heard.iter().map(|(_, frame)| frame).filter(|frame| frame["message_id"] == id.as_str());
            let statuses: BTreeSet<&str> = receipts.filter_map(|frame| frame["status"].as_str()).collect();
            if statuses != BTreeSet::from([status]) {
                return Err(format!("2: chat {id} is {status}, and {} was told {statuses:?}", sender.name));
            }
        }
        Ok(())
    }

    /// Promise 3: Nobody heard what was not for them, or was said before they came.
    fn nobody_hears_what_is_not_for_them(&self) -> Verdict {
        for connection in &self.connections {
            for (_, frame) in &connection.heard {
                if let Some(why) = self.wrong(connection, frame) {
                    return Err(format!("3: {} ({:?}) heard {frame}: {why}", connection.name, connection.id));
                }
            }
        }
        Ok(())
    }

    fn wrong(&self, connection: &Connection, frame: &Value) -> Option<&'static str> {
        let own = connection.id.as_deref();
        match frame["type"].as_str() {
            Some("welcome") => (frame["connection"].as_str() != own).then_some("another's welcome"),
            Some("pong") => (own.is_some() && frame["connection"].as_str() != own).then_some("another's pong"),
            Some("accepted" | "connections") => {
                let reference = frame["ref"].as_str();
                let asked = connection.sent.iter().any(|sent| Some(sent.reference.as_str()) == reference);
                (!asked).then_some("a reply to what it did not ask")
            }
            Some("chat") => match self.event(frame).map(|event| &event.event) {
                Some(Event::MessageSent(m)) if is(&m.to, own) && frame["message"] == m.text.as_str() => None,
                _ => Some("not for it"),
            },
            Some("broadcast") => match self.event(frame) {
                Some(event) if event.stream == conversation::lobby() => {
                    let came_later = |id| self.opened.get(id).is_none_or(|came| *came > event.at);
                    own.is_some_and(came_later).then_some("said before it came")
                }
                _ => Some("nobody said that"),
            },
            Some("receipt") => {
                let message = self.all(frame["message_id"].as_str().unwrap_or_default()).next();
                match message.map(|event| &event.event) {
                    Some(Event::MessageSent(m)) if is(&m.from, own) => None,
                    _ => Some("a receipt for what it did not send"),
                }
            }
            Some("error") => None,
            // The gateway's own words.
            None => {
                let words = frame["message"].as_str();
                let named = own.is_none() || frame["connectionId"].as_str() == own;
                (!named || words != Some("Internal server error")).then_some("unheard of")
            }
            Some(_) => Some("of no type that there is"),
        }
    }

    /// Promise 3: An event is the same to everyone, and so is the order by id.
    fn everyone_sees_the_same(&self) -> Verdict {
        let mut seen: BTreeMap<(&str, &str), &Value> = BTreeMap::new();
        for (_, frame) in self.connections.iter().flat_map(|connection| &connection.heard) {
            let (Some(kind @ ("broadcast" | "chat" | "receipt")), Some(id)) =
                (frame["type"].as_str(), frame["id"].as_str())
            else {
                continue;
            };
            let first = *seen.entry((kind, id)).or_insert(frame);
            if first != frame {
                return Err(format!("3: {frame} was told to others as {first}"));
            }
            if kind != "receipt"
                && self.event(frame).map(|event| events::time::to_text(event.at)).as_deref() != frame["at"].as_str()
            {
                return Err(format!("3: {frame} has another time in the log"));
            }
        }
        Ok(())
    }

    /// Promise 4: A connection that is there was never marked as ended, and one that is gone not before it went.
    fn nobody_living_is_lost(&self) -> Verdict {
        for connection in &self.connections {
            let Some(id) = &connection.id else { continue };
            let stream =
                |event: &&RecordedEvent| connection::of_stream(&event.stream).is_some_and(|c| c.as_str() == id);
            for event in self.log.iter().filter(stream) {
                let lost = matches!(event.event, Event::ConnectionLost(_));
                let ends = lost || matches!(event.event, Event::ConnectionClosed(_));
                if ends && connection.ended.is_none_or(|ended| ended > event.at + CLOCKS) {
                    return Err(format!("4: {} was there, and yet {:?} at {}", connection.name, event.event, event.at));
                }
            }
        }
        Ok(())
    }

    fn accepted(&self) -> impl Iterator<Item = (&Connection, &Sent, String)> {
        self.connections.iter().flat_map(|connection| {
            connection.sent.iter().filter_map(move |sent| {
                let reply = sent.reply.as_ref().filter(|reply| reply["type"] == "accepted")?;
                Some((connection, sent, reply["id"].as_str()?.to_owned()))
            })
        })
    }

    fn event(&self, frame: &Value) -> Option<&RecordedEvent> {
        self.all(frame["id"].as_str()?).next()
    }

    fn all(&self, id: &str) -> impl Iterator<Item = &RecordedEvent> {
        self.by_id.get(id).into_iter().flatten().map(|place| &self.log[*place])
    }

    fn outcomes<'a>(&'a self, message: &RecordedEvent) -> impl Iterator<Item = &'a Event> {
        self.outcomes.get(&message.id).into_iter().flatten().map(|place| &self.log[*place].event)
    }
}

/// Promise 4: The view equals the fold of the log.
pub async fn view_equals_the_log(runtime: &Runtime) -> Verdict {
    let (log, view) = (runtime.log(), runtime.view());
    let scope = Scope::everything(Duration::ZERO);
    let reconciliation = Reconciliation { log: &log, view: &view, scope, mode: Mode::Compare, segments: 1 };
    let mut findings: Vec<Finding> = Vec::new();
    let report =
        reconciliation.run(|finding| findings.push(finding), |_| {}).await.map_err(|error| error.to_string())?;
    match findings.first() {
        None if report.undecodable == 0 && report.unknown == 0 => Ok(()),
        first => Err(format!("4: the view is not the fold of the log: {first:?}, {report:?}")),
    }
}

/// Promise 5: No invocation is owed or given up, no record is parked or unprocessed, every message has an outcome. The runtime is
/// idle, which is to say that its stream is read to the end.
pub async fn nothing_is_left(runtime: &Runtime, aftermath: &Aftermath) -> Verdict {
    // Beyond the retry ladder the queues of failures keep what was given up, though it has been made good.
    if let Some((function, record)) = runtime.given_up().first().filter(|_| aftermath.strict) {
        return Err(format!("5: {function} gave up {record}"));
    }
    // The schedule may have begun a sweep since.
    runtime.idle().await;
    let owed = runtime.owed();
    if owed > 0 {
        return Err(format!("5: {owed} invocations are owed"));
    }
    let tables = aws_sdk_dynamodb::Client::new(runtime.sdk());
    let parked = tables.scan().table_name(PARKED).select(Select::Count).limit(1).send().await;
    let parked = parked.map_err(|error| error.to_string())?.count;
    if parked > 0 {
        return Err(format!("5: {parked} records are parked"));
    }
    let undelivered = undelivered(runtime, aftermath).await?;
    undelivered.first().map_or(Ok(()), |message| Err(format!("5: nobody knows what became of {message:?}")))
}

/// Messages without an outcome.
pub async fn undelivered(runtime: &Runtime, aftermath: &Aftermath) -> Result<Vec<RecordedEvent>, String> {
    let mut undelivered = Undelivered::default();
    let now = events::time::now();
    aftermath.log.iter().cloned().for_each(|event| undelivered.take(event, now));
    undelivered.confirm(&runtime.log()).await.map_err(|error| error.to_string())
}

/// Whether it may be that connection: one that never had its welcome does not know its own name.
fn is(id: &events::ConnectionId, name: Option<&str>) -> bool {
    name.is_none_or(|name| name == id.as_str())
}
