//! `$connect`: records that a connection opened, or refuses it. No event, no connection.
//!
//! Nothing can be sent to the connection yet: the welcome follows from the event, through projector and post.

use std::sync::Arc;

use aws_lambda_events::apigw::ApiGatewayWebsocketProxyRequest;
use events::{
    Appended, EventLog, Timing,
    connection::{self, ConnectionOpened},
    time,
};
use serde::Serialize;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::{Fault, request::Request, service::millis};

/// The handler of `$connect`.
pub(crate) struct Connect {
    pub(crate) log: EventLog,
    /// Origins that may connect; any if empty.
    pub(crate) origins: Vec<String>,
    pub(crate) timing: Timing,
}

/// The answer to the handshake: the gateway mirrors the status.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Handshake {
    status_code: u16,
}

impl Connect {
    pub(crate) async fn handle(self: Arc<Self>, event: ApiGatewayWebsocketProxyRequest) -> Result<Handshake, Fault> {
        let started = Instant::now();
        let request = Request::of(&event.request_context)?;
        let status_code = if self.allows(&event) { self.open(&request, event.request_context).await } else { 403 };
        info!(function = "connect", connection = %request.connection, status_code, duration_ms = millis(started.elapsed()), "answered");
        Ok(Handshake { status_code })
    }

    /// Programs send no `Origin`; browsers always do, and cannot lie about it.
    /// Every `Origin` that came must be listed: one that is no text, or hides behind another, is not.
    fn allows(&self, event: &ApiGatewayWebsocketProxyRequest) -> bool {
        let (last, all) = (event.headers.get_all("origin"), event.multi_value_headers.get_all("origin"));
        let mut sent = last.iter().chain(all.iter());
        let listed = |origin: &[u8]| self.origins.iter().any(|allowed| allowed.as_bytes() == origin);
        self.origins.is_empty() || sent.all(|origin| listed(origin.as_bytes()))
    }

    async fn open(
        &self,
        request: &Request,
        context: aws_lambda_events::apigw::ApiGatewayWebsocketProxyRequestContext,
    ) -> u16 {
        if request.check_age(self.timing.request_max_age).is_err() {
            return 503;
        }
        let (source_ip, user_agent) = (context.identity.source_ip, context.identity.user_agent);
        let data = ConnectionOpened { source_ip, user_agent };
        let opened = connection::open(&request.connection, data, time::now(), &request.id);
        match self.log.append(&opened).await {
            Ok(Appended::New) => 200,
            Ok(Appended::AlreadyThere(earlier)) if earlier.request_id == request.id => 200,
            Ok(Appended::AlreadyThere(earlier)) => {
                warn!(connection = %request.connection, opened_by = earlier.request_id, "refused a second opening");
                409
            }
            Err(error) => {
                tracing::error!(%error, "refused a connection that could not be recorded");
                503
            }
        }
    }
}
