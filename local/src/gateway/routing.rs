//! Which route a text frame takes: `$request.body.action`, API Gateway's default selection expression.
//!
//! Only `action` decides. The rest of the frame is not looked into, so that whatever stands there (a lone surrogate, a
//! thousand brackets) is for the handler to judge.

use std::{borrow::Cow, collections::HashMap};

use serde_json::value::RawValue;

/// A route: its key and the name of its function.
pub(super) type Route<'a> = (&'a str, &'a str);

/// The route whose key is the frame's `action`, else `$default`, else none.
pub(super) fn route<'a>(routes: &'a HashMap<String, String>, frame: &str) -> Option<Route<'a>> {
    action(frame)
        // A client cannot open or end its connection by saying so.
        .filter(|action| action != "$connect" && action != "$disconnect")
        .and_then(|action| routes.get_key_value(&action))
        .or_else(|| routes.get_key_value("$default"))
        .map(|(key, function)| (key.as_str(), function.as_str()))
}

fn action(frame: &str) -> Option<String> {
    let fields: HashMap<Cow<'_, str>, &RawValue> = serde_json::from_str(frame).ok()?;
    serde_json::from_str(fields.get("action")?.get()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(frame: &str) -> Option<String> {
        let routes = ["$connect", "$disconnect", "$default", "chat"].map(|key| (key.to_owned(), "f".to_owned()));
        route(&HashMap::from(routes), frame).map(|(key, _)| key.to_owned())
    }

    #[test]
    fn only_a_matching_action_takes_its_route() {
        assert_eq!(key(r#"{"action":"chat"}"#).as_deref(), Some("chat"));
        assert_eq!(key(r#"{"action":"ch\u0061t"}"#).as_deref(), Some("chat"));
        for other in ["hi", "", "[]", r#""chat""#, r#"{"action":"Chat"}"#, r#"{"action":["chat"]}"#, "{}"] {
            assert_eq!(key(other).as_deref(), Some("$default"), "{other}");
        }
    }

    #[test]
    fn the_gateways_own_routes_cannot_be_asked_for() {
        assert_eq!(key(r#"{"action":"$connect"}"#).as_deref(), Some("$default"));
        assert_eq!(key(r#"{"action":"$disconnect"}"#).as_deref(), Some("$default"));
    }

    #[test]
    fn what_stands_beside_the_action_does_not_matter() {
        let deep = format!(r#"{{"x":{}{},"action":"chat"}}"#, "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(key(&deep).as_deref(), Some("chat"));
        assert_eq!(key(r#"{"x":"\ud800","action":"chat"}"#).as_deref(), Some("chat"));
    }

    #[test]
    fn without_default_there_may_be_no_route() {
        assert_eq!(route(&HashMap::new(), "hi"), None);
    }
}
