//! The `@connections` API: push to a connection, ask about it, end it.
//!
//! `post` and `manage` reach it through the AWS SDK. The SDK knows errors by the `x-amzn-ErrorType` header: without it a
//! 410 would not be recognised, and lost connections would never be found.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{
        Path, State,
        rejection::{BytesRejection, PathRejection},
    },
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::{
    Gateway,
    clock::iso_8601,
    connection::{Connection, Unqueued},
    ids,
    response::json_response,
    upgrade::MAX_MESSAGE,
};

type StageAndId = Result<Path<(String, String)>, PathRejection>;

pub(super) enum Refusal {
    Forbidden,
    InvalidId(String),
    TooLarge,
    Gone,
    LimitExceeded,
}

/// `PostToConnection`: 200 means queued, as on AWS; nobody learns whether the client read it.
pub(super) async fn post_to_connection(
    State(gateway): State<Arc<Gateway>>,
    path: StageAndId,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, Refusal> {
    let id = gateway.addressed(path)?;
    let body = body.ok().filter(|body| body.len() <= MAX_MESSAGE).ok_or(Refusal::TooLarge)?;
    let connection = gateway.reachable(&id).ok_or(Refusal::Gone)?;
    // A text frame must be UTF-8; what AWS makes of other bytes is not known.
    connection.push(String::from_utf8_lossy(&body).into_owned().into())?;
    connection.touch(gateway.clock.now());
    Ok(StatusCode::OK)
}

/// `GetConnection`.
pub(super) async fn get_connection(State(gateway): State<Arc<Gateway>>, path: StageAndId) -> Result<Response, Refusal> {
    let id = gateway.addressed(path)?;
    let connection = gateway.reachable(&id).ok_or(Refusal::Gone)?;
    Ok(json_response(StatusCode::OK, description(&connection).to_string()))
}

/// `DeleteConnection`: 204 at once, the close frame and `$disconnect` follow.
pub(super) async fn delete_connection(
    State(gateway): State<Arc<Gateway>>,
    path: StageAndId,
) -> Result<StatusCode, Refusal> {
    let id = gateway.addressed(path)?;
    let connection = gateway.registry.remove(&id).ok_or(Refusal::Gone)?;
    connection.hang_up.notify_one();
    Ok(StatusCode::NO_CONTENT)
}

impl Gateway {
    /// The connection, unless chaos has it answer 410 for being young.
    fn reachable(&self, id: &str) -> Option<Arc<Connection>> {
        let connection = self.registry.get(id)?;
        let age = self.clock.now() - connection.connected_at;
        (!self.functions.chaos().hides(id, age)).then_some(connection)
    }

    /// The connection id in a path of this stage. The router has decoded it, once.
    fn addressed(&self, path: StageAndId) -> Result<String, Refusal> {
        let Path((stage, id)) = path.map_err(|_| Refusal::InvalidId(String::new()))?;
        if stage != self.config.stage {
            return Err(Refusal::Forbidden);
        }
        if !ids::is_well_formed(&id) {
            return Err(Refusal::InvalidId(id));
        }
        Ok(id)
    }
}

fn description(connection: &Connection) -> serde_json::Value {
    json!({
        "connectedAt": iso_8601(connection.connected_at),
        "identity": connection.identity,
        "lastActiveAt": iso_8601(connection.last_active_at()),
    })
}

impl From<Unqueued> for Refusal {
    fn from(unqueued: Unqueued) -> Self {
        match unqueued {
            Unqueued::Gone => Refusal::Gone,
            Unqueued::Full => Refusal::LimitExceeded,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, error_type, message) = match self {
            Refusal::Forbidden => (StatusCode::FORBIDDEN, "ForbiddenException", Some("Forbidden".to_owned())),
            Refusal::InvalidId(id) => {
                (StatusCode::BAD_REQUEST, "BadRequestException", Some(format!("Invalid connectionId: {id}")))
            }
            Refusal::TooLarge => {
                (StatusCode::PAYLOAD_TOO_LARGE, "PayloadTooLargeException", Some("Message too long".to_owned()))
            }
            Refusal::Gone => (StatusCode::GONE, "GoneException", None),
            Refusal::LimitExceeded => (StatusCode::TOO_MANY_REQUESTS, "LimitExceededException", None),
        };
        let error_type = [("x-amzn-ErrorType", error_type)];
        match message {
            Some(message) => {
                (error_type, json_response(status, json!({ "message": message }).to_string())).into_response()
            }
            None => (status, error_type).into_response(),
        }
    }
}
