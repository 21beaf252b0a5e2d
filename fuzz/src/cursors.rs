//! Cursors: the `next` of `list`, which a client hands back.
//!
//! Input: the text of a cursor. It is asked with to the end of the list.

use projections::Cursor;
use serde_json::{Value, json};

use crate::{
    frames::{Chat, STAGE, reads_only_what_was_asked_for},
    world::{self, HERE, Next, OTHERS},
};

/// Reads it as `list` does, and lists from there.
pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let parsed = text.parse::<Cursor>();
    if let Ok(cursor) = &parsed {
        assert_eq!(cursor.to_string(), text, "a cursor is taken only as it was given");
    }
    world::play(&STAGE, Chat::start, async |chat| {
        let mut listed = Vec::new();
        let mut cursor = json!(text);
        loop {
            let asked = json!({"action": "list", "limit": 2, "cursor": cursor}).to_string();
            let answer: Value = serde_json::from_str(&chat.ask(&asked).await).expect("JSON");
            let calls = chat.world.wire.take();
            reads_only_what_was_asked_for(&calls, &chat.world.settings.connections_table);
            if parsed.is_err() {
                assert_eq!((&answer["type"], &answer["field"]), (&json!("error"), &json!("cursor")), "{answer}");
                assert!(calls.is_empty(), "read all the same: {calls:?}");
                break;
            }
            let page = answer["connections"].as_array().unwrap_or_else(|| panic!("{text:?} lists {answer}"));
            listed.extend(page.iter().map(|live| live["connection"].as_str().expect("an id").to_owned()));
            match answer.get("next") {
                None => break,
                Some(next) => cursor = next.clone(),
            }
            assert!(listed.len() <= OTHERS.len() + 1, "the list does not end: {listed:?}");
        }
        assert!(listed.iter().all(|id| id == HERE || OTHERS.contains(&id.as_str())), "{listed:?}");
        let all = listed.len();
        listed.sort();
        listed.dedup();
        assert_eq!(listed.len(), all, "one is listed twice: {listed:?}");
        Next::Same
    });
}
