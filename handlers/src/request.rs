//! What a route handler gets and gives: a client's frame in, one reply frame out.
//!
//! The body is read field by field: a mistake in one is reported by its name, and fields nobody asked for (however
//! strange) do no harm. Everything a client can do wrong becomes a [`Refusal`], never a fault.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use aws_lambda_events::apigw::{ApiGatewayWebsocketProxyRequest, ApiGatewayWebsocketProxyRequestContext};
use chrono::{DateTime, Utc};
use events::{AppendError, ConnectionId, conversation::Rejection, time};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::Instant;
use tracing::info;

use crate::{
    Fault, Service,
    frames::{Code, Reply},
    service::{millis, service},
};

/// Longest `ref` in bytes.
const MAX_REF: usize = 64;

/// A request on a route: who, when, and what the gateway calls it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Whose request; the gateway says so, not the client.
    pub(crate) connection: ConnectionId,
    /// The gateway's request id: the same in every attempt of an invocation.
    pub(crate) id: String,
    /// When the gateway took it.
    pub(crate) at: DateTime<Utc>,
}

impl Request {
    /// The request behind an event of the gateway.
    pub(crate) fn of(context: &ApiGatewayWebsocketProxyRequestContext) -> Result<Request, Fault> {
        let missing =
            |field: &str| Fault::new("InvalidEvent", format_args!("requestContext.{field} is missing or wrong"));
        let connection = context.connection_id.as_deref().and_then(|id| id.parse().ok());
        Ok(Request {
            connection: connection.ok_or_else(|| missing("connectionId"))?,
            id: context.request_id.clone().ok_or_else(|| missing("requestId"))?,
            at: time::from_millis(context.request_time_epoch).ok_or_else(|| missing("requestTimeEpoch"))?,
        })
    }

    /// Refuses a request that waited too long: taking it would change the order of what others have read as final.
    pub(crate) fn check_age(&self, max: Duration) -> Result<(), Refusal> {
        let age = time::now().signed_duration_since(self.at).to_std().unwrap_or_default();
        if age <= max {
            return Ok(());
        }
        tracing::warn!(age_ms = millis(age), "refused a request that had waited too long");
        Err(Refusal::unavailable())
    }
}

/// A client's frame: its fields, each still JSON.
pub(crate) struct Fields(BTreeMap<String, Box<RawValue>>);

/// Why a frame gets an `error` instead of what it asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) field: Option<&'static str>,
}

impl Refusal {
    pub(crate) fn invalid(field: &'static str, message: impl Into<String>) -> Refusal {
        Refusal { code: Code::InvalidRequest, message: message.into(), field: Some(field) }
    }

    /// A fault of ours, told to the client; the details are for the log.
    pub(crate) fn unavailable() -> Refusal {
        let message = "this did not work just now; it may be tried again".to_owned();
        Refusal { code: Code::Unavailable, message, field: None }
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Refusal {
        let (code, field) = match &rejection {
            Rejection::Empty => (Code::InvalidRequest, "message"),
            Rejection::TooLarge(_) => (Code::MessageTooLarge, "message"),
            Rejection::UnknownConnection(_) => (Code::UnknownConnection, "connection"),
        };
        Refusal { code, message: rejection.to_string(), field: Some(field) }
    }
}

impl From<AppendError> for Refusal {
    fn from(error: AppendError) -> Refusal {
        tracing::error!(%error, "an event was not appended");
        Refusal::unavailable()
    }
}

impl Fields {
    /// Reads a body. Values are not looked into yet.
    pub(crate) fn parse(body: &str) -> Result<Fields, Refusal> {
        let invalid_json = |error: serde_json::Error| Refusal {
            code: Code::InvalidJson,
            message: format!("the frame is not JSON: {error}"),
            field: None,
        };
        let whole: Box<RawValue> = serde_json::from_str(body).map_err(invalid_json)?;
        if !whole.get().trim_start().starts_with('{') {
            return Err(Refusal::invalid("action", "a frame is a JSON object with an `action`"));
        }
        serde_json::from_str(whole.get()).map(Fields).map_err(invalid_json)
    }

