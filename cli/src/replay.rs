//! `webchat replay`: the view of connections from the events again.
//!
//! Into the live view it is safe while the projector runs. It cannot send: nothing it is given has a way to.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use aws_sdk_dynamodb::{
    Client,
    types::{
        AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, TableDescription, TableStatus,
        TimeToLiveSpecification,
    },
};
use chrono::Utc;
use projections::reconcile::{Mode, Reconciliation, Report, Scope};
use serde_json::json;

use crate::{
    flaws::COULD_NOT_TELL,
    output::{Column, Output, progress},
    source::{Data, Source},
    when::When,
};

/// Arguments of `webchat replay`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    output: Output,

    /// The state at this moment; only with --into
    #[arg(long, value_name = "TIME", requires = "into", allow_hyphen_values = true)]
    at: Option<When>,
    /// Another table instead of the live view; it is created if it is not there
    #[arg(long, value_name = "TABLE")]
    into: Option<String>,
    /// Only say what would be written
    #[arg(long)]
    dry_run: bool,
}

const COLUMNS: &[Column] = &[
    ("events", 10),
    ("events_per_s", 12),
    ("connections", 11),
    ("rows_compared", 13),
    ("rows_written", 12),
    ("unknown", 7),
    ("undecodable", 0),
];

pub(crate) async fn run(args: Args) -> Result<u8> {
    let data = args.source.open().await?;
    let live = data.table("connections");
    if args.at.is_some() && args.into.as_deref() == Some(&live) {
        bail!("--at: a past state goes into another table, not into the live view {live}");
    }
    let table = args.into.unwrap_or_else(|| live.clone());
    if table != live && !args.dry_run {
        create_like(&data.dynamodb(), &live, &table).await?;
    }
    let mode = if args.dry_run { Mode::Compare } else { Mode::Repair };
    let scope = Scope { until: args.at.map_or_else(far_future, |at| at.0), settling: std::time::Duration::ZERO };
    let started = Instant::now();
    let report = reconcile(&data, &table, scope, mode, |_| Ok(())).await?;
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = report.events as f64 / started.elapsed().as_secs_f64();
    let mut sheet = args.output.open(COLUMNS)?;
    let numbers = [
        report.events,
        rate as u64,
        report.connections,
        report.rows,
        report.differences,
        report.unknown,
        report.undecodable,
    ];
    let whole = json!({"table": table, "dry_run": args.dry_run, "events": report.events, "events_per_s": rate as u64,
        "connections": report.connections, "rows_compared": report.rows, "rows_written": report.differences,
        "unknown": report.unknown, "undecodable": report.undecodable});
    sheet.row(&numbers.map(|number| number.to_string()), &whole)?;
    sheet.finish()?;
    Ok(if report.undecodable > 0 { COULD_NOT_TELL } else { 0 })
}

/// Later than any event: everything counts.
pub(crate) fn far_future() -> chrono::DateTime<Utc> {
    Utc::now() + chrono::Duration::days(1)
}

/// Compares or repairs a table, with a count on stderr. `found` hears of each difference.
pub(crate) async fn reconcile(
    data: &Data,
    table: &str,
    scope: Scope,
    mode: Mode,
    mut found: impl FnMut(projections::reconcile::Difference) -> Result<()>,
) -> Result<Report> {
    let (log, view) = (data.log(), data.view_in(table));
    let bar = progress("events read");
    let mut failed = None;
    let reconciliation = Reconciliation { log: &log, view: &view, scope, mode, segments: data.segments };
    let tell = |difference| {
        if let Err(error) = found(difference) {
            failed = Some(error);
        }
    };
    let report = reconciliation.run(tell, |report| bar.set_position(report.events)).await?;
    bar.finish_and_clear();
    failed.map_or(Ok(report), Err)
}

/// Creates `table` with the shape of `like`, unless it is there.
async fn create_like(client: &Client, like: &str, table: &str) -> Result<()> {
    if client.describe_table().table_name(table).send().await.is_ok() {
        return Ok(());
    }
    let shape = client.describe_table().table_name(like).send().await.with_context(|| format!("looking at {like}"))?;
    let shape = shape.table.with_context(|| format!("there is no table {like}"))?;
    let TableDescription { attribute_definitions, key_schema, global_secondary_indexes, .. } = shape;
    let indexes = global_secondary_indexes.unwrap_or_default().into_iter().map(|index| {
        GlobalSecondaryIndex::builder()
            .set_index_name(index.index_name)
            .set_key_schema(index.key_schema)
            .set_projection(index.projection)
            .build()
    });
    let attributes: Option<Vec<AttributeDefinition>> = attribute_definitions;
    let keys: Option<Vec<KeySchemaElement>> = key_schema;
    let create = client.create_table().table_name(table).billing_mode(BillingMode::PayPerRequest);
    let create = create.set_attribute_definitions(attributes).set_key_schema(keys);
    let create = create.set_global_secondary_indexes(Some(indexes.collect::<Result<_, _>>()?));
    create.send().await.with_context(|| format!("creating {table}"))?;
    loop {
        let now =
            client.describe_table().table_name(table).send().await.with_context(|| format!("creating {table}"))?;
        if now.table.and_then(|table| table.table_status) == Some(TableStatus::Active) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    let ttl = TimeToLiveSpecification::builder().attribute_name("expires_at").enabled(true).build()?;
    client
        .update_time_to_live()
        .table_name(table)
        .time_to_live_specification(ttl)
        .send()
        .await
        .with_context(|| format!("setting the TTL of {table}"))?;
    eprintln!("created table {table}");
    Ok(())
}
