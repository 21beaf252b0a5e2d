//! `webchat history`: messages and connection events in order of time, streaming.
//!
//! It reads as little as the question allows: a message is found by its id's millisecond, a conversation is a part of one
//! stream, a connection is its stream and then the log between its opening and its end.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use events::{
    ConnectionId, Event, EventId, EventLog, ReadCost, RecordedEvent, StreamName, connection, conversation, from_item,
    time,
};
use futures::future::try_join_all;
use serde::Serialize;
use serde_dynamo::{AttributeValue, Item};

use crate::{
    deliveries::{self, Recorded},
    flaws::Flaws,
    output::{Column, Output, Sheet},
    source::Source,
    when::When,
};

/// An event may come this late into what was printed already: order is final after 30 s, and the index lags a little.
const SETTLING: Duration = Duration::from_secs(60);
/// How often `--follow` looks.
const LOOK: Duration = Duration::from_secs(1);
/// Without `--since`, the last day.
const DEFAULT_SPAN: chrono::Duration = chrono::Duration::hours(24);
/// Messages whose deliveries are looked up at once.
const LOOKED_UP: usize = 16;

/// Arguments of `webchat history`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    output: Output,

    /// From this time on: 2026-11-22T10:00:00Z, 2026-11-22 or -2h [default: -24h; with --connection, its opening]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    since: Option<When>,
    /// Before this time [default: now]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    until: Option<When>,
    /// Only what this connection did, said or was told
    #[arg(long, value_name = "ID", conflicts_with_all = ["conversation", "message"], allow_hyphen_values = true)]
    connection: Option<ConnectionId>,
    /// Only this conversation: lobby, or two connections as ID~ID
    #[arg(long, value_name = "NAME", conflicts_with = "message", value_parser = conversation_stream, allow_hyphen_values = true)]
    conversation: Option<StreamName>,
    /// Only this message, with its deliveries
    #[arg(long, value_name = "ID", conflicts_with_all = ["since", "until", "follow"])]
    message: Option<EventId>,
    /// Only messages with this text, whatever the case
    #[arg(long, value_name = "WORD")]
    text: Option<String>,
    /// Beside each message, what became of it; with --follow, when that is known
    #[arg(long)]
    with_deliveries: bool,
    /// No more than this many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Go on with what happens from now on; what comes late is marked
    #[arg(long, conflicts_with_all = ["until", "limit", "output", "explain"])]
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
    args.with_deliveries |= args.message.is_some();
    let data = args.source.clone().open().await?;
    let mut history = History {
        log: data.log(),
        sheet: args.output.open(if args.with_deliveries { WITH_OUTCOME } else { COLUMNS })?,
        flaws: Flaws::default(),
        waiting: Vec::new(),
        told: 0,
        looked_up: 0,
        cost: ReadCost::default(),
        explained: Vec::new(),
        args,
    };
    history.tell().await?;
    history.tell_waiting().await?;
    let History { sheet, flaws, cost, mut explained, args, told, looked_up, .. } = history;
    sheet.finish()?;
    if args.explain {
        explained.extend((looked_up > 0).then(|| format!("the deliveries of {looked_up} messages")));
        explained.iter().for_each(|line| eprintln!("read {line}"));
        eprintln!("{told} told of {} items, {} requests, {:.1} read units", cost.items, cost.requests, cost.units);
    } else if told == 0 {
        explained.iter().for_each(|line| eprintln!("nothing in {line}"));
    }
    Ok(flaws.exit_code())
}

struct History {
    args: Args,
    log: EventLog,
    sheet: Sheet,
    flaws: Flaws,
    /// To be told when their deliveries have been looked up.
    waiting: Vec<RecordedEvent>,
    told: u64,
    /// Messages whose deliveries were read.
    looked_up: u64,
    cost: ReadCost,
    /// What was read.
    explained: Vec<String>,
}

