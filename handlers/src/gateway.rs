//! The gateway: `@connections` of API Gateway. Pushes frames, and tells whether a connection is there.
//!
//! Sorts every answer into what it means for us. The SDK's own retries are off: the waits between tries of a push are
//! ours to choose, as an early 410 is tried again too, and many connections share one budget of time.

use aws_config::SdkConfig;
use aws_sdk_apigatewaymanagement::{
    Client,
    config::{Builder, retry::RetryConfig},
    error::{DisplayErrorContext, SdkError},
    primitives::Blob,
};
use bytes::Bytes;
use events::ConnectionId;

/// The `@connections` endpoint.
#[derive(Clone, Debug)]
pub(crate) struct GatewayClient {
    client: Client,
}

/// What a push came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// The gateway took the frame for the connection.
    Taken,
    /// 410: the gateway does not know the connection, no longer or not yet.
    Gone,
    /// 400, 413 and the like: it will never take this.
    Refused(String),
    /// 403: we may not push at all.
    Forbidden(String),
    /// 429, 5xx or no answer: another try may succeed.
    Failed(String),
}

/// What the gateway knows of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// It is there.
    Here,
    /// 410, and only 410.
    Gone,
    /// Anything else: we do not know.
    Unclear(String),
}

impl GatewayClient {
    pub(crate) fn new(sdk: &SdkConfig, url: &str) -> GatewayClient {
        let config = Builder::from(sdk).endpoint_url(url).retry_config(RetryConfig::disabled());
        GatewayClient { client: Client::from_conf(config.build()) }
    }

    /// Sends a text frame to a connection.
    pub(crate) async fn push(&self, connection: &ConnectionId, frame: Bytes) -> Pushed {
        let post = self.client.post_to_connection().connection_id(connection.as_str()).data(Blob::new(frame));
        match post.send().await {
            Ok(_) => Pushed::Taken,
            Err(error) => sort(error),
        }
    }

    /// Asks for a connection.
    pub(crate) async fn look_for(&self, connection: &ConnectionId) -> Known {
        match self.client.get_connection().connection_id(connection.as_str()).send().await {
            Ok(_) => Known::Here,
            Err(error) => match sort(error) {
                Pushed::Gone => Known::Gone,
                Pushed::Refused(why) | Pushed::Forbidden(why) | Pushed::Failed(why) => Known::Unclear(why),
                Pushed::Taken => Known::Here,
            },
        }
    }
}

/// The one place that decides whether another try is worth it. The status decides: error names come in a header that
/// emulators leave out.
fn sort<E>(error: SdkError<E>) -> Pushed
where
    E: std::error::Error + Send + Sync + 'static,
{
    let status = error.raw_response().map(|response| response.status().as_u16());
    let why = DisplayErrorContext(error).to_string();
    match status {
        Some(410) => Pushed::Gone,
        Some(403) => Pushed::Forbidden(why),
        Some(429) => Pushed::Failed(why),
        Some(400..=499) => Pushed::Refused(why),
        _ => Pushed::Failed(why),
    }
}
