//! One text frame from a client: route it, invoke the function, send back what it answers.
//!
//! Called by the socket for every text frame. Each frame is its own invocation; they begin in order of arrival and may
//! overtake each other, so replies come in any order.

use std::sync::Arc;

use axum::extract::ws::Utf8Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    Gateway,
    connection::Connection,
    event::{MessageEvent, RequestContext},
    ids,
    integration::{Call, Outcome},
    response::gateway_says,
    routing::route,
};

impl Gateway {
    /// Begins the frame's invocation and leaves a task behind that replies. The frame keeps its `turn` until then.
    pub(super) fn receive(self: &Arc<Self>, connection: &Arc<Connection>, frame: &str, turn: OwnedSemaphorePermit) {
        let held = self.load.in_flight();
        let now = self.clock.now();
        connection.touch(now);
        let reply: Reply = match route(&self.config.routes, frame) {
            Some((key, function)) => {
                let request_context = RequestContext::message(&self.config, connection, now, key);
                let event = MessageEvent { request_context, body: frame, is_base64_encoded: false };
                let call = self.invoke(function, &event, &held);
                Reply::OfFunction(call, event.request_context.request_id)
            }
            None => Reply::Forbidden,
        };
        let (gateway, connection) = (Arc::clone(self), Arc::clone(connection));
        tokio::spawn(async move {
            let _in_work = (held, turn);
            connection.reply(reply.text(&connection.id).await).await;
            connection.touch(gateway.clock.now());
        });
    }
}

enum Reply {
    /// The route response to this call, the request id of which is given.
    OfFunction(Call, String),
    /// No route: the connection stays open.
    Forbidden,
}

impl Reply {
    async fn text(self, connection_id: &str) -> Utf8Bytes {
        match self {
            Reply::OfFunction(call, request_id) => match call.outcome().await {
                Outcome::Answered(response) => response.into_body(),
                Outcome::Failed | Outcome::TimedOut => {
                    gateway_says("Internal server error", connection_id, &request_id)
                }
            },
            Reply::Forbidden => gateway_says("Forbidden", connection_id, &ids::fresh()),
        }
        .into()
    }
}
