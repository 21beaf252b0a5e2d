//! What the inspect page reads: the log, the view now and at any past moment, and what crosses the wire.
//!
//! Read-only. It shows every message to whoever asks, so it answers only this machine: a loopback peer that names a
//! loopback `Host` (else a site could point its own name here), is no page of another origin and came through no proxy.

mod guard;
mod history;
mod rows;
mod told;

use std::{sync::Arc, time::Duration};

use aws_sdk_dynamodb::types::AttributeValue;
use axum::{
    Router,
    extract::{Query, State},
    http::{StatusCode, header},
    middleware::from_fn,
    response::{IntoResponse, Response},
    routing::get,
};
use events::EventLog;
use projections::ConnectionsView;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub(crate) use self::guard::{is_this_machine, names_this_machine};
use self::history::History;
use crate::{observer::Observer, store::Store, tables::PARKED};

/// A feed that has nothing to tell answers after this, so that no proxy or browser gives up on it.
const PATIENCE: Duration = Duration::from_secs(25);
/// Calls told in one answer of the feed.
const AT_ONCE: usize = 500;
/// Calls told together with the log.
const REMEMBERED: usize = 1000;
/// Parked records shown.
const MAX_PARKED: i32 = 200;

/// Everything the page reads from.
pub(crate) struct Inspect {
    history: History,
    view: ConnectionsView,
    tables: aws_sdk_dynamodb::Client,
    store: Arc<Store>,
    observer: Observer,
    /// A feed must not outlive the runtime.
    stop: CancellationToken,
}

/// What could not be read, for the page; the page tries again.
struct Unread(String);

type Answer = Result<Response, Unread>;

impl Inspect {
    pub(crate) fn new(
        log: EventLog,
        view: ConnectionsView,
        tables: aws_sdk_dynamodb::Client,
        store: Arc<Store>,
        observer: Observer,
        stop: CancellationToken,
    ) -> Inspect {
        Inspect { history: History::new(log, observer.clone()), view, tables, store, observer, stop }
    }

    /// The endpoints, all of them GET.
    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/inspect/log", get(log))
            .route("/inspect/view", get(view))
            .route("/inspect/feed", get(feed))
            .route("/inspect/parked", get(parked))
            .layer(from_fn(guard::guard))
            .with_state(Arc::new(self))
    }
}

/// The newest events, the oldest first, and what crossed the wire last; `next` is where the feed goes on.
async fn log(State(inspect): State<Arc<Inspect>>) -> Answer {
    // Before the log is read: what is appended meanwhile is told twice rather than never.
    let next = inspect.observer.last();
    let history = inspect.history.read().await.map_err(|error| Unread(error.to_string()))?;
    let events: Vec<Value> = history.recent().map(told::event).collect();
    let before = inspect.observer.since(next.saturating_sub(REMEMBERED as u64), REMEMBERED);
    let told: Vec<Value> = before.calls.iter().flat_map(told::call).collect();
    Ok(json_response(&json!({"next": before.next, "older": history.older(), "events": events, "observed": told})))
}

#[derive(Deserialize)]
struct Moment {
    /// `<at>#<id>` of the last event that counts. Absent: now.
    up_to: Option<String>,
}

/// The view: as it is stored, and whether the log makes the same; or what the log makes up to a moment.
async fn view(State(inspect): State<Arc<Inspect>>, Query(Moment { up_to }): Query<Moment>) -> Answer {
    if let Some(up_to) = up_to {
        let history = inspect.history.read().await.map_err(|error| Unread(error.to_string()))?;
        return Ok(json_response(&rows::tell(history.fold(&up_to).into_values().collect())));
    }
    let stored = inspect.view.all().await.map_err(|error| Unread(error.to_string()))?;
    let history = inspect.history.read().await.map_err(|error| Unread(error.to_string()))?;
    let stored: Vec<_> = stored.into_iter().map(|stored| stored.row).collect();
    let same = rows::same(&stored, history.fold_all());
    let mut told = rows::tell(stored);
    told["same_as_log"] = json!(same);
    Ok(json_response(&told))
}

#[derive(Deserialize)]
struct From {
    after: u64,
}

/// What crossed the wire behind `after`; waits for something to tell.
async fn feed(State(inspect): State<Arc<Inspect>>, Query(From { after }): Query<From>) -> Answer {
    // A number of an earlier process is beyond ours.
    let restarted = after > inspect.observer.last();
    if !restarted {
        tokio::select! {
            () = inspect.observer.behind(after) => {}
            () = tokio::time::sleep(PATIENCE) => {}
            () = inspect.stop.cancelled() => {}
        }
    }
    let since = inspect.observer.since(after, AT_ONCE);
    let told: Vec<Value> = since.calls.iter().flat_map(told::call).collect();
    Ok(json_response(&json!({"next": since.next, "missed": since.missed || restarted, "observed": told})))
}

/// What was set aside: records the projector parked, and what was given up after all tries.
async fn parked(State(inspect): State<Arc<Inspect>>) -> Answer {
    let scan = inspect.tables.scan().table_name(PARKED).limit(MAX_PARKED).send().await;
    let found = scan.map_err(|error| Unread(aws_sdk_dynamodb::error::DisplayErrorContext(error).to_string()))?;
    let text = |value: Option<&AttributeValue>| value.and_then(|value| value.as_s().ok()).cloned();
    let parked = found.items().iter().map(|item| {
        let [stream, id, why, at] = ["stream", "id", "why", "parked_at"].map(|name| text(item.get(name)));
        json!({"stream": stream, "id": id, "why": why, "at": at})
    });
    let given_up = inspect.store.given_up().map_err(|error| Unread(error.to_string()))?;
    let given_up = given_up.iter().map(|(function, record)| {
        let record: Value = serde_json::from_str(record).unwrap_or_default();
        let why = &record["responsePayload"]["errorMessage"];
        let why = if why.is_null() { &record["requestContext"]["condition"] } else { why };
        json!({"function": function, "at": record["timestamp"], "why": why})
    });
    Ok(json_response(&json!({"parked": parked.collect::<Vec<_>>(), "given_up": given_up.collect::<Vec<_>>()})))
}

fn json_response(body: &Value) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, body.to_string()).into_response()
}

impl IntoResponse for Unread {
    fn into_response(self) -> Response {
        warn!(why = self.0, "the inspect page could not be answered");
        (StatusCode::SERVICE_UNAVAILABLE, json_response(&json!({"message": self.0}))).into_response()
    }
}