    /// The `action`, which must be a string.
    pub(crate) fn action(&self) -> Result<String, Refusal> {
        self.required("action", "a string")
    }

    /// The `ref` to echo, if any.
    pub(crate) fn reference(&self) -> Result<Option<String>, Refusal> {
        match self.optional("ref", "a string")? {
            Some(reference) if String::len(&reference) > MAX_REF => Err(Refusal::invalid(
                "ref",
                format!("`ref` has {} bytes, at most {MAX_REF} are taken", reference.len()),
            )),
            reference => Ok(reference),
        }
    }

    /// A field that must be there. `kind` says what it should be, for the error.
    pub(crate) fn required<T: for<'de> Deserialize<'de>>(&self, field: &'static str, kind: &str) -> Result<T, Refusal> {
        self.optional(field, kind)?
            .ok_or_else(|| Refusal::invalid(field, format!("`{field}` is missing; it must be {kind}")))
    }

    /// A field that may be left out. `null` is not left out.
    pub(crate) fn optional<T: for<'de> Deserialize<'de>>(
        &self,
        field: &'static str,
        kind: &str,
    ) -> Result<Option<T>, Refusal> {
        let Some(value) = self.0.get(field) else {
            return Ok(None);
        };
        serde_json::from_str(value.get())
            .map(Some)
            .map_err(|_| Refusal::invalid(field, format!("`{field}` must be {kind}")))
    }
}

/// What the gateway sends back on the route: one text frame.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RouteResponse {
    status_code: u16,
    body: String,
}

/// Makes a [`Service`] of a route handler: reads the frame, answers with a reply frame whatever happens.
pub(crate) fn route_service<F>(name: &'static str, handler: impl Fn(Asked) -> F + Send + Sync + 'static) -> Service
where
    F: Future<Output = Result<Reply, Refusal>> + Send + 'static,
{
    let handler = Arc::new(handler);
    service(move |event: ApiGatewayWebsocketProxyRequest, _| {
        let handler = handler.clone();
        async move {
            let started = Instant::now();
            let request = Request::of(&event.request_context)?;
            let connection = request.connection.clone();
            let (reply, reference) = answer(&*handler, request, &event.body.unwrap_or_default()).await;
            let body = reply.with_ref(reference);
            info!(function = name, %connection, reply = body.kind(), duration_ms = millis(started.elapsed()), "answered");
            let body = body.to_json().map_err(|error| Fault::new("InvalidAnswer", error))?;
            Ok(RouteResponse { status_code: 200, body })
        }
    })
}

/// A request with what it asks for.
pub(crate) struct Asked {
    pub(crate) request: Request,
    pub(crate) fields: Fields,
}

