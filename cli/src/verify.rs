//! `webchat verify`: proof that the view equals the events, or that sealed days are as they were sealed.
//!
//! Exit code 0: equal. 1: different, each difference listed. 2: could not tell, as some events, or none, can be read.

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use projections::reconcile::{Difference, Finding, Kind, Mode, Scope};
use serde_json::{Value, json};

use crate::{
    flaws::{COULD_NOT_TELL, Flaws},
    is_broken_pipe,
    output::{Column, Output},
    replay::reconcile,
    seal,
    source::Source,
    tell,
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

/// A failure is no difference: whoever asks by exit code must not take it for one.
pub(crate) async fn run(args: Args) -> Result<u8> {
    match check(args).await {
        Err(error) if !is_broken_pipe(&error) => {
            tell(&error);
            Ok(COULD_NOT_TELL)
        }
        done => done,
    }
}

async fn check(args: Args) -> Result<u8> {
    let data = args.source.open().await?;
    if args.seals {
        return seal::verify(&data, &args.output, &args.manifest).await;
    }
    let table = args.table.unwrap_or_else(|| data.table("connections"));
    let mut sheet = args.output.open(COLUMNS)?;
    let mut flaws = Flaws::default();
    let (scope, bar) = (Scope::everything(SETTLING), args.output.progress("events read"));
    let report = reconcile(&data, &table, scope, Mode::Compare, bar, |finding| match finding {
        Finding::Differs(difference) => sheet.row(&cells(&difference), &whole(&difference)),
        Finding::Skipped(stored) => {
            flaws.sift(*stored);
            Ok(())
        }
    })
    .await?;
    sheet.finish()?;
    eprintln!(
        "{table}: {} events, {} connections, {} rows compared, {} different",
        report.events, report.connections, report.rows, report.differences
    );
    let could_not_tell = flaws.exit_code();
    Ok(if report.differences > 0 { 1 } else { could_not_tell })
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
