//! `webchat parked`: the records the projector could not take, why, and a way back once the cause is fixed.
//!
//! Dropping one keeps its row, marked with who dropped it and when. A retry writes what the event says into the view and
//! sends nothing: a message among them is sent by `webchat redeliver`.

use anyhow::{Context, Result, bail};
use events::{Event, EventId, StreamName, connection};
use handlers::ParkedRecord;
use projections::connections;
use serde_json::json;

use crate::{
    confirm,
    output::{Column, Output, printable},
    source::{Data, Source},
};

/// Arguments of `webchat parked`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// What is parked
    List(ListArgs),
    /// One record, with its event as it is stored
    Show(OneArgs),
    /// Take them up again, as the projector would
    Retry(RetryArgs),
    /// Give one up; that is recorded
    Drop(DropArgs),
}

#[derive(clap::Args)]
struct ListArgs {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    output: Output,
    /// Those that were dropped, too
    #[arg(long)]
    all: bool,
}

#[derive(clap::Args)]
struct OneArgs {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    key: Key,
}

#[derive(clap::Args)]
struct RetryArgs {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    output: Output,
    /// The record's stream [default: all records]
    #[arg(long, value_name = "STREAM", requires = "id")]
    stream: Option<String>,
    /// The record's id
    #[arg(long, value_name = "ID", requires = "stream")]
    id: Option<String>,
}

#[derive(clap::Args)]
struct DropArgs {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    key: Key,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

#[derive(clap::Args)]
struct Key {
    /// The record's stream
    #[arg(long, value_name = "STREAM")]
    stream: String,
    /// The record's id
    #[arg(long, value_name = "ID")]
    id: String,
}

const COLUMNS: &[Column] = &[("parked_at", 24), ("stream", 24), ("id", 36), ("dropped", 7), ("why", 0)];
const RETRIED: &[Column] = &[("stream", 24), ("id", 36), ("outcome", 12), ("why", 0)];
const SHOWN: &[Column] = &[("stream", 24), ("id", 36), ("why", 40), ("event", 0)];

pub(crate) async fn run(args: Args) -> Result<u8> {
    match args.command {
        Command::List(args) => list(args).await,
        Command::Show(args) => show(args).await,
        Command::Retry(args) => retry(args).await,
        Command::Drop(args) => drop_one(args).await,
    }
}

async fn list(args: ListArgs) -> Result<u8> {
    let data = args.source.open().await?;
    let mut sheet = args.output.open(COLUMNS)?;
    let records = data.parked().list().await?;
    for record in records.iter().filter(|record| args.all || record.dropped_at.is_none()) {
        sheet.row(&cells(record), record)?;
    }
    sheet.finish()?;
    Ok(0)
}

async fn show(args: OneArgs) -> Result<u8> {
    let data = args.source.open().await?;
    let record = find(&data, &args.key).await?;
    let event = data.log().get_item(&args.key.stream, &args.key.id).await?;
    let event = event.map(serde_json::to_value).transpose()?;
    let shown = event.as_ref().map_or_else(|| "not in the log".to_owned(), ToString::to_string);
    let mut sheet = args.output.open(SHOWN)?;
    let cells = [record.stream.clone(), record.id.clone(), record.why.clone(), shown];
    sheet.row(&cells, &json!({"parked": record, "event": event}))?;
    sheet.finish()?;
    Ok(0)
}

async fn retry(args: RetryArgs) -> Result<u8> {
    let data = args.source.open().await?;
    let records = match (args.stream, args.id) {
        (Some(stream), Some(id)) => vec![find(&data, &Key { stream, id }).await?],
        _ => data.parked().list().await?.into_iter().filter(|record| record.dropped_at.is_none()).collect(),
    };
    let mut sheet = args.output.open(RETRIED)?;
    let mut stuck = 0;
    for record in records {
        let (outcome, why) = match retry_one(&data, &record).await {
            Ok(left_to_do) => ("done", left_to_do.unwrap_or_default()),
            Err(error) => ("still parked", format!("{error:#}")),
        };
        stuck += u64::from(outcome != "done");
        let cells = [record.stream.clone(), record.id.clone(), outcome.to_owned(), why.clone()];
        sheet.row(&cells, &json!({"stream": record.stream, "id": record.id, "outcome": outcome, "why": why}))?;
    }
    sheet.finish()?;
    Ok(u8::from(stuck > 0))
}

/// Takes a record up again. Says what is left to do by hand: a message is sent by another command.
async fn retry_one(data: &Data, record: &ParkedRecord) -> Result<Option<String>> {
    let (stream, id): (StreamName, EventId) = (record.stream.clone().into(), record.id.parse()?);
    let stored = data.log().get(&stream, id).await?.context("it is not in the log")?;
    let recorded = stored?;
    if let Event::Unknown(unknown) = &recorded.event {
        bail!("type {} version {} is unknown to this program as well", unknown.event_type, recorded.version);
    }
    if let Some(connection) = connection::of_stream(&stream)
        && let Some(row) = connections::fold([&recorded]).remove(&connection)
    {
        data.view().write(&row).await?;
    }
    data.parked().remove(&record.stream, &record.id).await?;
    let unsent = crate::history::said(&recorded.event).is_some();
    Ok(unsent.then(|| format!("it was never sent: webchat redeliver --message {id}")))
}

async fn drop_one(args: DropArgs) -> Result<u8> {
    let data = args.source.open().await?;
    let record = find(&data, &args.key).await?;
    let mut sheet = args.output.open(COLUMNS)?;
    eprintln!("{}", printable(&format!("{} {}: {}", record.stream, record.id, record.why)));
    if !confirm("Give this record up?", args.yes).await? {
        eprintln!("nothing was dropped");
        return Ok(1);
    }
    let by = std::env::var("USER").unwrap_or_else(|_| "unknown".to_owned());
    data.parked().mark_dropped(&record.stream, &record.id, &by).await?;
    let record = find(&data, &args.key).await?;
    sheet.row(&cells(&record), &record)?;
    sheet.finish()?;
    Ok(0)
}

fn cells(record: &ParkedRecord) -> [String; 5] {
    let ParkedRecord { stream, id, why, parked_at, dropped_at, dropped_by } = record.clone();
    let dropped = [dropped_at, dropped_by].into_iter().flatten().collect::<Vec<_>>().join(" by ");
    [parked_at, stream, id, dropped, why]
}

async fn find(data: &Data, key: &Key) -> Result<ParkedRecord> {
    let found = data.parked().get(&key.stream, &key.id).await?;
    found.with_context(|| format!("nothing of stream {} and id {} is parked", key.stream, key.id))
}
