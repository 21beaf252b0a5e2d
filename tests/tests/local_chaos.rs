//! Random clients under random chaos: whatever goes wrong, nothing accepted is lost and nobody hears what is not for them.
//!
//! Local only. A failing run prints its seed; `CHAOS_SEED=<seed> cargo test -p tests --test local_chaos` plays it again.
//! `CHAOS_SEEDS=<from>..<to>` plays others than the usual ones.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a panic is how a test fails

use std::{collections::BTreeMap, ops::Range};

use futures::{StreamExt, stream};
use tests::crowd::{rough, run};

/// Seeds played at once: most of a run is waiting.
const AT_ONCE: usize = 4;

fn seeds() -> Range<u64> {
    if let Ok(seed) = std::env::var("CHAOS_SEED") {
        let seed = seed.parse().expect("CHAOS_SEED is a number");
        return seed..seed + 1;
    }
    let range = std::env::var("CHAOS_SEEDS").unwrap_or_else(|_| "0..24".to_owned());
    let (from, to) = range.split_once("..").expect("CHAOS_SEEDS is <from>..<to>");
    from.parse().expect("a number")..to.parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn under_chaos_every_promise_holds() {
    let seeds = seeds();
    let runs = stream::iter(seeds.clone()).map(|seed| async move { (seed, run(seed, rough(seed)).await) });
    let mut runs = runs.buffer_unordered(AT_ONCE);
    let mut struck: BTreeMap<&'static str, u64> = BTreeMap::new();
    let mut failed = Vec::new();
    while let Some((seed, result)) = runs.next().await {
        match result {
            Ok(mishaps) => mishaps.into_iter().for_each(|(kind, times)| *struck.entry(kind).or_default() += times),
            Err(wrong) => failed.push(format!("CHAOS_SEED={seed}: {wrong}")),
        }
    }
    println!("{} seeds; mishaps: {struck:?}", seeds.count());
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
}
