//! `webchat seal`: tamper evidence for every settled day, and the check of it.
//!
//! A day is sealed once, no day is skipped, and each seal names the one before. The root that is printed and the manifest
//! that is written prove nothing while they lie beside the table: keep them elsewhere.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use chrono::{Duration, NaiveDate, NaiveTime, Utc};
use events::{
    Appended, Event, EventId, EventLog, RecordedEvent, Undecodable,
    seal::{self, DaySealed, Hash, Leaf, Place},
    time,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    flaws::Flaws,
    output::{Column, Output, Sheet, progress},
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

/// How many events of a day that are not as they were are named; the rest are counted.
const NAMED: usize = 20;

const COLUMNS: &[Column] = &[("day", 10), ("events", 10), ("root", 64), ("previous", 0)];
const VERDICTS: &[Column] = &[("day", 10), ("verdict", 9), ("what", 0)];

pub(crate) async fn run(args: Args) -> Result<u8> {
    let data = args.source.clone().open().await?;
    let log = data.log();
    let settled = (Utc::now() - SETTLING).date_naive().pred_opt().context("the calendar begins today")?;
    let last = args.day.unwrap_or(settled);
    if last > settled {
        bail!("--day {last} is not settled yet; the last settled day is {settled}");
    }
    let mut sheet = args.output.open(COLUMNS)?;
    let mut flaws = Flaws::default();
    let seals = Seals::read(&log, &mut flaws).await?;
    if flaws.exit_code() > 0 {
        bail!("the stream of seals cannot be read, so no day can be sealed behind it");
    }
    if let Some(sealed) = args.day.and_then(|day| seals.of(day)) {
        return seal_again(&log, sealed, &args.manifests, sheet).await;
    }
    let mut previous = seals.last().map(|sealed| sealed.root);
    let mut day = match seals.last() {
        Some(last) => last.day.succ_opt(),
        None => first_day(&data).await?,
    };
    let mut sealed = 0;
    while let Some(today) = day.filter(|day| *day <= last) {
        let made = seal_day(&log, today, previous, &args.manifests).await?;
        sheet.row(&cells(&made), &made)?;
        (sealed, previous, day) = (sealed + 1, Some(made.root), today.succ_opt());
    }
    sheet.finish()?;
    match sealed {
        0 => eprintln!("nothing to seal: the last settled day is {settled}"),
        _ => eprintln!("keep the roots, or the manifests in {}, elsewhere", args.manifests.display()),
    }
    Ok(0)
}

/// The manifest is written before the seal: whatever breaks off, no day is sealed whose leaves nobody has.
async fn seal_day(log: &EventLog, day: NaiveDate, previous: Option<Hash>, manifests: &Path) -> Result<DaySealed> {
    let leaves = leaves(log, day).await?;
    let recorded = seal::seal(day, &leaves, previous, time::now(), "webchat seal");
    let Event::DaySealed(made) = recorded.event.clone() else { bail!("a seal is a DaySealed") };
    let file = keep(manifests, Manifest { day, root: made.root, leaves })?;
    if let Appended::AlreadyThere(earlier) = log.append(&recorded).await?
        && earlier.event != recorded.event
    {
        fs::remove_file(file)?;
        bail!("{day} was sealed by somebody else just now, and differently");
    }
    Ok(made)
}

/// A day that is sealed already: its root must be the same still. The manifest is written if it is not there.
async fn seal_again(log: &EventLog, sealed: &DaySealed, manifests: &Path, mut sheet: Sheet) -> Result<u8> {
    let leaves = leaves(log, sealed.day).await?;
    let root = seal::root(&leaves);
    if root != sealed.root {
        eprintln!("{} is sealed with root {}, and its events have root {root} now", sealed.day, sealed.root);
        return Ok(1);
    }
    keep(manifests, Manifest { day: sealed.day, root, leaves })?;
    sheet.row(&cells(sealed), sealed)?;
    sheet.finish()?;
    Ok(0)
}

fn cells(sealed: &DaySealed) -> [String; 4] {
    let previous = sealed.previous.map(|hash| hash.to_string()).unwrap_or_default();
    [sealed.day.to_string(), sealed.events.to_string(), sealed.root.to_string(), previous]
}

/// Checks every seal against the events, and manifests against both.
pub(crate) async fn verify(data: &Data, output: &Output, manifests: &[PathBuf]) -> Result<u8> {
    let log = data.log();
    let manifests: Vec<Manifest> = manifests.iter().map(|file| read(file)).collect::<Result<_>>()?;
    let mut sheet = output.open(VERDICTS)?;
    let mut flaws = Flaws::default();
    let seals = Seals::read(&log, &mut flaws).await?;
    let mut hidden = hidden(data, &mut flaws).await?;
    let mut different = 0;
    let mut tell = |day: NaiveDate, problems: Vec<String>| -> Result<()> {
        different += usize::from(!problems.is_empty());
        let verdict = if problems.is_empty() { "unchanged" } else { "different" };
        let cells = [day.to_string(), verdict.to_owned(), problems.join("; ")];
        sheet.row(&cells, &json!({"day": day, "verdict": verdict, "problems": problems}))
    };
    let mut before: Option<&DaySealed> = None;
    for sealed in seals.by_day.values() {
        let day = sealed.day;
        let leaves = leaves(&log, day).await?;
        let mut problems = Problems(chain_problems(before, sealed));
        problems.0.extend(seals.others(day).map(|id| format!("event {id} seals it as well")));
        if let Some(problem) = root_problem(&leaves, sealed) {
            problems.0.push(problem);
        }
        problems.add(hidden.remove(&day).unwrap_or_default());
        for manifest in manifests.iter().filter(|manifest| manifest.day == day) {
            problems.0.extend(seal_problems(manifest, sealed));
            problems.add(event_problems(manifest, &leaves));
        }
        tell(day, problems.0)?;
        before = Some(sealed);
    }
    for manifest in manifests.iter().filter(|manifest| seals.of(manifest.day).is_none()) {
        tell(manifest.day, vec!["there is a manifest and no seal".to_owned()])?;
    }
    sheet.finish()?;
    eprintln!("{} sealed days, {different} different", seals.by_day.len());
    let could_not_tell = flaws.exit_code();
    Ok(if different > 0 { 1 } else { could_not_tell })
}

/// The seals of the log.
struct Seals {
    by_day: BTreeMap<NaiveDate, DaySealed>,
    /// Events that seal a day and have not the id of its seal: nobody of us wrote them.
    strange: Vec<(NaiveDate, EventId)>,
}

impl Seals {
    async fn read(log: &EventLog, flaws: &mut Flaws) -> Result<Seals> {
        let mut reader = log.read_stream(&seal::stream());
        let mut seals = Seals { by_day: BTreeMap::new(), strange: Vec::new() };
        while let Some(stored) = reader.next().await? {
            let Some(RecordedEvent { id, event: Event::DaySealed(sealed), .. }) = flaws.sift(stored) else { continue };
            if id == seal::id(sealed.day) {
                seals.by_day.insert(sealed.day, sealed);
            } else {
                seals.strange.push((sealed.day, id));
            }
        }
        Ok(seals)
    }

    fn of(&self, day: NaiveDate) -> Option<&DaySealed> {
        self.by_day.get(&day)
    }

    fn last(&self) -> Option<&DaySealed> {
        self.by_day.values().next_back()
    }

    fn others(&self, day: NaiveDate) -> impl Iterator<Item = EventId> {
        self.strange.iter().filter(move |(sealed, _)| *sealed == day).map(|(_, id)| *id)
    }
}

/// What is wrong with a day, for people: where much is, some of it is named.
struct Problems(Vec<String>);

impl Problems {
    fn add(&mut self, mut more: Vec<String>) {
        let rest = more.split_off(more.len().min(NAMED));
        self.0.append(&mut more);
        if !rest.is_empty() {
            self.0.push(format!("and {} more", rest.len()));
        }
    }
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

fn root_problem(leaves: &[Leaf], sealed: &DaySealed) -> Option<String> {
    let (root, now) = (seal::root(leaves), leaves.len() as u64);
    (root != sealed.root || now != sealed.events)
        .then(|| format!("{now} events have root {root}, sealed were {} with {}", sealed.events, sealed.root))
}

fn seal_problems(manifest: &Manifest, sealed: &DaySealed) -> Vec<String> {
    let mut problems = Vec::new();
    if seal::root(&manifest.leaves) != manifest.root {
        problems.push("the manifest is damaged: its leaves do not have its root".to_owned());
    }
    if manifest.root != sealed.root {
        problems.push(format!("the seal is not the one of the manifest, whose root is {}", manifest.root));
    }
    problems
}

/// What the manifest says of each event: changed, removed, or added since.
fn event_problems(manifest: &Manifest, leaves: &[Leaf]) -> Vec<String> {
    fn by_key(leaves: &[Leaf]) -> BTreeMap<(&str, &str), Hash> {
        leaves.iter().map(|leaf| ((leaf.stream.as_str(), leaf.id.as_str()), leaf.hash)).collect()
    }
    let (then, now) = (by_key(&manifest.leaves), by_key(leaves));
    let mut problems = Vec::new();
    for ((stream, id), hash) in &then {
        match now.get(&(*stream, *id)) {
            None => problems.push(format!("event {id} of {stream} is gone")),
            Some(other) if other != hash => problems.push(format!("event {id} of {stream} was changed")),
            Some(_) => {}
        }
    }
    let added = now.keys().filter(|key| !then.contains_key(*key));
    problems.extend(added.map(|(stream, id)| format!("event {id} of {stream} was added")));
    problems
}

/// Events that are in the table and not in the log of their day: there, no seal covers them.
async fn hidden(data: &Data, flaws: &mut Flaws) -> Result<BTreeMap<NaiveDate, Vec<String>>> {
    let bar = progress("events looked for in the log");
    let mut hidden: BTreeMap<NaiveDate, Vec<String>> = BTreeMap::new();
    for segment in 0..data.segments {
        let mut reader = data.log().scan(segment, data.segments);
        while let Some(item) = reader.next_item().await? {
            bar.inc(1);
            match seal::place(&item) {
                Place::Logged => {}
                Place::Hidden(day) => {
                    let Leaf { id, stream, .. } = Leaf::of(&item);
                    hidden.entry(day).or_default().push(format!("event {id} of {stream} is hidden from the log"));
                }
                Place::Nowhere => {
                    let Leaf { id, stream, .. } = Leaf::of(&item);
                    let why = "it is in no day of the log".to_owned();
                    flaws.sift(Err(Undecodable { stream: Some(stream), id: Some(id), why }));
                }
            }
        }
    }
    bar.finish_and_clear();
    Ok(hidden)
}

/// The day of the first event.
async fn first_day(data: &Data) -> Result<Option<NaiveDate>> {
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

/// The leaves of a day, in order. Memory grows with the events of the day, about 250 bytes each.
async fn leaves(log: &EventLog, day: NaiveDate) -> Result<Vec<Leaf>> {
    let bar = progress("events hashed");
    let midnight = |day: NaiveDate| day.and_time(NaiveTime::MIN).and_utc();
    let mut reader = log.read_log(midnight(day), midnight(day.succ_opt().context("the calendar ends")?));
    let mut leaves = Vec::new();
    while let Some(item) = reader.next_item().await? {
        bar.inc(1);
        leaves.push(Leaf::of(&item));
    }
    leaves.sort();
    bar.finish_and_clear();
    Ok(leaves)
}

/// Writes a manifest, and never over a different one: that may be the only proof there is.
fn keep(folder: &Path, manifest: Manifest) -> Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("--manifests {}", folder.display()))?;
    let file = folder.join(format!("{}.json", manifest.day));
    if file.exists() {
        if read(&file)?.leaves != manifest.leaves {
            bail!("{} is a manifest of other events; see `webchat verify --seals --manifest`", file.display());
        }
        return Ok(file);
    }
    let mut whole = tempfile::NamedTempFile::new_in(folder)?;
    whole.write_all(&serde_json::to_vec(&manifest)?)?;
    whole.persist(&file).with_context(|| format!("writing {}", file.display()))?;
    Ok(file)
}

fn read(file: &Path) -> Result<Manifest> {
    let text = fs::read(file).with_context(|| format!("--manifest {}", file.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("--manifest {}", file.display()))
}
