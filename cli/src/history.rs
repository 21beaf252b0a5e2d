//! `webchat history`: messages and connection events in order of time, streaming.
//!
//! It reads as little as the question allows: a message is found by its id's millisecond, a conversation is one stream, a
//! connection is its stream and then the log between its opening and its end.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use events::{
    ConnectionId, Event, EventId, EventLog, ReadCost, RecordedEvent, StreamName, connection, conversation, time,
};
use serde::Serialize;

use crate::{
    deliveries::Deliveries,
    flaws::Flaws,
    output::{Column, Output, Sheet, progress},
    source::Source,
    when::When,
};

/// An event may come this late into what was printed already: order is final after 30 s, and the index lags a little.
const SETTLING: Duration = Duration::from_secs(60);
/// How often `--follow` looks.
const LOOK: Duration = Duration::from_secs(1);

/// Arguments of `webchat history`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    output: Output,

    /// From this time on: 2026-11-22T10:00:00Z, 2026-11-22 or -2h
    #[arg(long, value_name = "TIME", default_value = "-24h", allow_hyphen_values = true)]
    since: When,
    /// Before this time [default: now]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    until: Option<When>,
    /// Only what this connection did, said or was told; all its life
    #[arg(long, value_name = "ID", conflicts_with_all = ["conversation", "message", "follow"], allow_hyphen_values = true)]
    connection: Option<ConnectionId>,
    /// Only this conversation: lobby, or two connections as <A>~<B>
    #[arg(long, value_name = "NAME", conflicts_with_all = ["message", "follow"], allow_hyphen_values = true)]
    conversation: Option<String>,
    /// Only this message, with its deliveries
    #[arg(long, value_name = "ID", conflicts_with = "follow")]
    message: Option<EventId>,
    /// Only messages with this text, whatever the case
    #[arg(long, value_name = "WORD")]
    text: Option<String>,
    /// Beside each message, what became of it
    #[arg(long)]
    with_deliveries: bool,
    /// No more than this many
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Go on with what happens from now on
    #[arg(long, conflicts_with_all = ["until", "limit"])]
    follow: bool,
    /// Say on stderr what was read, and what that cost
    #[arg(long)]
    explain: bool,
}

const COLUMNS: &[Column] = &[("at", 24), ("event", 16), ("from", 16), ("to", 16), ("id", 36), ("text", 0)];
/// With `--with-deliveries`.
const WITH_OUTCOME: &[Column] =
    &[("at", 24), ("event", 16), ("from", 16), ("to", 16), ("id", 36), ("outcome", 39), ("text", 0)];

/// An event, as JSON.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    event: &'a RecordedEvent,
    #[serde(skip_serializing_if = "Option::is_none")]
    deliveries: Option<&'a [RecordedEvent]>,
    /// It came after later ones had been printed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    late: bool,
}

pub(crate) async fn run(mut args: Args) -> Result<u8> {
    let with_deliveries = args.with_deliveries || args.message.is_some();
    args.with_deliveries = with_deliveries;
    let data = args.source.clone().open().await?;
    let mut history = History {
        log: data.log(),
        sheet: args.output.open(if with_deliveries { WITH_OUTCOME } else { COLUMNS })?,
        flaws: Flaws::default(),
        told: 0,
        cost: ReadCost::default(),
        explained: Vec::new(),
        args,
    };
    history.tell().await?;
    let History { sheet, flaws, cost, explained, args, told, .. } = history;
    sheet.finish()?;
    if args.explain {
        explained.iter().for_each(|line| eprintln!("read {line}"));
        eprintln!("{told} told of {} items, {} requests, {:.1} read units", cost.items, cost.requests, cost.units);
    }
    Ok(flaws.exit_code())
}

struct History {
    args: Args,
    log: EventLog,
    sheet: Sheet,
    flaws: Flaws,
    told: u64,
    cost: ReadCost,
    /// What was read, for `--explain`.
    explained: Vec<String>,
}

