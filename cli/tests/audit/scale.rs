//! 100,000 events: every count right, in memory that does not grow with the log.

use std::collections::BTreeMap;

use chrono::{NaiveTime, TimeDelta, Utc};
use events::{ConnectionId, RecordedEvent};
use projections::{Row, connections};
use serde_json::json;
use tests::Generator;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::{
    command::{Place, Said},
    world::folder,
};

const EVENTS: usize = 100_000;
/// Over about four days that have ended, so that no row is past its time.
const PAUSE: TimeDelta = TimeDelta::milliseconds(6_000);

/// MiB a command may use. Replay had 40, history 95; all events at once, as items, would be some 300.
const BOUND: u64 = 160;

fn history() -> impl Iterator<Item = RecordedEvent> {
    let today = Utc::now().date_naive().and_time(NaiveTime::MIN).and_utc();
    Generator::new(4, today - TimeDelta::days(5), PAUSE).take(EVENTS)
}

/// Its peak of memory so far, in MiB.
fn peak(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? / 1024)
}

/// Runs it, looking at its memory meanwhile.
async fn watched(place: &Place, args: &[&str]) -> (Said, u64) {
    let child = place.command(args).spawn().unwrap();
    let pid = child.id().unwrap();
    let mut look = tokio::time::interval(std::time::Duration::from_millis(5));
    let (mut highest, mut ended) = (0, std::pin::pin!(child.wait_with_output()));
    let output = loop {
        tokio::select! {
            output = &mut ended => break output.unwrap(),
            _ = look.tick() => highest = highest.max(peak(pid).unwrap_or(0)),
        }
    };
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }, highest)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_events_are_replayed_verified_and_told_in_bounded_memory() {
    let data = folder(history()).await;
    let place = Place::folder(data.path());
    let rows: BTreeMap<ConnectionId, Row> = connections::fold(&history().collect::<Vec<_>>());

    let (replayed, peak_of_replay) = watched(&place, &["replay", "--format", "jsonl"]).await;
    let report = replayed.expect(0).rows().remove(0);
    assert_eq!((&report["events"], &report["connections"]), (&json!(EVENTS), &json!(rows.len())));
    assert_eq!(report["rows_written"], rows.len());
    let (verified, peak_of_verify) = watched(&place, &["verify"]).await;
    let said = verified.expect(0).err;
    let count = rows.len();
    let equal = format!("{EVENTS} events, {count} connections, {count} rows compared, 0 different");
    assert!(said.contains(&equal), "{said}");

    let told = history().filter(|event| !event.stream.as_str().starts_with("delivery#"));
    let mut told: Vec<_> = told.map(|event| (event.at, event.id)).collect();
    told.sort_unstable();
    let mut child = place.command(&["history", "--since", "-7d", "--format", "csv"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next_line().await.unwrap().unwrap().starts_with("at,"));
    let mut peak_of_history = 0;
    for (index, (at, id)) in told.iter().enumerate() {
        let line = lines.next_line().await.unwrap().expect("history ended early");
        assert!(line.starts_with(&events::time::to_text(*at)) && line.contains(&id.to_string()), "{line}, not {id}");
        // It is still there, writing what follows.
        if index + 2000 == told.len() {
            peak_of_history = peak(child.id().unwrap()).unwrap_or(0);
        }
    }
    assert_eq!(lines.next_line().await.unwrap(), None);
    assert!(child.wait().await.unwrap().success());

    println!("peaks in MiB: replay {peak_of_replay}, verify {peak_of_verify}, history {peak_of_history}");
    for peak in [peak_of_replay, peak_of_verify, peak_of_history] {
        assert!((1..BOUND).contains(&peak), "{peak} MiB");
    }
}
