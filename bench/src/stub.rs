//! What a function calls: DynamoDB, EventBridge and `@connections`, answered at once or after a set time, and counted.
//!
//! It keeps nothing that is written. There are as many connections as it is told, all live, with ids like the gateway's.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashSet},
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::Result;
use bytes::Bytes;
use hyper::http::request::Parts;
use serde_json::{Value, json};

use crate::{
    delay::Delay,
    server::{self, Answer, serve},
};

/// As the view does it: a contract of projections/src/connections.rs.
const LIVE_SHARDS: usize = 4;

/// The servers behind a function.
#[derive(Clone)]
pub(crate) struct Stub {
    pub(crate) address: SocketAddr,
    /// The same over TLS.
    pub(crate) tls_address: SocketAddr,
    /// The certificate to trust there.
    pub(crate) certificate: String,
    state: Rc<RefCell<State>>,
}

/// How the stub behaves, and what it saw.
struct State {
    delay: Delay,
    latency: Duration,
    /// By partition of the live index, in order.
    live: Vec<Vec<String>>,
    seen: Seen,
}

/// What was called since the last [`Stub::reset`].
#[derive(Clone, Default)]
pub(crate) struct Seen {
    /// Calls by operation.
    pub(crate) calls: BTreeMap<String, usize>,
    /// The most posts that were in flight at once.
    pub(crate) most_posts: usize,
    posts: usize,
    /// Whom something was posted to: the connection as the path spells it.
    pub(crate) posted: HashSet<String>,
    /// Details of the `deliver` notices published.
    pub(crate) delivers: Vec<String>,
    /// When the last post was answered.
    pub(crate) last_post: Option<Instant>,
}

impl Stub {
    pub(crate) async fn start() -> Result<Stub> {
        let state = State { delay: Delay::start(), latency: Duration::ZERO, live: vec![], seen: Seen::default() };
        let state = Rc::new(RefCell::new(state));
        let (plain, secret) = (state.clone(), state.clone());
        let address = serve(None, move |head, body| answer(plain.clone(), head, body)).await?;
        let (tls, certificate) = server::tls()?;
        let tls_address = serve(Some(tls), move |head, body| answer(secret.clone(), head, body)).await?;
        Ok(Stub { address, tls_address, certificate, state })
    }

    /// Forgets what it saw; from now on there are `connections`, and an answer takes `latency`.
    pub(crate) fn reset(&self, connections: usize, latency: Duration) {
        let mut state = self.state.borrow_mut();
        (state.latency, state.seen) = (latency, Seen::default());
        if state.live.iter().map(Vec::len).sum::<usize>() != connections {
            state.live = live(connections);
        }
    }

    /// What it saw since.
    pub(crate) fn seen(&self) -> Seen {
        self.state.borrow().seen.clone()
    }

    /// A `deliver` that nobody has taken yet.
    pub(crate) fn take_deliver(&self) -> Option<String> {
        self.state.borrow_mut().seen.delivers.pop()
    }

    /// The connections of a page.
    pub(crate) fn page(&self, page: usize, size: usize) -> Vec<String> {
        self.state.borrow().live.iter().flatten().skip(page * size).take(size).cloned().collect()
    }
}

fn live(connections: usize) -> Vec<Vec<String>> {
    let mut shards = vec![Vec::new(); LIVE_SHARDS];
    for number in 0..connections {
        let id = format!("TXzP{number:011}=");
        let sum = id.bytes().fold(0u8, u8::wrapping_add);
        shards[usize::from(sum) % LIVE_SHARDS].push(id);
    }
    shards
}

