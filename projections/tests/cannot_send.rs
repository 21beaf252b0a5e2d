//! A replay cannot send: this crate does not even contain a client that could. Read from the manifests and the lock file.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a panic is how a test fails

use std::collections::{BTreeMap, BTreeSet};

/// What can send.
const SENDERS: [&str; 3] = ["aws-sdk-eventbridge", "aws-sdk-apigatewaymanagement", "handlers"];

/// Our own manifests: in the lock file, their test-only dependencies stand among the others.
const MANIFESTS: [(&str, &str); 2] =
    [("projections", include_str!("../Cargo.toml")), ("events", include_str!("../../events/Cargo.toml"))];
const LOCK: &str = include_str!("../../Cargo.lock");

/// The names under `[dependencies]`, whether written `name = …` or `name.workspace = true`.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let lines = manifest.lines().skip_while(|line| line.trim() != "[dependencies]").skip(1);
    let lines = lines.take_while(|line| !line.starts_with('['));
    let name = |line: &str| line.split(['.', '=', ' ']).next().unwrap_or_default().to_owned();
    lines.filter(|line| !line.trim().is_empty() && !line.starts_with('#')).map(name).collect()
}

/// Every package of the lock file with the names it depends on. Versions are taken together.
fn locked() -> BTreeMap<String, BTreeSet<String>> {
    let mut packages: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in LOCK.split("[[package]]").skip(1) {
        let name = package.lines().find_map(|line| line.strip_prefix("name = ")).unwrap().trim_matches('"');
        let entries = package.lines().filter_map(|line| line.strip_prefix(" \"")?.split(['"', ' ']).next());
        packages.entry(name.to_owned()).or_default().extend(entries.map(str::to_owned));
    }
    packages
}

fn reachable() -> BTreeSet<String> {
    let mut packages = locked();
    packages.extend(MANIFESTS.map(|(name, manifest)| (name.to_owned(), dependencies(manifest))));
    let mut reached = BTreeSet::new();
    let mut next = vec!["projections".to_owned()];
    while let Some(name) = next.pop() {
        next.extend(packages.get(&name).unwrap_or_else(|| panic!("{name} is not in the lock file")).iter().cloned());
        reached.insert(name.clone());
        next.retain(|name| !reached.contains(name));
    }
    reached
}

#[test]
fn replay_depends_on_nothing_that_sends() {
    let direct = dependencies(MANIFESTS[0].1);
    assert!(direct.contains("events") && direct.contains("aws-sdk-dynamodb"), "the manifest was not understood");
    assert!(SENDERS.iter().all(|sender| !direct.contains(*sender)), "{direct:?}");
}

#[test]
fn replay_depends_on_nothing_that_sends_even_at_a_distance() {
    let reached = reachable();
    assert!(reached.contains("aws-smithy-runtime") && reached.contains("tokio"), "the lock file was not understood");
    let members = ["local", "cli", "tests"];
    let senders: Vec<_> = SENDERS.iter().chain(&members).filter(|name| reached.contains(**name)).collect();
    assert!(senders.is_empty(), "projections reaches {senders:?}");
    assert!(SENDERS.iter().all(|sender| locked().contains_key(*sender)), "a sender is called otherwise now");
}
