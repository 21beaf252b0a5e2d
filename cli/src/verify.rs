//! `webchat verify`: proof that the view equals the events, or that sealed days are as they were sealed.
//!
//! Exit code 0: equal. 1: different, each difference listed. 2: could not tell, as some events cannot be read.

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use chrono::Utc;
use projections::reconcile::{Difference, Kind, Mode, Scope};
use serde_json::{Value, json};

use crate::{
    flaws::COULD_NOT_TELL,
    output::{Column, Output},
    replay::reconcile,
    seal,
    source::Source,
};

/// Arguments of `webchat verify`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    output: Output,

    /// Another table than the live view
    #[arg(long, value_name = "TABLE", conflicts_with = "seals")]
    table: Option<String>,
    /// The sealed days instead of the view
    #[arg(long)]
    seals: bool,
    /// A manifest that `webchat seal` wrote, kept elsewhere: names the event that differs
    #[arg(long, value_name = "FILE", requires = "seals")]
    manifest: Vec<PathBuf>,
}

const COLUMNS: &[Column] = &[("connection", 16), ("row", 9), ("decided_by", 55), ("attributes", 0)];

/// Events younger than this may still be on their way into the view.
const SETTLING: Duration = Duration::from_secs(60);

pub(crate) async fn run(args: Args) -> Result<u8> {
    let data = args.source.open().await?;
    if args.seals {
        return seal::verify(&data, &args.output, &args.manifest).await;
    }
    let table = args.table.unwrap_or_else(|| data.table("connections"));
    let scope = Scope { until: Utc::now(), settling: SETTLING };
    let mut sheet = args.output.open(COLUMNS)?;
    let report = reconcile(&data, &table, scope, Mode::Compare, |d| sheet.row(&cells(&d), &whole(&d))).await?;
    sheet.finish()?;
    eprintln!(
        "{table}: {} events, {} connections, {} rows compared, {} different, {} events of unknown type, {} undecodable",
        report.events, report.connections, report.rows, report.differences, report.unknown, report.undecodable
    );
    Ok(match report {
        report if report.differences > 0 => 1,
        report if report.unknown + report.undecodable > 0 => COULD_NOT_TELL,
        _ => 0,
    })
}

fn kind(difference: &Difference) -> &'static str {
    match difference.kind {
        Kind::Missing => "missing",
        Kind::Extra => "extra",
        Kind::Different => "different",
    }
}

fn cells(d: &Difference) -> [String; 4] {
    let decided_by = d.decided_by.as_ref().map_or_else(|| "no event".to_owned(), |(id, event)| format!("{event} {id}"));
    let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
    let attributes =
        d.attributes.iter().map(|(name, is, should)| format!("{name} is {}, should be {}", shown(is), shown(should)));
    [d.connection.to_string(), kind(d).to_owned(), decided_by, attributes.collect::<Vec<_>>().join("; ")]
}

fn whole(d: &Difference) -> Value {
    let attribute = |(name, is, should): &(String, Option<String>, Option<String>)| json!({"name": name, "is": is, "should_be": should});
    json!({
        "connection": d.connection, "row": kind(d),
        "decided_by": d.decided_by.as_ref().map(|(id, event)| json!({"id": id, "type": event})),
        "attributes": d.attributes.iter().map(attribute).collect::<Vec<_>>(),
    })
}