/// Which events are asked for.
enum Question {
    All,
    Of(StreamName),
    Concerning(Life),
}

/// A connection, and when it was there.
struct Life {
    connection: ConnectionId,
    opened: DateTime<Utc>,
    ended: Option<DateTime<Utc>>,
}

impl History {
    async fn tell(&mut self) -> Result<()> {
        if let Some(message) = self.args.message {
            return self.tell_message(message).await;
        }
        let now = Utc::now();
        let since = self.args.since.map_or(now - DEFAULT_SPAN, |since| since.0);
        // Nothing happens later, and days to come need not be looked into.
        let until = self.args.until.map_or(now, |until| until.0.min(now + SETTLING));
        let question = match (self.args.connection.clone(), self.args.conversation.clone()) {
            (Some(connection), _) => Question::Concerning(self.life(connection).await?),
            (_, Some(stream)) => Question::Of(stream),
            _ => Question::All,
        };
        match question {
            question if self.args.follow => self.follow(since, &question).await,
            Question::Of(stream) => self.tell_stream(&stream, since, until).await,
            Question::Concerning(life) => self.tell_connection(life, until).await,
            question => self.tell_log(since, until, &question).await,
        }
    }

    async fn tell_message(&mut self, message: EventId) -> Result<()> {
        let reader = self.log.read_message(message);
        let mut reader = reader.with_context(|| format!("{message} is no id of a message"))?;
        self.explained.push(format!("the log at {}", message.request_time().map(time::to_text).unwrap_or_default()));
        let mut found = false;
        while let Some(stored) = reader.next().await? {
            found = true;
            if let Some(recorded) = self.flaws.sift(stored) {
                self.take(recorded).await?;
            }
        }
        self.cost += reader.cost();
        anyhow::ensure!(found, "there is no message {message}");
        Ok(())
    }

    async fn life(&mut self, connection: ConnectionId) -> Result<Life> {
        let stream = connection::stream(&connection);
        self.explained.push(format!("stream {stream}"));
        let mut reader = self.log.read_stream(&stream);
        let mut events = Vec::new();
        while let Some(stored) = reader.next().await? {
            events.extend(self.flaws.sift(stored));
        }
        self.cost += reader.cost();
        let opened = events.iter().map(|event| event.at).min();
        let opened = opened.with_context(|| format!("there is no connection {connection}"))?;
        let ended = events.iter().filter(|e| !matches!(e.event, Event::ConnectionOpened(_))).map(|e| e.at).max();
        Ok(Life { connection, opened, ended })
    }

    /// Clocks of hosts differ, and what was said to it just before its end comes to an outcome after it: hence a minute more
    /// on both sides.
    async fn tell_connection(&mut self, life: Life, until: DateTime<Utc>) -> Result<()> {
        let since = self.args.since.map_or(life.opened - SETTLING, |since| since.0.max(life.opened - SETTLING));
        let until = life.ended.map_or(until, |ended| until.min(ended + SETTLING));
        self.tell_log(since, until, &Question::Concerning(life)).await
    }

    async fn tell_stream(&mut self, stream: &StreamName, since: DateTime<Utc>, until: DateTime<Utc>) -> Result<()> {
        self.explained.push(format!("stream {stream} from {} to {}", time::to_text(since), time::to_text(until)));
        let bar = self.args.output.progress("events read");
        let mut reader = self.log.read_stream_between(stream, since, until);
        while let Some(stored) = reader.next().await? {
            bar.inc(1);
            if let Some(recorded) = self.flaws.sift(stored)
                && !self.take(recorded).await?
            {
                break;
            }
        }
        self.cost += reader.cost();
        bar.finish_and_clear();
        Ok(())
    }

