//! `webchat undelivered`: accepted messages of which nobody knows what became. `webchat redeliver`: their notices again.
//!
//! Redelivering is the one command that sends. Clients drop repeats by id, and who connected after a broadcast does not
//! hear it, however late it is delivered.

use anyhow::{Context, Result, bail};
use chrono::{Duration, Utc};
use events::{Event, EventId, EventLog, RecordedEvent, time};
use projections::{Undelivered, notices};

use crate::{
    confirm,
    flaws::Flaws,
    history::said,
    output::{Column, Output, Sheet, progress},
    source::Source,
    when::When,
};

/// After this long a message should have an outcome.
const OVERDUE: Duration = Duration::minutes(5);

/// Arguments of `webchat undelivered`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    output: Output,

    /// From this time on: 2026-11-22T10:00:00Z, 2026-11-22 or -2h
    #[arg(long, value_name = "TIME", default_value = "-24h", allow_hyphen_values = true)]
    since: When,
}

/// Arguments of `webchat redeliver`.
#[derive(clap::Args)]
pub(crate) struct RedeliverArgs {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    output: Output,

    /// This message, whatever became of it
    #[arg(long, value_name = "ID", conflicts_with = "since")]
    message: Option<EventId>,
    /// All undelivered ones from this time on
    #[arg(long, value_name = "TIME", required_unless_present = "message", allow_hyphen_values = true)]
    since: Option<When>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

const COLUMNS: &[Column] = &[("at", 24), ("from", 16), ("to", 16), ("id", 36), ("text", 0)];

pub(crate) async fn run(args: Args) -> Result<u8> {
    let data = args.source.open().await?;
    let mut flaws = Flaws::default();
    let undelivered = find(&data.log(), args.since, &mut flaws).await?;
    list(args.output.open(COLUMNS)?, &undelivered)?;
    eprintln!("{} messages without an outcome", undelivered.len());
    Ok(flaws.exit_code())
}

pub(crate) async fn redeliver(args: RedeliverArgs) -> Result<u8> {
    let data = args.source.open().await?;
    let bus = data.bus()?;
    let mut flaws = Flaws::default();
    let messages = match (args.message, args.since) {
        (Some(id), _) => vec![message(&data.log(), id).await?],
        (None, Some(since)) => find(&data.log(), since, &mut flaws).await?,
        (None, None) => bail!("name a --message or a time --since"),
    };
    list(args.output.open(COLUMNS)?, &messages)?;
    if messages.is_empty() {
        eprintln!("nothing to redeliver");
        return Ok(flaws.exit_code());
    }
    if !confirm(&format!("Send these {} messages again?", messages.len()), args.yes).await? {
        eprintln!("nothing was sent");
        return Ok(1);
    }
    let notices: Vec<_> = messages.iter().filter_map(notices::of).collect();
    let unpublished = bus.publish(&notices).await;
    eprintln!("{} of {} notices published", notices.len() - unpublished.len(), notices.len());
    if let Some(first) = unpublished.into_iter().next() {
        return Err(first.into());
    }
    Ok(flaws.exit_code())
}

async fn message(log: &EventLog, id: EventId) -> Result<RecordedEvent> {
    let mut reader = log.read_message(id).with_context(|| format!("{id} is no id of a message"))?;
    while let Some(stored) = reader.next().await? {
        let found = stored?;
        if said(&found.event).is_some() {
            return Ok(found);
        }
    }
    bail!("there is no message {id}")
}

/// Messages that should have an outcome and have none.
async fn find(log: &EventLog, since: When, flaws: &mut Flaws) -> Result<Vec<RecordedEvent>> {
    let now = Utc::now();
    let bar = progress("events read");
    let mut reader = log.read_log(since.0, now);
    let mut undelivered = Undelivered::default();
    while let Some(stored) = reader.next().await? {
        bar.inc(1);
        if let Some(recorded) = flaws.sift(stored) {
            undelivered.take(recorded, now - OVERDUE);
        }
    }
    let found = undelivered.confirm(log).await?;
    bar.finish_and_clear();
    Ok(found)
}

fn list(mut sheet: Sheet, messages: &[RecordedEvent]) -> Result<()> {
    for recorded in messages {
        let (from, to, text) = match &recorded.event {
            Event::MessageBroadcast(m) => (m.from.to_string(), "everyone".to_owned(), &m.text),
            Event::MessageSent(m) => (m.from.to_string(), m.to.to_string(), &m.text),
            _ => continue,
        };
        sheet.row(&[time::to_text(recorded.at), from, to, recorded.id.to_string(), text.clone()], recorded)?;
    }
    sheet.finish()
}
