//! The `$disconnect` that every connection is owed once its `$connect` has succeeded.
//!
//! A [`Farewell`] is made by the upgrade and travels with the connection. Dropping it invokes `$disconnect`, so that no
//! way out (a client gone before its 101, a panic in the socket's task) can forget it.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::{
    Gateway,
    connection::Connection,
    end::End,
    event::{DisconnectEvent, RequestContext, disconnect_headers},
    load::Held,
};

pub(super) struct Farewell {
    pub(super) gateway: Arc<Gateway>,
    pub(super) connection: Arc<Connection>,
    end: End,
    held: Held,
}

impl Farewell {
    /// Owed from here on; `held` counts the upgrade.
    pub(super) fn new(gateway: Arc<Gateway>, connection: Arc<Connection>, held: Held) -> Self {
        Farewell { gateway, connection, end: End::lost(), held }
    }

    /// The 101 is out: the connection can be reached.
    pub(super) fn established(&mut self) {
        self.held = self.gateway.load.connection();
        self.gateway.registry.insert(&self.connection);
    }

    /// The end has begun: the connection can no longer be reached.
    pub(super) fn unreachable(&self) {
        self.gateway.registry.remove(&self.connection.id);
    }

    /// The connection is over, in this way.
    pub(super) fn say(mut self, end: End) {
        self.end = end;
    }
}

impl Drop for Farewell {
    fn drop(&mut self) {
        self.unreachable();
        let (gateway, connection, end) = (Arc::clone(&self.gateway), Arc::clone(&self.connection), self.end.clone());
        let held = gateway.load.in_flight();
        // Without a runtime the process is ending, and no function can run.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move { gateway.disconnected(&connection, &end, &held).await });
        }
    }
}

impl Gateway {
    /// Invokes `$disconnect`. Best effort, as on AWS: whatever it answers changes nothing and it is not tried again.
    async fn disconnected(&self, connection: &Connection, end: &End, held: &Held) {
        tracing::debug!(connection = connection.id, code = end.code, "connection ended");
        if let Some(function) = self.config.routes.get("$disconnect") {
            let context = RequestContext::disconnect(&self.config, connection, self.clock.now(), end);
            let headers = disconnect_headers(&self.config.domain_name);
            self.invoke(function, &DisconnectEvent::new(context, &headers), held).outcome().await;
        }
    }
}
