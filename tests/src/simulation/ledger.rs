//! The ledger of a run: every connection with all it sent and heard, and the trace of everything that happened, in order.
//!
//! Two runs of one simulated seed write the same trace; its digest is how a test knows.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use events::time;
use serde_json::Value;
use tokio::sync::watch;

/// What was seen so far. Clones share it.
#[derive(Clone, Default)]
pub struct Ledger(Arc<Mutex<Pages>>);

#[derive(Default)]
struct Pages {
    connections: Vec<Connection>,
    trace: Vec<String>,
    began: Option<DateTime<Utc>>,
    /// Counts everything, so that before and after are never in doubt.
    moments: u64,
}

/// A place in the ledger.
pub(super) type Number = usize;

/// A connection as its client knows it.
#[derive(Clone)]
pub struct Connection {
    /// `3.1` is the second session of the fourth person.
    pub name: String,
    /// Its id, once welcomed.
    pub id: Option<String>,
    /// The moment of its first welcome.
    pub welcomed: Option<u64>,
    /// Everything it sent.
    pub sent: Vec<Sent>,
    /// Every frame it heard, with the time.
    pub heard: Vec<(DateTime<Utc>, Value)>,
    /// When its client noticed, or made, its end.
    pub ended: Option<DateTime<Utc>>,
    /// Why, for people: `cut`, `1001 Going away`.
    pub end: String,
    changed: watch::Sender<()>,
}

/// A frame that was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The moment it was sent.
    pub moment: u64,
    /// Its `ref`.
    pub reference: String,
    /// What it was.
    pub what: What,
    /// The reply that carried its `ref`.
    pub reply: Option<Value>,
}

/// What was sent.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // named after the actions
pub enum What {
    Broadcast { text: String },
    Chat { to: String, text: String, receipt: bool },
    Other,
}

impl Ledger {
    /// A new connection of this name.
    pub fn open(&self, name: &str) -> Number {
        let mut pages = self.pages();
        pages.connections.push(Connection {
            name: name.to_owned(),
            id: None,
            welcomed: None,
            sent: Vec::new(),
            heard: Vec::new(),
            ended: None,
            end: String::new(),
            changed: watch::Sender::default(),
        });
        pages.note(&format!("{name} is connected"));
        pages.connections.len() - 1
    }

    /// It sends.
    pub fn sends(&self, number: Number, reference: &str, what: What, text: &str) {
        let mut pages = self.pages();
        let shown = text.chars().take(300).collect::<String>();
        let line = format!("{} > {shown}", pages.connections[number].name);
        pages.note(&line);
        let (moment, reference) = (pages.moments, reference.to_owned());
        pages.connections[number].sent.push(Sent { moment, reference, what, reply: None });
    }

    /// It hears a frame.
    pub fn hears(&self, number: Number, text: &str) {
        let frame: Value = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
        let mut pages = self.pages();
        let line = format!("{} < {}", pages.connections[number].name, text.chars().take(300).collect::<String>());
        pages.note(&line);
        let moment = pages.moments;
        let connection = &mut pages.connections[number];
        if frame["type"] == "welcome" && connection.welcomed.is_none() {
            connection.welcomed = Some(moment);
            connection.id = frame["connection"].as_str().map(str::to_owned);
        }
        if let Some(reference) = frame["ref"].as_str() {
            let asked = connection.sent.iter_mut().find(|sent| sent.reference == reference);
            if let Some(sent) = asked {
                sent.reply = Some(frame.clone());
            }
        }
        connection.heard.push((time::now(), frame));
        connection.changed.send_replace(());
    }

    /// It is over.
    pub fn ends(&self, number: Number, why: &str) {
        let mut pages = self.pages();
        if pages.connections[number].ended.is_none() {
            let line = format!("{} is over: {why}", pages.connections[number].name);
            pages.note(&line);
            let connection = &mut pages.connections[number];
            connection.ended = Some(time::now());
            why.clone_into(&mut connection.end);
            connection.changed.send_replace(());
        }
    }

    /// Something else that happened.
    pub fn note(&self, what: &str) {
        self.pages().note(what);
    }

    /// Waits until `wanted` says something of the connection, or it is over.
    pub async fn until<T>(&self, number: Number, wanted: impl Fn(&Connection) -> Option<T>) -> Option<T> {
        let mut changed = self.pages().connections[number].changed.subscribe();
        loop {
            changed.mark_unchanged();
            {
                let pages = self.pages();
                let connection = &pages.connections[number];
                let found = wanted(connection);
                if found.is_some() || connection.ended.is_some() {
                    return found;
                }
            }
            changed.changed().await.ok()?;
        }
    }

    /// Whether the connection is over.
    #[must_use]
    pub(super) fn is_over(&self, number: Number) -> bool {
        self.pages().connections[number].ended.is_some()
    }

    /// All connections as they are now.
    #[must_use]
    pub fn connections(&self) -> Vec<Connection> {
        self.pages().connections.clone()
    }

    /// Ids of those who were welcomed, and whether they are there.
    #[must_use]
    pub fn known(&self) -> Vec<(String, bool)> {
        let pages = self.pages();
        pages.connections.iter().filter_map(|c| Some((c.id.clone()?, c.ended.is_none()))).collect()
    }

    /// How many connections are open.
    #[must_use]
    pub fn open_now(&self) -> usize {
        self.pages().connections.iter().filter(|connection| connection.ended.is_none()).count()
    }

    /// Everything that happened, in order.
    #[must_use]
    pub fn trace(&self) -> Vec<String> {
        self.pages().trace.clone()
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pages {
    fn note(&mut self, what: &str) {
        self.moments += 1;
        let now = time::now();
        let since = now - *self.began.get_or_insert(now);
        let millis = since.num_milliseconds();
        self.trace.push(format!("{:>4}.{:03} {what}", millis / 1000, millis % 1000));
    }
}

impl Connection {
    /// Whether it is there to the end.
    #[must_use]
    pub fn stayed(&self) -> bool {
        self.ended.is_none()
    }

    /// Whether it heard this event.
    #[must_use]
    pub fn heard(&self, kind: &str, id: &str) -> bool {
        self.heard.iter().any(|(_, frame)| frame["type"] == kind && frame["id"] == id)
    }
}
