//! The gateway: `@connections` of API Gateway. Pushes frames, and tells whether a connection is there.
//!
//! A small client of our own, as the SDK's takes five times the processor time for a push, and pushes are what this chat
//! spends it on (docs/adr/0012). It signs ([`signer`]) and sends ([`connections`]) as the SDK would, and the tests hold it to
//! that. Nothing is retried in here but what a dead kept-alive connection lost: the waits between tries of a push are
//! `pusher`'s to choose, as an early 410 is tried again too, and many connections share one budget of time.

mod connections;
mod signer;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use aws_types::SdkConfig;
use bytes::Bytes;
use events::ConnectionId;
use http::{HeaderMap, Method, StatusCode, Uri};
use serde::Deserialize;
use tokio::time::timeout;

pub use connections::{Dial, Dialing, Stream};
pub(crate) use signer::Frame;

use connections::Connections;
use signer::Signer;

/// New connections opened at once: 128 handshakes cost more than 1,000 pushes.
const HANDSHAKES: usize = 64;
/// Pushes in flight at once, once there are connections for them.
const IN_FLIGHT: usize = 128;

/// The `@connections` endpoint. Clones share its connections.
#[derive(Clone)]
pub(crate) struct GatewayClient {
    endpoint: Arc<Endpoint>,
}

struct Endpoint {
    signer: Signer,
    connections: Connections,
    /// For one request, a connection and a second try included.
    patience: Duration,
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
    /// For the endpoint `url`, with its stage; credentials and region are the SDK's.
    pub(crate) fn new(sdk: &SdkConfig, url: &str, dial: Dial, patience: Duration) -> GatewayClient {
        // Without a host, every push says so: what `Settings` reads from the environment has one.
        let url: Uri = url.parse().unwrap_or_default();
        let host = url.authority().map_or("", |authority| authority.as_str());
        let signer = Signer::new(sdk, host, url.path());
        let endpoint = Endpoint { signer, connections: Connections::new(dial, &url), patience };
        GatewayClient { endpoint: Arc::new(endpoint) }
    }

    /// How many pushes may be in flight now: as many more than there are connections as may be opened at once.
    pub(crate) fn in_flight(&self) -> usize {
        usize::min(self.endpoint.connections.idle() + HANDSHAKES, IN_FLIGHT)
    }

    /// Sends a text frame to a connection.
    pub(crate) async fn push(&self, connection: &ConnectionId, frame: &Frame) -> Pushed {
        self.endpoint.ask(Method::POST, connection, frame).await
    }

    /// Asks for a connection.
    pub(crate) async fn look_for(&self, connection: &ConnectionId) -> Known {
        match self.endpoint.ask(Method::GET, connection, &Frame::new(Bytes::new())).await {
            Pushed::Taken => Known::Here,
            Pushed::Gone => Known::Gone,
            Pushed::Refused(why) | Pushed::Forbidden(why) | Pushed::Failed(why) => Known::Unclear(why),
        }
    }
}

impl Endpoint {
    async fn ask(&self, method: Method, connection: &ConnectionId, frame: &Frame) -> Pushed {
        let asking = async {
            let stamp = self.signer.stamp().await?;
            let request = || self.signer.request(&stamp, method.clone(), connection.as_str(), frame);
            self.connections.send(request).await
        };
        match timeout(self.patience, asking).await {
            Ok(Ok((status, _, _))) if status.is_success() => Pushed::Taken,
            Ok(Ok((status, headers, body))) => sort(status, &headers, &body),
            Ok(Err(why)) => Pushed::Failed(why),
            Err(_) => Pushed::Failed(format!("no answer within {} ms", self.patience.as_millis())),
        }
    }
}

/// The one place that decides whether another try is worth it. The status decides: error names come in a header that
/// emulators leave out. An alarm counts the lines with `StatusCode(429)` (cdk/lib/monitoring.ts).
fn sort(status: StatusCode, headers: &HeaderMap, body: &Bytes) -> Pushed {
    let name = headers.get("x-amzn-errortype").and_then(|name| name.to_str().ok()).unwrap_or("no error type");
    let why = format!("StatusCode({}), {name}: {}", status.as_u16(), message(body));
    match status.as_u16() {
        410 => Pushed::Gone,
        403 => Pushed::Forbidden(why),
        429 => Pushed::Failed(why),
        400..=499 => Pushed::Refused(why),
        _ => Pushed::Failed(why),
    }
}

/// What the gateway has to say; not the body as it is, which may be anything.
fn message(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Said {
        #[serde(alias = "Message")]
        message: String,
    }
    let said = serde_json::from_slice(body).map(|Said { message }| message.chars().take(200).collect());
    said.unwrap_or_else(|_| "no message".to_owned())
}
