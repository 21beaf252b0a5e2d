//! `webchat seal`: tamper evidence for every settled day, and the check of it.
//!
//! A day is sealed once, no day is skipped, and each seal names the one before. The root that is printed and the manifest
//! that is written prove nothing while they lie beside the table: keep them elsewhere.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use chrono::{Duration, NaiveDate, NaiveTime, Utc};
use events::{
    Appended, Event, EventLog,
    seal::{self, DaySealed, Hash, Leaf},
    time,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    output::{Column, Output, progress},
    source::{Data, Source},
};

/// A day is settled this long after its end: whatever was under way then has long been recorded.
const SETTLING: Duration = Duration::hours(1);

/// Arguments of `webchat seal`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    output: Output,

    /// Up to this day; it must be settled [default: the last settled day]
    #[arg(long, value_name = "DAY")]
    day: Option<NaiveDate>,
    /// Folder for the manifests, one per day
    #[arg(long, value_name = "DIR", default_value = "seals")]
    manifests: PathBuf,
}

/// The leaves of one day: whoever keeps it can name the event that was changed.
#[derive(Serialize, Deserialize)]
struct Manifest {
    day: NaiveDate,
    root: Hash,
    leaves: Vec<Leaf>,
}

const COLUMNS: &[Column] = &[("day", 10), ("events", 10), ("root", 64), ("previous", 0)];
const VERDICTS: &[Column] = &[("day", 10), ("verdict", 9), ("what", 0)];

pub(crate) async fn run(args: Args) -> Result<u8> {
    let data = args.source.open().await?;
    let log = data.log();
    let settled = (Utc::now() - SETTLING).date_naive().pred_opt().context("the calendar begins today")?;
    let last = args.day.unwrap_or(settled);
    if last > settled {
        bail!("--day {last} is not settled yet; the last settled day is {settled}");
    }
    let seals = seals(&log).await?;
    let Some(mut day) = next_day(&data, &seals).await? else {
        eprintln!("there are no events to seal");
        return Ok(0);
    };
    let mut previous = seals.values().next_back().map(|seal| seal.root);
    let mut sheet = args.output.open(COLUMNS)?;
    while day <= last {
        let leaves = leaves(&log, day).await?;
        let sealed = seal::seal(day, &leaves, previous, time::now(), "webchat seal");
        let Event::DaySealed(made) = &sealed.event else { bail!("a seal is a DaySealed") };
        keep(&args.manifests, Manifest { day, root: made.root, leaves })?;
        if let Appended::AlreadyThere(earlier) = log.append(&sealed).await?
            && earlier.event != sealed.event
        {
            bail!("{day} was sealed by somebody else just now, and differently");
        }
        let before = made.previous.map(|hash| hash.to_string()).unwrap_or_default();
        sheet.row(&[day.to_string(), made.events.to_string(), made.root.to_string(), before], made)?;
        previous = Some(made.root);
        day = day.succ_opt().context("the calendar ends")?;
    }
    sheet.finish()?;
    eprintln!(
        "every day up to {last} is sealed; keep the roots, or the manifests in {}, elsewhere",
        args.manifests.display()
    );
    Ok(0)
}

/// Checks every seal against the events, and manifests against both.
pub(crate) async fn verify(data: &Data, output: &Output, manifests: &[PathBuf]) -> Result<u8> {
    let log = data.log();
    let manifests: Vec<Manifest> = manifests.iter().map(|file| read(file)).collect::<Result<_>>()?;
    let seals = seals(&log).await?;
    let mut sheet = output.open(VERDICTS)?;
    let mut different = 0;
    let mut tell = |day: NaiveDate, problems: Vec<String>| -> Result<()> {
        different += usize::from(!problems.is_empty());
        let verdict = if problems.is_empty() { "unchanged" } else { "different" };
        let cells = [day.to_string(), verdict.to_owned(), problems.join("; ")];
        sheet.row(&cells, &json!({"day": day, "verdict": verdict, "problems": problems}))
    };
    let mut before: Option<&DaySealed> = None;
    for (day, sealed) in &seals {
        let leaves = leaves(&log, *day).await?;
        let mut problems = chain_problems(before, sealed);
        if seal::root(&leaves) != sealed.root {
            problems.push(format!(
                "{} events have root {}, sealed were {} with {}",
                leaves.len(),
                seal::root(&leaves),
                sealed.events,
                sealed.root
            ));
        }
        for manifest in manifests.iter().filter(|manifest| manifest.day == *day) {
            problems.extend(manifest_problems(manifest, sealed, &leaves));
        }
        tell(*day, problems)?;
        before = Some(sealed);
    }
    for manifest in manifests.iter().filter(|manifest| !seals.contains_key(&manifest.day)) {
        tell(manifest.day, vec!["there is a manifest and no seal".to_owned()])?;
    }
    sheet.finish()?;
    eprintln!("{} sealed days, {different} different", seals.len());
    Ok(u8::from(different > 0))
}