impl History {
    async fn tell(&mut self) -> Result<()> {
        let since = self.args.since.0;
        let until = self.args.until.map_or_else(Utc::now, |until| until.0);
        if let Some(message) = self.args.message {
            self.tell_message(message).await
        } else if let Some(connection) = self.args.connection.clone() {
            self.tell_connection(&connection).await
        } else if let Some(name) = self.args.conversation.clone() {
            self.tell_stream(conversation_stream(&name)?, since, until).await
        } else if self.args.follow {
            self.follow(since).await
        } else {
            self.tell_log(since, until, |_| true).await
        }
    }

    async fn tell_message(&mut self, message: EventId) -> Result<()> {
        let at = message.request_time().with_context(|| format!("{message} is no id of a message"))?;
        self.explained.push(format!("the log at {}", time::to_text(at)));
        let mut reader = self.log.read_log(at, at + chrono::Duration::milliseconds(1));
        while let Some(stored) = reader.next().await? {
            if stored.as_ref().is_ok_and(|recorded| recorded.id == message)
                && let Some(recorded) = self.flaws.sift(stored)
            {
                self.tell_one(&recorded, false).await?;
            }
        }
        self.cost += reader.cost();
        if self.told == 0 {
            anyhow::bail!("there is no message {message}");
        }
        Ok(())
    }

    async fn tell_connection(&mut self, connection: &ConnectionId) -> Result<()> {
        let stream = connection::stream(connection);
        self.explained.push(format!("stream {stream}"));
        let mut reader = self.log.read_stream(&stream);
        let mut life = Vec::new();
        while let Some(stored) = reader.next().await? {
            life.extend(self.flaws.sift(stored));
        }
        self.cost += reader.cost();
        let opened = life.iter().map(|event| event.at).min();
        let opened = opened.with_context(|| format!("there is no connection {connection}"))?;
        let ended = life.iter().filter(|e| !matches!(e.event, Event::ConnectionOpened(_))).map(|e| e.at).max();
        // What was said to it before its end may have come to an outcome a little later, but was said before.
        let until = ended.map_or_else(Utc::now, |at| at + SETTLING);
        let (since, connection) = (opened - SETTLING, connection.clone());
        self.tell_log(since, until, move |event| concerns(event, &connection)).await
    }

    async fn tell_stream(&mut self, stream: StreamName, since: DateTime<Utc>, until: DateTime<Utc>) -> Result<()> {
        self.explained.push(format!("stream {stream}"));
        let mut reader = self.log.read_stream(&stream);
        while let Some(stored) = reader.next().await? {
            let Some(recorded) = self.flaws.sift(stored) else { continue };
            if (since..until).contains(&recorded.at) && self.tell_one(&recorded, false).await? {
                break;
            }
        }
        self.cost += reader.cost();
        Ok(())
    }

    async fn tell_log(
        &mut self,
        since: DateTime<Utc>,
        until: DateTime<Utc>,
        concerns: impl Fn(&RecordedEvent) -> bool,
    ) -> Result<()> {
        self.explained.push(format!("the log from {} to {}", time::to_text(since), time::to_text(until)));
        let bar = progress("events read");
        let mut reader = self.log.read_log(since, until);
        while let Some(stored) = reader.next().await? {
            bar.inc(1);
            let Some(recorded) = self.flaws.sift(stored) else { continue };
            if is_history(&recorded) && concerns(&recorded) && self.tell_one(&recorded, false).await? {
                break;
            }
        }
        self.cost += reader.cost();
        bar.finish_and_clear();
        Ok(())
    }

