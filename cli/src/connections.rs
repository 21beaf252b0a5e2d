//! `webchat connections`: who is or was connected; with `--at`, who was at a past moment, from the log alone.

use std::collections::BTreeMap;

use anyhow::Result;
use events::{ConnectionId, connection, time};
use projections::Row;
use serde_json::{Value, json};

use crate::{
    flaws::Flaws,
    output::{Column, Output, progress},
    source::{Data, Source},
    when::When,
};

/// Arguments of `webchat connections`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    output: Output,

    /// At this moment, folded from the log: 2026-11-22T10:00:00Z, 2026-11-22 or -2h
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    at: Option<When>,
    /// Only those who are (or were) there
    #[arg(long)]
    live: bool,
}

const COLUMNS: &[Column] = &[
    ("connection", 16),
    ("state", 6),
    ("opened_at", 24),
    ("ended_at", 24),
    ("source_ip", 15),
    ("how", 20),
    ("user_agent", 0),
];

pub(crate) async fn run(args: Args) -> Result<u8> {
    let data = args.source.open().await?;
    let mut flaws = Flaws::default();
    let mut rows = match args.at {
        Some(When(at)) => fold_until(&data, at, &mut flaws).await?,
        None => data.view().all().await?.into_iter().map(|stored| stored.row).collect(),
    };
    rows.retain(|row| row.is_live() || !args.live);
    rows.sort_by(|a, b| (opened_at(a), &a.connection).cmp(&(opened_at(b), &b.connection)));
    let mut sheet = args.output.open(COLUMNS)?;
    for row in &rows {
        sheet.row(&cells(row), &whole(row))?;
    }
    sheet.finish()?;
    Ok(flaws.exit_code())
}

/// Every connection as the events up to `until` (included) tell it. Memory grows with connections, not with events.
async fn fold_until(data: &Data, until: chrono::DateTime<chrono::Utc>, flaws: &mut Flaws) -> Result<Vec<Row>> {
    let bar = progress("events read");
    let mut rows: BTreeMap<ConnectionId, Row> = BTreeMap::new();
    for segment in 0..data.segments {
        let mut reader = data.log().scan(segment, data.segments);
        while let Some(stored) = reader.next().await? {
            bar.inc(1);
            let Some(recorded) = flaws.sift(stored).filter(|recorded| recorded.at <= until) else { continue };
            if let Some(connection) = connection::of_stream(&recorded.stream) {
                rows.entry(connection.clone()).or_insert_with(|| Row::new(connection)).apply(&recorded);
            }
        }
    }
    bar.finish_and_clear();
    Ok(rows.into_values().filter(Row::is_known).collect())
}

fn opened_at(row: &Row) -> Option<chrono::DateTime<chrono::Utc>> {
    row.opened.as_ref().map(|opened| opened.at)
}

fn state(row: &Row) -> &'static str {
    match row {
        Row { closed: Some(_), .. } => "closed",
        Row { lost: Some(_), .. } => "lost",
        _ => "live",
    }
}

fn how(row: &Row) -> String {
    let closed = row.closed.as_ref().map(|closed| {
        let words = [closed.code.map(|code| code.to_string()), closed.text.clone()];
        words.into_iter().flatten().collect::<Vec<_>>().join(" ")
    });
    let lost = row.lost.as_ref().map(|lost| format!("found by {:?}", lost.found_by).to_lowercase());
    [closed, lost].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn cells(row: &Row) -> [String; 7] {
    let (source_ip, user_agent) = match &row.opened {
        Some(opened) => (opened.source_ip.clone(), opened.user_agent.clone()),
        None => (None, None),
    };
    let text = |at: Option<_>| at.map(time::to_text).unwrap_or_default();
    [
        row.connection.to_string(),
        state(row).to_owned(),
        text(opened_at(row)),
        text(row.ended_at()),
        source_ip.unwrap_or_default(),
        how(row),
        user_agent.unwrap_or_default(),
    ]
}

fn whole(row: &Row) -> Value {
    let [connection, state, _, _, _, how, _] = cells(row);
    json!({
        "connection": connection,
        "state": state,
        "opened_at": opened_at(row).map(time::to_text),
        "ended_at": row.ended_at().map(time::to_text),
        "how": how,
        "source_ip": row.opened.as_ref().and_then(|opened| opened.source_ip.clone()),
        "user_agent": row.opened.as_ref().and_then(|opened| opened.user_agent.clone()),
    })
}