async fn answer(state: Rc<RefCell<State>>, head: Parts, body: Bytes) -> Answer {
    let due = Instant::now();
    let path = head.uri.path();
    let connection = path.split_once("connections/").map(|(_, connection)| connection);
    let target = head.headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let operation = match connection {
        Some(_) => "PostToConnection",
        None => target.split_once('.').map_or("unknown", |(_, operation)| operation),
    };
    let (delay, due) = {
        let state = &mut *state.borrow_mut();
        state.seen.begin(operation, connection);
        ((!state.latency.is_zero()).then(|| state.delay.clone()), due + state.latency)
    };
    if let Some(delay) = delay {
        delay.until(due).await;
    }
    let state = &mut *state.borrow_mut();
    if connection.is_some() {
        state.seen.posts -= 1;
        state.seen.last_post = Some(Instant::now());
        return server::json(200, "");
    }
    let found = serde_json::from_slice(&body).unwrap_or(Value::Null);
    match operation {
        "Query" if found["IndexName"] == "live" => server::json(200, state.live_page(&found)),
        "Query" => server::json(200, stream(&found)),
        "UpdateItem" if ended_before(&found) => server::json(
            400,
            r#"{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException","message":"The conditional request failed"}"#,
        ),
        "PutEvents" => {
            let entries = found["Entries"].as_array().map(Vec::as_slice).unwrap_or_default();
            let delivers = entries.iter().filter(|entry| entry["DetailType"] == "deliver");
            state.seen.delivers.extend(delivers.filter_map(|entry| Some(entry["Detail"].as_str()?.to_owned())));
            let taken = vec![json!({"EventId": "11710aed-b79e-4468-a20b-bb3c0c3b4860"}); entries.len()];
            server::json(200, json!({"FailedEntryCount": 0, "Entries": taken}).to_string())
        }
        "PutItem" | "UpdateItem" | "GetItem" => server::json(200, "{}"),
        _ => server::json(400, r#"{"__type":"UnknownOperationException","message":"not stubbed"}"#),
    }
}

impl Seen {
    fn begin(&mut self, operation: &str, connection: Option<&str>) {
        match self.calls.get_mut(operation) {
            Some(calls) => *calls += 1,
            None => drop(self.calls.insert(operation.to_owned(), 1)),
        }
        if let Some(connection) = connection {
            self.posts += 1;
            self.most_posts = self.most_posts.max(self.posts);
            self.posted.insert(connection.to_owned());
        }
    }
}

impl State {
    fn live_page(&self, query: &Value) -> String {
        let values = &query["ExpressionAttributeValues"];
        let shard = values[":live"]["S"].as_str().and_then(|shard| shard.parse::<usize>().ok());
        let shard = shard.and_then(|shard| self.live.get(shard)).map(Vec::as_slice).unwrap_or_default();
        let after = values[":after"]["S"].as_str().unwrap_or_default();
        let limit = query["Limit"].as_u64().map_or(usize::MAX, |limit| limit as usize);
        let rest = &shard[shard.partition_point(|id| id.as_str() <= after)..];
        let items = rest
            .iter()
            .take(limit)
            .map(|id| format!(r#"{{"connection":{{"S":"{id}"}},"opened_at":{{"S":"2026-11-22T08:00:00.000Z"}}}}"#));
        let items: Vec<_> = items.collect();
        let last = (rest.len() > items.len()).then(|| rest[items.len() - 1].as_str());
        let more = last.map_or(String::new(), |id| format!(r#","LastEvaluatedKey":{{"connection":{{"S":"{id}"}}}}"#));
        format!(r#"{{"Count":{},"ScannedCount":{},"Items":[{}]{more}}}"#, items.len(), items.len(), items.join(","))
    }
}

/// The stream of any connection: it opened.
fn stream(query: &Value) -> String {
    let stream = &query["ExpressionAttributeValues"][":stream"];
    json!({"Count": 1, "ScannedCount": 1, "Items": [{
        "stream": stream,
        "id": {"S": "6fa8a2cc-8a5e-5ad8-b63e-2f0a5d2f2b10"},
        "at": {"S": "2026-11-22T08:55:46.123Z"},
        "type": {"S": "ConnectionOpened"},
        "version": {"N": "1"},
        "request_id": {"S": "TXzPWFkkjoEF92g="},
        "data": {"M": {"source_ip": {"S": "185.69.197.15"}}},
    }]})
    .to_string()
}

/// Connections whose id ends in `E` ended before: their opening must not make them live.
fn ended_before(update: &Value) -> bool {
    let condition = update["ConditionExpression"].as_str().unwrap_or_default();
    let ended = update["Key"]["connection"]["S"].as_str().is_some_and(|id| id.ends_with("E="));
    ended && condition.contains("closed_at")
}
