//! `webchat replay`: the view of connections from the events again.
//!
//! Into the live view it is safe while the projector runs. It cannot send: nothing it is given has a way to.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use aws_sdk_dynamodb::{
    Client,
    error::DisplayErrorContext,
    operation::{create_table::CreateTableError, describe_table::DescribeTableError},
    types::{
        BillingMode, GlobalSecondaryIndex, TableDescription, TableStatus, TimeToLiveSpecification, TimeToLiveStatus,
    },
};
use indicatif::ProgressBar;
use projections::reconcile::{Finding, Mode, Reconciliation, Report, Scope};
use serde_json::json;

use crate::{
    flaws::Flaws,
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
    let data = args.source.clone().open().await?;
    let live = data.table("connections");
    if args.at.is_some() && args.into.as_deref() == Some(&live) {
        bail!("--at: a past state goes into another table, not into the live view {live}");
    }
    let table = args.into.clone().unwrap_or_else(|| live.clone());
    if table != live {
        prepare(&data.dynamodb(), &live, &table, &args).await?;
    }
    let mode = if args.dry_run { Mode::Compare } else { Mode::Repair };
    let scope = match args.at {
        Some(When(until)) => Scope { until, settling: Duration::ZERO },
        None => Scope::everything(Duration::ZERO),
    };
    let mut sheet = args.output.open(COLUMNS)?;
    let mut flaws = Flaws::default();
    let started = Instant::now();
    let report = reconcile(&data, &table, scope, mode, progress("events read"), |finding| {
        if let Finding::Skipped(stored) = finding {
            flaws.sift(*stored);
        }
        Ok(())
    })
    .await?;
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = report.events as f64 / started.elapsed().as_secs_f64();
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
    Ok(flaws.exit_code())
}

/// Compares or repairs a table, with a count on stderr. `found` hears of each difference and each event passed by.
pub(crate) async fn reconcile(
    data: &Data,
    table: &str,
    scope: Scope,
    mode: Mode,
    bar: ProgressBar,
    mut found: impl FnMut(Finding) -> Result<()>,
) -> Result<Report> {
    let (log, view) = (data.log(), data.view_in(table));
    let mut failed = None;
    let reconciliation = Reconciliation { log: &log, view: &view, scope, mode, segments: data.segments };
    let tell = |finding| {
        if failed.is_none() {
            failed = found(finding).err();
        }
    };
    let report = reconciliation.run(tell, |report| bar.set_position(report.events)).await?;
    bar.finish_and_clear();
    failed.map_or(Ok(report), Err)
}

/// Sees to it that there is a table with the shape of the live view.
async fn prepare(client: &Client, live: &str, table: &str, args: &Args) -> Result<()> {
    let shape = describe(client, live).await?.with_context(|| format!("there is no table {live}"))?;
    let there = describe(client, table).await?;
    match there {
        None if args.dry_run => bail!("there is no table {table}; without --dry-run, it is created"),
        None => create(client, shape, table).await?,
        Some(there) if there.key_schema != shape.key_schema => bail!("table {table} is no view of connections"),
        Some(_) => {}
    }
    if args.dry_run {
        return Ok(());
    }
    wait_until_active(client, table).await?;
    // The state of a past moment is there to be looked at: its rows must not go because their time has passed since.
    if args.at.is_none() { expire_rows(client, table).await } else { Ok(()) }
}

async fn describe(client: &Client, table: &str) -> Result<Option<TableDescription>> {
    match client.describe_table().table_name(table).send().await {
        Ok(described) => Ok(described.table),
        Err(error) if error.as_service_error().is_some_and(DescribeTableError::is_resource_not_found_exception) => {
            Ok(None)
        }
        Err(error) => bail!("looking at table {table}: {}", DisplayErrorContext(error)),
    }
}

async fn create(client: &Client, shape: TableDescription, table: &str) -> Result<()> {
    let indexes = shape.global_secondary_indexes.unwrap_or_default().into_iter().map(|index| {
        GlobalSecondaryIndex::builder()
            .set_index_name(index.index_name)
            .set_key_schema(index.key_schema)
            .set_projection(index.projection)
            .build()
    });
    let create = client.create_table().table_name(table).billing_mode(BillingMode::PayPerRequest);
    let create = create.set_attribute_definitions(shape.attribute_definitions).set_key_schema(shape.key_schema);
    let create = create.set_global_secondary_indexes(Some(indexes.collect::<Result<_, _>>()?));
    match create.send().await {
        Ok(_) => eprintln!("created table {table}"),
        // Another replay into it has begun.
        Err(error) if error.as_service_error().is_some_and(CreateTableError::is_resource_in_use_exception) => {}
        Err(error) => bail!("creating table {table}: {}", DisplayErrorContext(error)),
    }
    Ok(())
}

async fn wait_until_active(client: &Client, table: &str) -> Result<()> {
    while describe(client, table).await?.and_then(|there| there.table_status) != Some(TableStatus::Active) {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

/// Has DynamoDB remove rows past their time, unless it does so already.
async fn expire_rows(client: &Client, table: &str) -> Result<()> {
    let ttl = client.describe_time_to_live().table_name(table).send().await;
    let ttl = ttl.with_context(|| format!("looking at the TTL of {table}"))?.time_to_live_description;
    let status = ttl.and_then(|ttl| ttl.time_to_live_status);
    if matches!(status, Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)) {
        return Ok(());
    }
    let ttl = TimeToLiveSpecification::builder().attribute_name("expires_at").enabled(true).build()?;
    let set = client.update_time_to_live().table_name(table).time_to_live_specification(ttl).send().await;
    set.map(drop).with_context(|| format!("setting the TTL of {table}"))
}
