//! Test vectors for seals, computed by another program (Python's hashlib) from the words in `seal.rs`. If one fails, every
//! root and manifest that somebody keeps would say that the log was changed.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

use std::{collections::BTreeSet, fs};

use chrono::NaiveDate;
use events::{
    Event, connection,
    connection::ConnectionClosed,
    seal::{self, Hash, Leaf, Place},
    time, to_item,
};
use proptest::prelude::*;
use serde_dynamo::{AttributeValue, Item};
use sha2::{Digest, Sha256};

fn golden(name: &str) -> Item {
    let file = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

fn hash(hex: &str) -> Hash {
    hex.to_owned().try_into().unwrap()
}

/// Leaves whose hashes are those of the bytes 0, 1, 2, …
fn leaves(count: u8) -> Vec<Leaf> {
    let hash = |n: u8| Sha256::digest([n]).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let leaf = |n| Leaf { id: format!("{n:02x}"), stream: "s".into(), hash: hash(n).try_into().unwrap() };
    (0..count).map(leaf).collect()
}

#[test]
fn the_leaf_of_every_golden_event() {
    let vectors = [
        ("BroadcastDelivered.1.json", "5b017cea11315f2d141d4d38a05fa7c4dca67452b5c84debb7209f7103959b41"),
        ("ConnectionClosed.1.json", "64737dc48081764a1175f9cd7b1a45375789d8cf30e2df4883f6898197a4bfe5"),
        ("ConnectionLost.1.json", "745367c4f489322a4a4177232236d354e46113921b38aaf4e8ceecd3ed770688"),
        ("ConnectionOpened.1.json", "21ec704e764f9c37def86a51dd510cfb01a13adaf7c51611654cd54aa03cc806"),
        ("DaySealed.1.json", "2052f4d9e68a684c1890add15c6643c3e345fff23aa3a73fdec47a0bf1c353d7"),
        ("MessageBroadcast.1.json", "b2fe503d3f75f5fa1d47fd4545cba8c5b1a74196d52353eb37ff47944bbc8f23"),
        ("MessageDelivered.1.json", "77ea20a4cf42d0cb165e59ab45cb11761cb1f83e6dc6e0fd4e7c93c371ee9ea1"),
        ("MessageSent.1.json", "077d5a24ca9211557182d13e1939824775ff912b070ef879bfe7de621a10c250"),
        ("MessageUndeliverable.1.json", "5fd465de6a2348056506ba90878466e3e14cfa2e198fdbc8f3f963adfeaf320f"),
    ];
    for (name, expected) in vectors {
        let item = golden(name);
        let leaf = Leaf::of(&item);
        assert_eq!(leaf.hash.to_string(), expected, "{name}");
        assert_eq!(item["id"], AttributeValue::S(leaf.id));
        assert_eq!(item["stream"], AttributeValue::S(leaf.stream));
    }
    let files = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden")).unwrap();
    let files: BTreeSet<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(files, vectors.iter().map(|(name, _)| (*name).to_owned()).collect(), "a golden file without a vector");
}

#[test]
fn the_leaf_of_an_item_without_attributes() {
    let expected = "4d65deca66239bb1cdd3e3c2f023c3ac5d8e7343085498ed2c89589649508da3";
    assert_eq!(Leaf::of(&Item::default()).hash.to_string(), expected);
}

#[test]
fn the_root_of_nothing_of_one_and_of_odd_and_even_numbers_of_leaves() {
    for (count, expected) in [
        (0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (1, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
        (2, "c71a16f21f917ed84ea2caa90b0904c9179a4c9c2369a9b4ec57e11a3f25a7a2"),
        (3, "d78663a8f1a2d99ee97fe38a605be2f54e2872c3a63a13077d617e4a940725bd"),
        (5, "550347fe72bcb7c23a0576eb793f410a6192c5d678b483eb1adfd880720b55ea"),
        (8, "f36bcde6dad5de59abe552a27830872409aada55ff786972f67b0cacb653353d"),
    ] {
        assert_eq!(seal::root(&leaves(count)).to_string(), expected, "{count} leaves");
    }
}

#[test]
fn every_attribute_of_an_event_counts_and_the_keys_of_its_index_do_not() {
    let item = golden("MessageSent.1.json");
    let sound = Leaf::of(&item).hash;
    for name in ["stream", "id", "type", "version", "at", "request_id", "data"] {
        let mut changed = item.clone();
        changed.insert(name.to_owned(), AttributeValue::S("something else".into()));
        assert_ne!(Leaf::of(&changed).hash, sound, "{name} was changed");
        changed.remove(name);
        assert_ne!(Leaf::of(&changed).hash, sound, "{name} was removed");
    }
    let mut moved = item;
    moved.insert("day".into(), AttributeValue::S("2001-01-01#0".into()));
    assert_eq!(Leaf::of(&moved).hash, sound, "seal::place tells of that");
}

#[test]
fn an_event_that_its_day_does_not_show_is_found_hidden() {
    let item = golden("MessageSent.1.json");
    let day = "2026-11-22".parse::<NaiveDate>().unwrap();
    assert_eq!(seal::place(&item), Place::Logged);
    for (name, wrong) in [("day", "2026-11-23#1"), ("day", "2026-11-22#9"), ("logged", "2026-11-22T08:55:46.123Z#0")] {
        let mut changed = item.clone();
        changed.insert(name.to_owned(), AttributeValue::S(wrong.into()));
        assert_eq!(seal::place(&changed), Place::Hidden(day), "{name}: {wrong}");
        changed.remove(name);
        assert_eq!(seal::place(&changed), Place::Hidden(day), "without {name}");
    }
    let mut timeless = item;
    timeless.insert("at".into(), AttributeValue::S("yesterday".into()));
    assert_eq!(seal::place(&timeless), Place::Logged, "under some day, so a seal covers it");
    timeless.insert("logged".into(), AttributeValue::S("2026-11-22T\u{1b}".into()));
    assert_eq!(seal::place(&timeless), Place::Nowhere, "before the day begins");
    timeless.remove("day");
    assert_eq!(seal::place(&timeless), Place::Nowhere);
}

#[test]
fn a_day_has_one_seal_whatever_it_says() {
    let day = "2026-11-22".parse().unwrap();
    let at = time::from_millis(1_795_337_746_123).unwrap();
    let (one, other) = (seal::seal(day, &leaves(3), None, at, "a"), seal::seal(day, &leaves(4), None, at, "b"));
    assert_eq!(one.id, other.id);
    assert_eq!(one.id, seal::id(day));
    let (Event::DaySealed(one), Event::DaySealed(other)) = (one.event, other.event) else { panic!("no seals") };
    assert_ne!(one, other);
    assert_eq!((one.day, one.events, one.root), (day, 3, seal::root(&leaves(3))));
}

#[test]
fn a_hash_is_64_hexadecimal_digits() {
    let text = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(hash(text).to_string(), text);
    for wrong in ["", "e3", &format!("+{}", &text[1..]), &format!("{text}0"), &format!("ü{}", &text[2..])] {
        assert!(Hash::try_from(wrong.to_owned()).is_err(), "{wrong} was taken");
    }
}

proptest! {
    #[test]
    fn a_leaf_is_the_same_however_the_data_was_put_together(code in any::<Option<i64>>(), text in any::<Option<String>>()) {
        let at = time::from_millis(1_795_337_746_123).unwrap();
        let event = connection::close(&"bob".parse().unwrap(), ConnectionClosed { code, text }, at, "r");
        let item = to_item(&event).unwrap();
        // Through JSON and back: the maps are built anew, in another order of their own.
        let again: Item = serde_json::from_value(serde_json::to_value(&item).unwrap()).unwrap();
        prop_assert_eq!(Leaf::of(&item), Leaf::of(&again));
    }

    #[test]
    fn leaves_left_out_added_swapped_or_changed_give_another_root(count in 1u8..40, at in any::<prop::sample::Index>()) {
        let all = leaves(count);
        let (root, at) = (seal::root(&all), at.index(usize::from(count)));
        let mut fewer = all.clone();
        fewer.remove(at);
        prop_assert_ne!(seal::root(&fewer), root);
        let mut more = all.clone();
        more.insert(at, leaves(41)[40].clone());
        prop_assert_ne!(seal::root(&more), root);
        let mut changed = all.clone();
        changed[at].hash = leaves(41)[40].hash;
        prop_assert_ne!(seal::root(&changed), root);
        let mut swapped = all;
        let other = (at + 1) % usize::from(count);
        swapped.swap(at, other);
        prop_assert_eq!(seal::root(&swapped) == root, at == other);
    }
}