async fn answer<F>(handler: impl Fn(Asked) -> F, request: Request, body: &str) -> (Reply, Option<String>)
where
    F: Future<Output = Result<Reply, Refusal>>,
{
    let parsed = Fields::parse(body).and_then(|fields| Ok((fields.reference()?, fields)));
    match parsed {
        Ok((reference, fields)) => {
            let reply = handler(Asked { request, fields }).await;
            (reply.unwrap_or_else(Reply::from), reference)
        }
        Err(refusal) => (refusal.into(), None),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a panic is how a test fails

    use super::*;

    fn fields(body: &str) -> Fields {
        Fields::parse(body).unwrap_or_else(|refusal| panic!("{refusal:?}"))
    }

    /// Code and field of the refusal; what it says is for people.
    fn refused<T: std::fmt::Debug>(result: Result<T, Refusal>) -> (Code, Option<&'static str>) {
        let refusal = result.unwrap_err();
        assert!(!refusal.message.is_empty());
        (refusal.code, refusal.field)
    }

    fn refused_body(body: &str) -> (Code, Option<&'static str>) {
        refused(Fields::parse(body).map(drop))
    }

    fn message(body: &str) -> Result<String, Refusal> {
        fields(body).required("message", "a string")
    }

    fn limit(value: &str) -> Result<Option<usize>, Refusal> {
        fields(&format!(r#"{{"limit":{value}}}"#)).optional("limit", "a whole number")
    }

    const INVALID_JSON: (Code, Option<&str>) = (Code::InvalidJson, None);

    fn invalid(field: &'static str) -> (Code, Option<&'static str>) {
        (Code::InvalidRequest, Some(field))
    }

    #[test]
    fn a_frame_that_is_not_json_is_invalid_json() {
        for body in [
            "",
            " ",
            "hi",
            "{",
            "}",
            "{'action':'ping'}",
            r#"{"action":"ping"} x"#,
            r#"{"action":"ping",}"#,
            "\u{feff}{}",
            "NaN",
        ] {
            assert_eq!(refused_body(body), INVALID_JSON, "{body}");
        }
    }

    #[test]
    fn json_that_is_no_object_is_an_invalid_request() {
        for body in ["[]", r#"["action","ping"]"#, "null", "7", r#""ping""#, "true", " [1] "] {
            assert_eq!(refused_body(body), invalid("action"), "{body}");
        }
    }

    #[test]
    fn an_action_that_is_missing_or_no_string_is_an_invalid_request() {
        for body in [
            "{}",
            r#"{"action":null}"#,
            r#"{"action":7}"#,
            r#"{"action":["ping"]}"#,
            r#"{"Action":"ping"}"#,
            r#"{"action":"\ud800"}"#,
        ] {
            assert_eq!(refused(fields(body).action()), invalid("action"), "{body}");
        }
        assert_eq!(fields(" {\n\"action\" : \"ping\" } ").action(), Ok("ping".to_owned()));
        assert_eq!(fields(r#"{"\u0061ction":"pin\u0067"}"#).action(), Ok("ping".to_owned()), "escapes are JSON, too");
    }

    #[test]
    fn a_field_of_a_wrong_type_is_named() {
        for value in ["7", "true", "null", "[]", r#"["Yo!"]"#, r#"{"text":"Yo!"}"#, "1e999"] {
            assert_eq!(refused(message(&format!(r#"{{"message":{value}}}"#))), invalid("message"), "{value}");
        }
        assert_eq!(refused(message(r#"{"action":"broadcast"}"#)), invalid("message"));
        for value in ["1", r#""true""#, "null", "[true]"] {
            let fields = fields(&format!(r#"{{"receipt":{value}}}"#));
            assert_eq!(refused(fields.optional::<bool>("receipt", "true or false")), invalid("receipt"), "{value}");
        }
    }

    #[test]
    fn a_field_that_is_left_out_is_none() {
        assert_eq!(fields("{}").optional::<bool>("receipt", "true or false"), Ok(None));
        assert_eq!(fields("{}").reference(), Ok(None));
    }

    #[test]
    fn deep_nesting_does_no_harm() {
        let deep = |count: usize| ["[".repeat(count), "]".repeat(count)].concat();
        assert_eq!(refused_body(&"[".repeat(100_000)), INVALID_JSON);
        assert_eq!(refused_body(&r#"{"a":"#.repeat(100_000)), INVALID_JSON);
        assert_eq!(refused_body(&deep(100_000)), invalid("action"));
        let body = |field: &str| format!(r#"{{"action":"ping","{field}":{}}}"#, deep(50_000));
        assert_eq!(fields(&body("other")).action(), Ok("ping".to_owned()));
        assert_eq!(refused(message(&body("message"))), invalid("message"));
        assert_eq!(refused(fields(&body("limit")).optional::<usize>("limit", "a number")), invalid("limit"));
        assert_eq!(refused(fields(&body("ref")).reference()), invalid("ref"));
    }

    #[test]
    fn half_a_surrogate_pair_is_no_message() {
        for half in [r"\ud83d", r"\udc4b", r"Yo \ud83d!", r"\udc4b\ud83d"] {
            assert_eq!(refused(message(&format!(r#"{{"message":"{half}"}}"#))), invalid("message"), "{half}");
        }
        assert_eq!(message(r#"{"message":"\ud83d\udc4b"}"#), Ok("\u{1f44b}".to_owned()));
    }

    #[test]
    fn half_a_surrogate_pair_in_a_field_nobody_asked_for_does_no_harm() {
        let body = r#"{"action":"broadcast","mood":"\ud83d","message":"Yo!","more":{"\udc4b":["\ud83d"]}}"#;
        assert_eq!(message(body), Ok("Yo!".to_owned()));
        assert_eq!(fields(body).action(), Ok("broadcast".to_owned()));
    }

    #[test]
    fn of_a_field_given_twice_the_last_counts() {
        assert_eq!(message(r#"{"message":"one","message":"two"}"#), Ok("two".to_owned()));
        assert_eq!(refused(message(r#"{"message":"one","message":2}"#)), invalid("message"));
        assert_eq!(message(r#"{"message":1,"message":"two"}"#), Ok("two".to_owned()));
    }

    #[test]
    fn a_ref_is_a_string_of_at_most_64_bytes() {
        let reference = |value: &str| fields(&format!(r#"{{"ref":{value}}}"#)).reference();
        assert_eq!(reference(r#""""#), Ok(Some(String::new())));
        assert_eq!(reference(&format!(r#""{}""#, "ü".repeat(32))), Ok(Some("ü".repeat(32))));
        assert_eq!(reference(&format!(r#""{}""#, r"\u0041".repeat(64))), Ok(Some("A".repeat(64))), "of decoded UTF-8");
        assert_eq!(refused(reference(&format!(r#""{}x""#, "ü".repeat(32)))), invalid("ref"));
        for value in ["7", "null", "{}", "false", r#""\ud800""#] {
            assert_eq!(refused(reference(value)), invalid("ref"), "{value}");
        }
    }

    #[test]
    fn a_limit_is_a_whole_number_however_large_what_is_sent() {
        assert_eq!(limit("1"), Ok(Some(1)));
        assert_eq!(limit("18446744073709551615"), Ok(Some(usize::MAX)), "its range is the handler's to judge");
        let digits = "9".repeat(10_000);
        for value in
            ["18446744073709551616", &digits, "1e3", "1e999", "1.0", "0.5", "-1", "-0.0", "null", r#""10""#, "[10]"]
        {
            assert_eq!(refused(limit(value)), invalid("limit"), "{value}");
        }
    }

    /// The gateway's event, as far as a request is read from it.
    fn context(json: serde_json::Value) -> ApiGatewayWebsocketProxyRequestContext {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_request_without_its_connection_or_id_is_a_fault_that_says_so() {
        let request = |connection: Option<&str>, id: Option<&str>, at: i64| {
            let json = serde_json::json!({"connectionId": connection, "requestId": id, "requestTimeEpoch": at, "connectedAt": 0});
            Request::of(&context(json)).map_err(|fault| fault.to_string())
        };
        let missing = |field: &str| format!("InvalidEvent: requestContext.{field} is missing or wrong");
        assert_eq!(request(None, Some("r1"), 0).unwrap_err(), missing("connectionId"));
        assert_eq!(request(Some("not an id"), Some("r1"), 0).unwrap_err(), missing("connectionId"));
        assert_eq!(request(Some("JC1dgf9yoAMCK-g="), None, 0).unwrap_err(), missing("requestId"));
        assert_eq!(request(Some("JC1dgf9yoAMCK-g="), Some("r1"), i64::MAX).unwrap_err(), missing("requestTimeEpoch"));
        let request = request(Some("JC1dgf9yoAMCK-g="), Some("r1"), 1_795_337_746_123).unwrap();
        assert_eq!((request.connection.as_str(), request.id.as_str()), ("JC1dgf9yoAMCK-g=", "r1"));
        assert_eq!(time::to_text(request.at), "2026-11-22T08:55:46.123Z");
    }

    #[test]
    fn a_request_that_waited_too_long_is_refused_as_unavailable() {
        let aged = |seconds: i64| {
            let at = time::now() - chrono::TimeDelta::seconds(seconds);
            let request = Request { connection: "bob".parse().unwrap(), id: "r1".to_owned(), at };
            request.check_age(Duration::from_secs(20))
        };
        assert_eq!(aged(0), Ok(()));
        assert_eq!(aged(-3600), Ok(()), "the gateway's clock may run ahead of ours");
        assert_eq!(refused(aged(3600)), (Code::Unavailable, None));
    }
}
