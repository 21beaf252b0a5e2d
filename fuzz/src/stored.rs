//! Items of the event table and records of its stream: decoded, or told apart as undecodable, and never lost.
//!
//! Input: the JSON of a stream record, with the item as its `NewImage`.

use events::{Event, from_item, to_item};
use handlers::hostile::read_record;
use serde_dynamo::{AttributeValue, Item};
use serde_json::{Value, value::RawValue};

/// Reads the record as the projector does, and its item as readers of the log do.
pub fn run(input: &[u8]) {
    let Some(raw) = std::str::from_utf8(input).ok().and_then(|text| serde_json::from_str::<&RawValue>(text).ok())
    else {
        return;
    };
    let (_, event) = read_record(raw);
    if let Err(unreadable) = &event {
        assert!(!unreadable.why.is_empty(), "parked without a reason");
        assert!(
            !unreadable.stream.is_empty() && !unreadable.id.is_empty(),
            "no key to park it under: {}",
            unreadable.why
        );
    }
    let image = serde_json::from_str::<Value>(raw.get()).ok().and_then(|mut record| {
        serde_json::from_value::<Item>(record.get_mut("dynamodb")?.get_mut("NewImage")?.take()).ok()
    });
    let Some(item) = image else { return };
    if !item.values().all(as_stored) {
        return;
    }
    match from_item(item.clone()) {
        Ok(recorded) => {
            let again = to_item(&recorded).expect("what was read can be written");
            assert_eq!(from_item(again.clone()).as_ref(), Ok(&recorded), "written and read again");
            match &recorded.event {
                Event::Unknown(unknown) => {
                    assert_eq!(text(&item, "type"), Some(unknown.event_type.as_str()), "the type is kept");
                    assert_eq!(data(&again), data(&item), "the data is kept");
                }
                known => assert_eq!(text(&item, "type"), Some(known.type_name())),
            }
            if let Ok(projected) = &event {
                assert_eq!(projected, &recorded, "projector and readers see the same event");
            }
        }
        Err(undecodable) => {
            assert!(event.is_err(), "the projector takes what readers cannot read: {undecodable}");
            assert!(!undecodable.why.is_empty());
        }
    }
}

/// Whether the table could hold it: DynamoDB writes a number in one way only. One with more digits than Rust's numbers have is
/// left out, too.
fn as_stored(value: &AttributeValue) -> bool {
    let number = |text: &String| text.parse::<serde_json::Number>().is_ok_and(|number| number.to_string() == *text);
    match value {
        AttributeValue::N(text) => number(text),
        AttributeValue::Ns(texts) => texts.iter().all(number),
        AttributeValue::L(values) => values.iter().all(as_stored),
        AttributeValue::M(values) => values.values().all(as_stored),
        _ => true,
    }
}

fn text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    match item.get(name)? {
        AttributeValue::S(text) => Some(text),
        _ => None,
    }
}

fn data(item: &Item) -> Option<Value> {
    serde_dynamo::from_attribute_value(item.get("data")?.clone()).ok()
}