    /// Prints what is there and then what comes. Order is final only after a while, so the last minute is read again and
    /// again, and what comes late is marked.
    async fn follow(&mut self, since: DateTime<Utc>) -> Result<()> {
        let mut seen: BTreeMap<(DateTime<Utc>, EventId, StreamName), ()> = BTreeMap::new();
        let mut from = since;
        let mut latest = since;
        loop {
            let now = Utc::now();
            let mut reader = self.log.read_log(from, now + SETTLING);
            while let Some(stored) = reader.next().await? {
                let Some(recorded) = self.flaws.sift(stored) else { continue };
                let key = (recorded.at, recorded.id, recorded.stream.clone());
                if is_history(&recorded) && seen.insert(key, ()).is_none() {
                    self.tell_one(&recorded, recorded.at < latest).await?;
                    latest = latest.max(recorded.at);
                }
            }
            self.cost += reader.cost();
            self.sheet.flush()?;
            from = since.max(now - SETTLING);
            let settled = from;
            seen.retain(|(at, _, _), ()| *at >= settled);
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Prints an event if it is asked for. True if there have been enough.
    async fn tell_one(&mut self, recorded: &RecordedEvent, late: bool) -> Result<bool> {
        if let Some(word) = &self.args.text {
            let found = said(&recorded.event).is_some_and(|text| text.to_lowercase().contains(&word.to_lowercase()));
            if !found {
                return Ok(false);
            }
        }
        let deliveries = match self.args.with_deliveries && said(&recorded.event).is_some() {
            true => Some(Deliveries::of(&self.log, recorded.id, &mut self.cost).await?),
            false => None,
        };
        let outcome = self.args.with_deliveries.then(|| deliveries.as_ref().map(Deliveries::text).unwrap_or_default());
        let told = Told { event: recorded, deliveries: deliveries.as_ref().map(|d| d.0.as_slice()), late };
        self.sheet.row(&cells(recorded, outcome, late), &told)?;
        self.told += 1;
        Ok(self.args.limit.is_some_and(|limit| self.told >= limit))
    }
}

fn cells(recorded: &RecordedEvent, outcome: Option<String>, late: bool) -> Vec<String> {
    let (from, to, text) = match &recorded.event {
        Event::MessageBroadcast(m) => (m.from.to_string(), "everyone".to_owned(), m.text.clone()),
        Event::MessageSent(m) => (m.from.to_string(), m.to.to_string(), m.text.clone()),
        Event::ConnectionOpened(o) => {
            let words = [&o.source_ip, &o.user_agent].into_iter().flatten().cloned().collect::<Vec<_>>();
            (subject(recorded), String::new(), words.join(" "))
        }
        Event::ConnectionClosed(c) => {
            let words = [c.code.map(|code| code.to_string()), c.text.clone()];
            (subject(recorded), String::new(), words.into_iter().flatten().collect::<Vec<_>>().join(" "))
        }
        Event::ConnectionLost(l) => {
            (subject(recorded), String::new(), format!("found by {:?}", l.found_by).to_lowercase())
        }
        _ => (String::new(), String::new(), String::new()),
    };
    let event = recorded.event.type_name();
    let event = if late { format!("{event} (late)") } else { event.to_owned() };
    let start = [time::to_text(recorded.at), event, from, to, recorded.id.to_string()];
    start.into_iter().chain(outcome).chain([text]).collect()
}

fn subject(recorded: &RecordedEvent) -> String {
    connection::of_stream(&recorded.stream).map(|connection| connection.to_string()).unwrap_or_default()
}

/// What somebody said, if this is a message.
pub(crate) fn said(event: &Event) -> Option<&str> {
    match event {
        Event::MessageBroadcast(message) => Some(&message.text),
        Event::MessageSent(message) => Some(&message.text),
        _ => None,
    }
}

/// Messages and lives of connections; outcomes stand beside their message.
fn is_history(recorded: &RecordedEvent) -> bool {
    said(&recorded.event).is_some() || connection::of_stream(&recorded.stream).is_some()
}

/// Whether the connection did it, said it, or was told it; a broadcast was told to all who were there.
fn concerns(recorded: &RecordedEvent, connection: &ConnectionId) -> bool {
    match &recorded.event {
        Event::MessageBroadcast(_) => true,
        Event::MessageSent(m) => m.from == *connection || m.to == *connection,
        _ => connection::of_stream(&recorded.stream).as_ref() == Some(connection),
    }
}

fn conversation_stream(name: &str) -> Result<StreamName> {
    match name.split_once('~') {
        None if name == "lobby" => Ok(conversation::lobby()),
        Some((a, b)) => Ok(conversation::between(&a.parse()?, &b.parse()?)),
        None => anyhow::bail!("--conversation {name}: write lobby, or two connections as <A>~<B>"),
    }
}
