//! `$disconnect`: records that a connection was closed. The gateway ignores the answer and may never call.

use std::sync::Arc;

use aws_lambda_events::apigw::ApiGatewayWebsocketProxyRequest;
use events::{
    EventLog,
    connection::{self, ConnectionClosed},
    time,
};
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::info;

use crate::{Fault, request::Request, service::millis};

/// The handler of `$disconnect`.
pub(crate) struct Disconnect {
    pub(crate) log: EventLog,
}

impl Disconnect {
    pub(crate) async fn handle(self: Arc<Self>, event: ApiGatewayWebsocketProxyRequest) -> Result<Value, Fault> {
        let started = Instant::now();
        let request = Request::of(&event.request_context)?;
        let (code, text) = (event.request_context.disconnect_status_code, event.request_context.disconnect_reason);
        let closed = connection::close(&request.connection, ConnectionClosed { code, text }, time::now(), &request.id);
        self.log.append(&closed).await.map_err(|error| Fault::new("NotAppended", error))?;
        info!(function = "disconnect", connection = %request.connection, code, duration_ms = millis(started.elapsed()), "recorded");
        Ok(json!({"statusCode": 200}))
    }
}
