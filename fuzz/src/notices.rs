//! What comes over the bus: notices for `post`, triggers for `manage`.
//!
//! Input: the JSON of an EventBridge event.

use handlers::hostile::{is_trigger, push_frame};
use projections::notices::Notice;
use serde_json::{Value, json};

/// Reads the event as `post` and as `manage` do.
pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let is_trigger = is_trigger(text);
    let Ok(notice) = serde_json::from_str::<Notice>(text) else { return };
    assert_eq!(is_trigger, matches!(notice, Notice::ConnectionGone(_)), "one of the two takes it, not both");
    let detail: Value = serde_json::from_str(&notice.detail().expect("writing a notice")).expect("a detail is JSON");
    let again = json!({"detail-type": notice.detail_type(), "detail": detail});
    assert_eq!(serde_json::from_value::<Notice>(again).ok(), Some(notice.clone()), "published and read again");
    let Some(frame) = push_frame(&notice) else {
        return assert!(matches!(notice, Notice::ConnectionGone(_)), "nothing to push for {notice:?}");
    };
    let frame: Value = serde_json::from_str(&frame).expect("a frame is JSON");
    assert!(["welcome", "broadcast", "chat", "receipt"].iter().any(|kind| frame["type"] == *kind), "{frame}");
    assert!(frame["id"].is_string() && frame["at"].is_string(), "{frame}");
    if let Notice::Chat(chat) = &notice {
        assert_eq!((&frame["from"], &frame["message"]), (&json!(chat.from), &json!(chat.text)), "said by its sender");
    }
}
