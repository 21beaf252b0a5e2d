//! What a route handler gets and gives: a client's frame in, one reply frame out.
//!
//! The body is read field by field: a mistake in one is reported by its name, and fields nobody asked for (however
//! strange) do no harm. Everything a client can do wrong becomes a [`Refusal`], never a fault.

use std::{collections::BTreeMap, sync::Arc, time::Duration, time::Instant};

use aws_lambda_events::apigw::{ApiGatewayWebsocketProxyRequest, ApiGatewayWebsocketProxyRequestContext};
use chrono::{DateTime, Utc};
use events::{AppendError, ConnectionId, conversation::Rejection, time};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tracing::info;

use crate::{
    Fault, Service,
    frames::{Code, Reply},
    service::service,
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
        tracing::warn!(age_ms = age.as_millis(), "refused a request that had waited too long");
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
        self.optional(field, kind)?.ok_or_else(|| Refusal::invalid(field, format!("`{field}` is missing: {kind}")))
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
            .map_err(|_| Refusal::invalid(field, format!("`{field}` is not {kind}")))
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
pub(crate) fn route<F>(name: &'static str, handler: impl Fn(Asked) -> F + Send + Sync + 'static) -> Service
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
            info!(function = name, %connection, reply = body.kind(), duration_ms = started.elapsed().as_millis(), "answered");
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
