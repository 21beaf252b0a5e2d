//! What a function answers (a "proxy response"), and the gateway's own words where none came.
//!
//! Of a proxy response the gateway heeds little: the status on `$connect`, the subprotocol on `$connect`, and the body on
//! message routes. One without `statusCode` is none at all.

use std::collections::HashMap;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProxyResponse {
    status_code: u16,
    headers: Option<HashMap<String, Value>>,
    multi_value_headers: Option<HashMap<String, Vec<Value>>>,
    body: Option<String>,
}

impl ProxyResponse {
    /// Whether `$connect` lets the client in.
    pub(super) fn accepts(&self) -> bool {
        (200..300).contains(&self.status_code)
    }

    /// The status a refused upgrade is answered with. A number that cannot end an HTTP exchange counts as a broken answer.
    pub(super) fn refusal(&self) -> StatusCode {
        StatusCode::from_u16(self.status_code)
            .ok()
            .filter(|status| !status.is_informational())
            .unwrap_or(StatusCode::BAD_GATEWAY)
    }

    /// The one header that reaches the client, from either map.
    pub(super) fn subprotocol(&self) -> Option<HeaderValue> {
        let is_subprotocol = |name: &str| name.eq_ignore_ascii_case("sec-websocket-protocol");
        let single = self.headers.iter().flatten();
        let multi = self.multi_value_headers.iter().flatten();
        single
            .chain(multi.filter_map(|(name, values)| Some((name, values.last()?))))
            .find(|(name, _)| is_subprotocol(name))
            .and_then(|(_, value)| value.as_str()?.parse().ok())
    }

    /// The route response: the body, or an empty frame.
    pub(super) fn into_body(self) -> String {
        self.body.unwrap_or_default()
    }
}

/// What the gateway says in its own name, spaced exactly as AWS spaces it.
pub(super) fn gateway_says(message: &str, connection_id: &str, request_id: &str) -> String {
    format!(r#"{{"message": "{message}", "connectionId":"{connection_id}", "requestId":"{request_id}"}}"#)
}

/// An HTTP response with a JSON body.
pub(super) fn json_response(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    fn subprotocol(response: Value) -> Option<HeaderValue> {
        serde_json::from_value::<ProxyResponse>(response).unwrap().subprotocol()
    }

    #[test]
    fn the_subprotocol_is_found_in_either_map_in_any_case() {
        let single = json!({"statusCode": 200, "headers": {"sec-websocket-protocol": "b"}, "multiValueHeaders": {}});
        let multi = json!({"statusCode": 200, "headers": {}, "multiValueHeaders": {"Sec-WebSocket-Protocol": ["b"]}});
        assert_eq!(subprotocol(single).unwrap(), "b");
        assert_eq!(subprotocol(multi).unwrap(), "b");
        assert_eq!(subprotocol(json!({"statusCode": 200, "headers": {"X": "b"}})), None);
    }

    #[test]
    fn a_status_that_is_no_answer_is_a_bad_gateway() {
        let refusal =
            |status| serde_json::from_value::<ProxyResponse>(json!({"statusCode": status})).unwrap().refusal();
        assert_eq!(refusal(401), StatusCode::UNAUTHORIZED);
        assert_eq!(refusal(101), StatusCode::BAD_GATEWAY);
        assert_eq!(refusal(7), StatusCode::BAD_GATEWAY);
    }
}