fn chain_problems(before: Option<&DaySealed>, sealed: &DaySealed) -> Vec<String> {
    let mut problems = Vec::new();
    if sealed.previous != before.map(|before| before.root) {
        problems.push("it does not name the seal before it".to_owned());
    }
    if before.is_some_and(|before| before.day.succ_opt() != Some(sealed.day)) {
        problems.push("the day before is not sealed".to_owned());
    }
    problems
}

/// What the manifest says of the seal, and of each event: changed, removed, or added since.
fn manifest_problems(manifest: &Manifest, sealed: &DaySealed, leaves: &[Leaf]) -> Vec<String> {
    let mut problems = Vec::new();
    if seal::root(&manifest.leaves) != manifest.root {
        problems.push("the manifest is damaged: its leaves do not have its root".to_owned());
    }
    if manifest.root != sealed.root {
        problems.push(format!("the seal is not the one of the manifest, whose root is {}", manifest.root));
    }
    let by_key = |leaves: &[Leaf]| -> BTreeMap<(String, String), Hash> {
        leaves.iter().map(|leaf| ((leaf.stream.clone(), leaf.id.clone()), leaf.hash)).collect()
    };
    let (then, now) = (by_key(&manifest.leaves), by_key(leaves));
    for (key, hash) in &then {
        match now.get(key) {
            None => problems.push(format!("event {} of {} is gone", key.1, key.0)),
            Some(other) if other != hash => problems.push(format!("event {} of {} was changed", key.1, key.0)),
            Some(_) => {}
        }
    }
    let added = now.keys().filter(|key| !then.contains_key(*key));
    problems.extend(added.map(|key| format!("event {} of {} was added", key.1, key.0)));
    problems
}

async fn seals(log: &EventLog) -> Result<BTreeMap<NaiveDate, DaySealed>> {
    let mut reader = log.read_stream(&seal::stream());
    let mut seals = BTreeMap::new();
    while let Some(stored) = reader.next().await? {
        if let Event::DaySealed(sealed) = stored?.event {
            seals.insert(sealed.day, sealed);
        }
    }
    Ok(seals)
}

/// The day after the last sealed one, or the day of the first event.
async fn next_day(data: &Data, seals: &BTreeMap<NaiveDate, DaySealed>) -> Result<Option<NaiveDate>> {
    if let Some(last) = seals.keys().next_back() {
        return Ok(last.succ_opt());
    }
    let bar = progress("events read to find the first day");
    let mut first: Option<NaiveDate> = None;
    for segment in 0..data.segments {
        let mut reader = data.log().scan(segment, data.segments);
        while let Some(stored) = reader.next().await? {
            bar.inc(1);
            let day = stored.ok().map(|recorded| recorded.at.date_naive());
            first = [first, day].into_iter().flatten().min();
        }
    }
    bar.finish_and_clear();
    Ok(first)
}

/// The leaves of a day, in order. Memory grows with the events of the day, about 150 bytes each.
async fn leaves(log: &EventLog, day: NaiveDate) -> Result<Vec<Leaf>> {
    let bar = progress("events hashed");
    let midnight = |day: NaiveDate| day.and_time(NaiveTime::MIN).and_utc();
    let mut reader = log.read_log(midnight(day), midnight(day.succ_opt().context("the calendar ends")?));
    let mut leaves = Vec::new();
    while let Some((item, _)) = reader.next_with_item().await? {
        bar.inc(1);
        leaves.push(Leaf::of(&item));
    }
    leaves.sort();
    bar.finish_and_clear();
    Ok(leaves)
}

fn keep(folder: &Path, manifest: Manifest) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("--manifests {}", folder.display()))?;
    let file = folder.join(format!("{}.json", manifest.day));
    let mut whole = tempfile::NamedTempFile::new_in(folder)?;
    serde_json::to_writer(&mut whole, &manifest)?;
    whole.persist(&file).with_context(|| format!("writing {}", file.display()))?;
    Ok(())
}

fn read(file: &Path) -> Result<Manifest> {
    let text = fs::read(file).with_context(|| format!("--manifest {}", file.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("--manifest {}", file.display()))
}