    async fn tell_log(&mut self, since: DateTime<Utc>, until: DateTime<Utc>, question: &Question) -> Result<()> {
        self.explained.push(format!("the log from {} to {}", time::to_text(since), time::to_text(until)));
        let bar = self.args.output.progress("events read");
        let mut reader = self.log.read_log(since, until);
        while let Some(stored) = reader.next().await? {
            bar.inc(1);
            let Some(recorded) = self.flaws.sift(stored) else { continue };
            if is_history(&recorded) && question.asks_for(&recorded) && !self.take(recorded).await? {
                break;
            }
        }
        self.cost += reader.cost();
        bar.finish_and_clear();
        Ok(())
    }

    /// Prints what is there and then what comes. Order is final only after a while, so the last minute is read again and
    /// again, and what comes late is marked.
    async fn follow(&mut self, since: DateTime<Utc>, question: &Question) -> Result<()> {
        let (mut seen, mut latest, mut from) = (BTreeSet::<(String, String)>::new(), String::new(), since);
        loop {
            let now = Utc::now();
            let unsettled = time::to_text(now - SETTLING);
            let mut reader = self.log.read_log(from, now + SETTLING);
            while let Some(item) = reader.next_item().await? {
                let place = (text(&item, "logged"), text(&item, "stream"));
                // Only the last minute is read again.
                if place.0 >= unsettled && !seen.insert(place.clone()) {
                    continue;
                }
                let Some(recorded) = self.flaws.sift(from_item(item)) else { continue };
                if self.is_followed(&recorded) && question.asks_for(&recorded) && self.has_text(&recorded) {
                    self.print(&recorded, None, place.0 < latest)?;
                    latest = latest.max(place.0);
                }
            }
            self.sheet.flush()?;
            seen.retain(|(logged, _)| *logged >= unsettled);
            from = since.max(now - SETTLING);
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Whoever follows sees outcomes as they come, if at all: a message that has just been said has none yet.
    fn is_followed(&self, recorded: &RecordedEvent) -> bool {
        is_history(recorded) || (self.args.with_deliveries && deliveries::outcome(&recorded.event).is_some())
    }

    /// Tells an event if its text is asked for. False when there have been enough.
    async fn take(&mut self, recorded: RecordedEvent) -> Result<bool> {
        if !self.has_text(&recorded) {
            return Ok(true);
        }
        if !self.args.with_deliveries {
            self.print(&recorded, None, false)?;
            return Ok(!self.is_enough());
        }
        self.waiting.push(recorded);
        if self.waiting.len() == LOOKED_UP || self.is_enough() {
            self.tell_waiting().await?;
        }
        Ok(!self.is_enough())
    }

    fn is_enough(&self) -> bool {
        self.args.limit.is_some_and(|limit| self.told + self.waiting.len() as u64 >= limit)
    }

    /// Looks up the deliveries of those that wait for it, and tells them.
    async fn tell_waiting(&mut self) -> Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        let log = &self.log;
        let looks = waiting.iter().map(async |recorded| match said(&recorded.event) {
            Some(_) => Recorded::of(log, recorded.id).await.map(Some),
            None => Ok(None),
        });
        let found = try_join_all(looks).await?;
        for (recorded, found) in waiting.iter().zip(found) {
            self.looked_up += u64::from(found.is_some());
            self.cost += found.as_ref().map(|found| found.cost).unwrap_or_default();
            let outcomes = found.map(|found| found.outcomes(&mut self.flaws));
            self.print(recorded, outcomes.as_deref(), false)?;
        }
        Ok(())
    }

    fn has_text(&self, recorded: &RecordedEvent) -> bool {
        let Some(word) = &self.args.text else { return true };
        said(&recorded.event).is_some_and(|text| text.to_lowercase().contains(&word.to_lowercase()))
    }

    fn print(&mut self, recorded: &RecordedEvent, deliveries: Option<&[RecordedEvent]>, late: bool) -> Result<()> {
        let outcome = match deliveries {
            Some(outcomes) => deliveries::text(outcomes),
            None => deliveries::outcome(&recorded.event).unwrap_or_default(),
        };
        let outcome = self.args.with_deliveries.then_some(outcome);
        self.sheet.row(&cells(recorded, outcome, late), &Told { event: recorded, deliveries, late })?;
        self.told += 1;
        Ok(())
    }
}

impl Question {
    fn asks_for(&self, recorded: &RecordedEvent) -> bool {
        match self {
            Question::All => true,
            Question::Of(stream) => recorded.stream == *stream || message_is_in(&recorded.event, stream),
            Question::Concerning(life) => life.is_concerned(recorded),
        }
    }
}

/// Whether this is the outcome of a message in that conversation.
fn message_is_in(event: &Event, stream: &StreamName) -> bool {
    match event {
        Event::MessageDelivered(m) => m.address.conversation == *stream,
        Event::MessageUndeliverable(m) => m.address.conversation == *stream,
        Event::BroadcastDelivered(_) => *stream == conversation::lobby(),
        _ => false,
    }
}

impl Life {
    /// Whether the connection did it, said it, or was told it: a broadcast is told to all who are there when it is said.
    fn is_concerned(&self, recorded: &RecordedEvent) -> bool {
        let is_here = recorded.at >= self.opened && self.ended.is_none_or(|ended| recorded.at <= ended);
        match &recorded.event {
            Event::MessageBroadcast(m) => m.from == self.connection || is_here,
            Event::MessageSent(m) => m.from == self.connection || m.to == self.connection,
            Event::MessageDelivered(m) => m.address.from == self.connection || m.address.to == self.connection,
            Event::MessageUndeliverable(m) => m.address.from == self.connection || m.address.to == self.connection,
            _ => connection::of_stream(&recorded.stream).as_ref() == Some(&self.connection),
        }
    }
}

fn cells(recorded: &RecordedEvent, outcome: Option<String>, late: bool) -> Vec<String> {
    let (from, to, text) = match &recorded.event {
        Event::MessageBroadcast(m) => (m.from.to_string(), "everyone".to_owned(), m.text.clone()),
        Event::MessageSent(m) => (m.from.to_string(), m.to.to_string(), m.text.clone()),
        Event::MessageDelivered(m) => (m.address.from.to_string(), m.address.to.to_string(), String::new()),
        Event::MessageUndeliverable(m) => (m.address.from.to_string(), m.address.to.to_string(), String::new()),
        Event::ConnectionOpened(o) => {
            (subject(recorded), String::new(), words([o.source_ip.clone(), o.user_agent.clone()]))
        }
        Event::ConnectionClosed(c) => {
            (subject(recorded), String::new(), words([c.code.map(|code| code.to_string()), c.text.clone()]))
        }
        Event::ConnectionLost(l) => {
            (subject(recorded), String::new(), format!("found by {:?}", l.found_by).to_lowercase())
        }
        _ => (String::new(), String::new(), String::new()),
    };
    let event = recorded.event.type_name();
    let event = if late { format!("{event} (late)") } else { event.to_owned() };
    // Beside its outcome, a message is known by its own id.
    let id = events::delivery::of_stream(&recorded.stream).unwrap_or(recorded.id);
    let start = [time::to_text(recorded.at), event, from, to, id.to_string()];
    start.into_iter().chain(outcome).chain([text]).collect()
}

fn words(parts: [Option<String>; 2]) -> String {
    parts.into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

fn text(item: &Item, name: &str) -> String {
    match item.get(name) {
        Some(AttributeValue::S(text)) => text.clone(),
        _ => String::new(),
    }
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

fn conversation_stream(name: &str) -> Result<StreamName> {
    match name.split_once('~') {
        None if name == "lobby" => Ok(conversation::lobby()),
        Some((a, b)) => Ok(conversation::between(&a.parse()?, &b.parse()?)),
        None => anyhow::bail!("write lobby, or two connections as <A>~<B>"),
    }
}
