//! The handshake: a client asks for an upgrade, `$connect` decides.
//!
//! The 101 waits for `$connect`. A client that does not wait leaves its `$connect` running: when that succeeds there is a
//! connection to be ended, so `$disconnect` follows.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    extract::{ConnectInfo, FromRequestParts, Path, Request, State, WebSocketUpgrade, ws::Utf8Bytes},
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::Response,
};
use tokio::sync::mpsc;

use super::{
    Gateway,
    connection::{Connection, Identity},
    event::{ConnectEvent, RequestContext},
    farewell::Farewell,
    headers, ids,
    integration::Outcome,
    load::Held,
    response::{gateway_says, json_response},
    socket,
};

/// API Gateway's limit on one frame from a client.
const MAX_FRAME: usize = 32 * 1024;

/// API Gateway's limit on one message, in either direction.
pub(super) const MAX_MESSAGE: usize = 128 * 1024;

/// Buffers of each open socket. The default, 128 KiB each way, is memory that an idle connection would hold for nothing.
const SOCKET_BUFFER: usize = 4 * 1024;

/// A connection that `$connect` has let in.
struct Admitted {
    farewell: Farewell,
    queue: mpsc::Receiver<Utf8Bytes>,
    subprotocol: Option<HeaderValue>,
}

/// `GET /{stage}`, and whatever else is sent there.
pub(super) async fn upgrade(
    State(gateway): State<Arc<Gateway>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(stage): Path<String>,
    request: Request,
) -> Response {
    if stage != gateway.config.stage {
        return json_response(StatusCode::FORBIDDEN, r#"{"message":"Forbidden"}"#.into());
    }
    let (mut parts, _) = request.into_parts();
    let Ok(handshake) = WebSocketUpgrade::from_request_parts(&mut parts, &()).await else {
        return upgrade_required();
    };
    // Counted before the look at `closing`: a shutdown either sees this upgrade or is seen by it.
    let held = gateway.load.in_flight();
    if *gateway.closing.borrow() {
        return json_response(StatusCode::SERVICE_UNAVAILABLE, r#"{"message":"Service Unavailable"}"#.into());
    }
    // A task of its own: the client's leaving drops this future, and must not end `$connect` half way. What the task
    // returns to nobody is dropped too, which says the farewell.
    match tokio::spawn(gateway.admit(parts, peer, held)).await {
        Ok(Ok(admitted)) => open(handshake, admitted),
        Ok(Err(refusal)) => refusal,
        Err(_) => json_response(StatusCode::INTERNAL_SERVER_ERROR, r#"{"message":"Internal server error"}"#.into()),
    }
}

impl Gateway {
    /// Asks `$connect`. Without that route everybody is let in.
    async fn admit(self: Arc<Self>, parts: Parts, peer: SocketAddr, held: Held) -> Result<Admitted, Response> {
        let source_ip = peer.ip().to_canonical();
        let user_agent = parts.headers.get(header::USER_AGENT);
        let identity = Identity {
            user_agent: user_agent.map(|agent| String::from_utf8_lossy(agent.as_bytes()).into_owned()),
            source_ip: source_ip.to_string(),
        };
        let (connection, queue) = Connection::new(ids::fresh(), self.clock.now(), identity);
        let mut subprotocol = None;
        if let Some(function) = self.config.routes.get("$connect") {
            let now = self.clock.now();
            let headers = headers::connect_headers(&parts.headers, source_ip, now);
            let query = headers::query(&parts.uri);
            let context = RequestContext::connect(&self.config, &connection, now);
            let event = ConnectEvent::new(context, &headers, query.as_ref());
            match self.invoke(function, &event, &held).outcome().await {
                Outcome::Answered(response) if response.accepts() => subprotocol = response.subprotocol(),
                refused => return Err(refusal(&refused, &connection.id, &event.request_context.request_id)),
            }
        }
        let farewell = Farewell::new(Arc::clone(&self), connection, held);
        Ok(Admitted { farewell, queue, subprotocol })
    }
}

fn open(mut handshake: WebSocketUpgrade, admitted: Admitted) -> Response {
    let Admitted { farewell, queue, subprotocol } = admitted;
    if let Some(subprotocol) = subprotocol {
        handshake.set_selected_protocol(subprotocol);
    }
    handshake
        .max_frame_size(MAX_FRAME)
        .max_message_size(MAX_MESSAGE)
        .read_buffer_size(SOCKET_BUFFER)
        .write_buffer_size(SOCKET_BUFFER)
        .on_upgrade(move |websocket| socket::serve(farewell, queue, websocket))
}

fn refusal(outcome: &Outcome, connection_id: &str, request_id: &str) -> Response {
    let (status, message) = match outcome {
        Outcome::Answered(response) => {
            let status = response.refusal();
            (status, status.canonical_reason().unwrap_or("Refused"))
        }
        Outcome::Failed => (StatusCode::BAD_GATEWAY, "Internal server error"),
        Outcome::TimedOut => (StatusCode::GATEWAY_TIMEOUT, "Endpoint request timed out"),
    };
    json_response(status, gateway_says(message, connection_id, request_id))
}

fn upgrade_required() -> Response {
    let body = r#"{"message":"Upgrade Required"}"#;
    let mut response = json_response(StatusCode::UPGRADE_REQUIRED, body.into());
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    response
}
