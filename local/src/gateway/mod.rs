//! API Gateway's WebSocket API on one machine: the front end clients connect to, and the `@connections` API.
//!
//! The local runtime serves the two routers on its two listeners; the functions behind the routes are invoked through
//! [`Functions`]. Event shapes, status codes and limits are those of AWS, oddities included: handlers rely on them.

mod clock;
mod connection;
mod end;
mod event;
mod farewell;
mod headers;
mod ids;
mod integration;
mod load;
mod management;
mod message;
mod outbox;
mod response;
mod routing;
mod socket;
mod upgrade;

use std::{collections::HashMap, sync::Arc};

use axum::{
    Router,
    routing::{any, post},
};
use events::Timing;
use tokio::sync::watch;

use self::{clock::Clock, connection::Registry, load::Load};
use crate::Functions;

/// What a deployment would configure on the WebSocket API.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// First segment of every path.
    pub stage: String,
    /// `apiId` in every event.
    pub api_id: String,
    /// `domainName` in every event.
    pub domain_name: String,
    /// Route key (`$connect`, `$disconnect`, `$default`, or a value of `action`) to function name. A route that is absent
    /// is treated as AWS does: no `$connect` lets everybody in, no `$default` answers "Forbidden".
    /// Every message route has a route response: the `body` the function returns goes back as one text frame.
    pub routes: HashMap<String, String>,
}

/// The gateway: its open connections and what is in flight.
pub struct Gateway {
    config: GatewayConfig,
    functions: Arc<Functions>,
    timing: Timing,
    clock: Clock,
    registry: Registry,
    load: Load,
    closing: watch::Sender<bool>,
}

impl Gateway {
    /// A gateway with no connections. Of `timing`, only `idle_limit`, `connection_limit`, `unread_limit` and
    /// `integration_timeout` matter.
    pub fn new(config: GatewayConfig, functions: Arc<Functions>, timing: Timing) -> Arc<Self> {
        Arc::new(Gateway {
            config,
            functions,
            timing,
            clock: Clock::default(),
            registry: Registry::default(),
            load: Load::default(),
            closing: watch::Sender::new(false),
        })
    }

    /// Where clients connect: `GET /{stage}`. To be served with `ConnectInfo<SocketAddr>`, the source of `sourceIp`.
    pub fn public_router(self: &Arc<Self>) -> Router {
        Router::new().route("/{stage}", any(upgrade::upgrade)).with_state(Arc::clone(self))
    }

    /// The management API: POST, GET and DELETE on `/{stage}/@connections/{id}`. It checks no credentials.
    pub fn management_router(self: &Arc<Self>) -> Router {
        let connection =
            post(management::post_to_connection).get(management::get_connection).delete(management::delete_connection);
        // Paths are matched as they were sent, and both spellings are in use.
        Router::new()
            .route("/{stage}/@connections/{id}", connection.clone())
            .route("/{stage}/%40connections/{id}", connection)
            .with_state(Arc::clone(self))
    }

    /// Connections from the 101 until their end is on its way to `$disconnect`.
    pub fn connections(&self) -> usize {
        self.load.counts().connections
    }

    /// Upgrades not yet answered and invocations not yet over, `$disconnect` included.
    pub fn in_flight(&self) -> usize {
        self.load.counts().in_flight
    }

    /// Returns once nothing is in flight. A connection that ends is in flight before it stops counting as a connection.
    pub async fn idle(&self) {
        self.load.reaches(|counts| counts.in_flight == 0).await;
    }

    /// Refuses new upgrades with 503, lets running invocations answer, closes every connection with 1001 "Going away",
    /// and returns when each one's `$disconnect` is over.
    pub async fn shutdown(&self) {
        self.closing.send_replace(true);
        self.load.reaches(|counts| counts.connections == 0 && counts.in_flight == 0).await;
    }
}
