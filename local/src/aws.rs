//! The AWS-facing listener: DynamoDB, EventBridge and `@connections` for the SDK clients, on loopback only.
//!
//! It refuses what a browser could send: requests with an `Origin` or for another `Host`, and such without `Authorization`.
//! Signatures are not checked. Injected faults act here, around the whole of it, and the inspect page's observer looks on.

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::{Value, json};
use std::sync::Arc;

use crate::{
    bus::EventBridge,
    chaos::Chaos,
    faults::{Effect, Faults, fail_entries, spare_entries},
    inspect::names_this_machine,
    meter::{Meter, measure},
    observer::{Observer, observe},
    tables::Tables,
};

/// DynamoDB takes bodies of up to 16 MB.
pub(crate) const MAX_BODY: usize = 16 * 1024 * 1024;

#[derive(Clone)]
struct Services {
    tables: Tables,
    bus: Option<Arc<EventBridge>>,
}

/// The listener's routes; `management` are those of `@connections`.
pub(crate) fn router(
    tables: Tables,
    bus: Option<Arc<EventBridge>>,
    management: Router,
    faults: Faults,
    chaos: Chaos,
    observer: Observer,
    meter: Meter,
) -> Router {
    Router::new()
        .route("/", post(target))
        .with_state(Services { tables, bus })
        .merge(management)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state((faults, chaos), strike))
        .layer(from_fn_with_state(observer, observe))
        .layer(from_fn_with_state(meter, measure))
        .layer(from_fn(guard))
}

/// Dispatches on `X-Amz-Target`.
async fn target(State(services): State<Services>, headers: HeaderMap, body: String) -> Response {
    match operation_of_target(&headers) {
        Some(("AWSEvents", "PutEvents")) => match services.bus {
            Some(bus) => {
                let (status, body) = bus.put_events(&body);
                json_response(status, "application/x-amz-json-1.1", body.to_string())
            }
            None => {
                refusal(400, "UnknownOperationException", "no runtime is running on this folder, so there is no bus")
            }
        },
        Some(("DynamoDB_20120810" | "DynamoDBStreams_20120810", operation)) => {
            match services.tables.call(operation.to_owned(), body).await {
                Ok(reply) => json_response(reply.status, "application/x-amz-json-1.0", reply.body),
                Err(closed) => (StatusCode::SERVICE_UNAVAILABLE, closed.to_string()).into_response(),
            }
        }
        _ => refusal(400, "UnknownOperationException", "no operation of this name is served here"),
    }
}

fn operation_of_target(headers: &HeaderMap) -> Option<(&str, &str)> {
    headers.get("x-amz-target")?.to_str().ok()?.split_once('.')
}

fn json_response(status: u16, content_type: &'static str, body: String) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, content_type)], body).into_response()
}

/// An error as AWS's JSON services send it.
fn refusal(status: u16, error_type: &'static str, message: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = json!({"__type": error_type, "message": message}).to_string();
    let headers = [("x-amzn-errortype", error_type), ("content-type", "application/x-amz-json-1.0")];
    (status, headers, body).into_response()
}

async fn guard(request: Request, next: Next) -> Response {
    let headers = request.headers();
    // A GET of a page's own origin carries no `Origin`, and may carry an `Authorization` of the page's making; but it names
    // the page's host, whatever address that name points to, and browsers mark it.
    let by_a_page = headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site");
    if by_a_page || !headers.contains_key(header::AUTHORIZATION) || !names_this_machine(request.uri(), headers) {
        return refusal(
            403,
            "AccessDeniedException",
            "requests of this machine's programs only: signed, and without an Origin",
        );
    }
    next.run(request).await
}

/// Lets an injected fault act on the call.
async fn strike(State((faults, chaos)): State<(Faults, Chaos)>, request: Request, next: Next) -> Response {
    let operation = operation(&request).unwrap_or_default().to_owned();
    let path = request.uri().path().to_owned();
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY).await else {
        return refusal(413, "RequestEntityTooLargeException", "the body is too large");
    };
    let run = |body: Bytes| next.run(Request::from_parts(parts, Body::from(body)));
    let injected = faults.strike(&operation, &path, &body);
    let Some(effect) = injected.as_ref().map(|i| i.effect().clone()).or_else(|| chaos.effect_on(&operation)) else {
        return run(body).await;
    };
    let answer = match effect {
        Effect::Refuse(status, error_type) => Some(refusal(status, error_type, "injected")),
        Effect::FailAfter => {
            run(body).await;
            Some(refusal(500, "InternalServerError", "injected"))
        }
        Effect::Delay(late) => {
            tokio::time::sleep(late).await;
            Some(run(body).await)
        }
        Effect::Ignore => None,
        Effect::LoseAnswer => {
            run(body).await;
            None
        }
        Effect::FailEntries => fail_half(body, run).await.or_else(|| Some(refusal(500, "InternalFailure", "injected"))),
    };
    if let Some(injected) = injected {
        injected.has_struck();
    }
    match answer {
        Some(answer) => answer,
        None => std::future::pending().await,
    }
}

async fn fail_half<F: Future<Output = Response>>(body: Bytes, run: impl FnOnce(Bytes) -> F) -> Option<Response> {
    let all = serde_json::from_slice::<Value>(&body).ok()?["Entries"].as_array()?.len();
    let answer = if all > 1 {
        to_bytes(run(spare_entries(&body)?).await.into_body(), MAX_BODY).await.ok()?
    } else {
        Bytes::new()
    };
    let body = String::from_utf8(fail_entries(&answer, all)?.to_vec()).ok()?;
    Some(json_response(200, "application/x-amz-json-1.1", body))
}

/// The API's name of the call.
pub(crate) fn operation(request: &Request) -> Option<String> {
    if request.uri().path() == "/" {
        return operation_of_target(request.headers()).map(|(_, operation)| operation.to_owned());
    }
    let name = match *request.method() {
        Method::POST => "PostToConnection",
        Method::GET => "GetConnection",
        Method::DELETE => "DeleteConnection",
        _ => return None,
    };
    Some(name.to_owned())
}
