//! The runtime simulated: the same parts in one task, without sockets, threads or a clock of its own, so that a seed goes the
//! same way again (docs/adr/0008).
//!
//! SDK clients reach the AWS-facing router as values of HTTP, pushes and clients come over pipes in memory, tables run where
//! they are called. Every call takes some milliseconds each way, by the seed: that is what makes orders vary. It must run on
//! a `current_thread` runtime of tokio whose time is paused.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use aws_config::Region;
use aws_smithy_async::time::TimeSource;
use aws_smithy_runtime_api::client::{
    http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn},
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
};
use aws_smithy_types::body::SdkBody;
use axum::{
    Extension, Router,
    body::{Body, to_bytes},
    extract::{ConnectInfo, Request},
    http::StatusCode,
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    serve::Listener,
};
use chrono::{DateTime, Utc};
use events::time;
use handlers::{Dial, Settings, Stream};
use tokio::{
    io::{DuplexStream, duplex},
    sync::{mpsc, oneshot},
};
use tower::ServiceExt;

use crate::{
    Options, Runtime, StartError,
    aws::MAX_BODY,
    randomness,
    runtime::{Assembled, Place, assemble, sdk_config, settings},
    store::Store,
    tables::Tables,
};

/// Bytes under way on a pipe, each way: as much as a client may leave unread before the gateway notices.
const PIPE: usize = 64 * 1024;
/// A call takes 1 ms to this long to get there, and as long to get back.
const FARTHEST_MS: u64 = 12;
/// Where the simulated runtime would listen.
const PUBLIC: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 3000);
const AWS_URL: &str = "http://127.0.0.1:3001";

/// A runtime in a simulation. Time and randomness of its thread are simulated as long as it lives.
pub struct Simulation {
    runtime: Runtime,
    dialler: Dialler,
    _clock: time::Simulated,
    _seeded: randomness::Seeded,
}

impl Simulation {
    /// Starts a runtime in memory. Of the options, address and data do not matter. It is `began` now.
    pub fn start(options: Options, seed: u64, began: DateTime<Utc>) -> Result<Simulation, StartError> {
        let (_clock, _seeded) = (time::simulate(began), randomness::simulate(seed));
        let wire = Wire::default();
        let (pushes, pushed) = mpsc::unbounded_channel();
        let place = Place {
            public: PUBLIC,
            settings: Settings { dial: through(Dialler(pushes)), ..settings(AWS_URL, PUBLIC, options.timing.clone()) },
            sdk: simulated_sdk(&wire),
            tables: Tables::inline()?,
            store: Arc::new(Store::open(None)?),
            folder: None,
            launcher: None,
        };
        let Assembled { runtime, aws_router, public_router, mapping } = assemble(options, place);
        let push_router = aws_router.clone().layer(from_fn(under_way));
        tokio::spawn(async move { axum::serve(Pipes(pushed), push_router).await });
        wire.connect(aws_router);
        runtime.begin(mapping)?;
        let (dial, dialled) = mpsc::unbounded_channel();
        let router = public_router.layer(Extension(ConnectInfo(PUBLIC)));
        tokio::spawn(async move { axum::serve(Pipes(dialled), router).await });
        Ok(Simulation { runtime, dialler: Dialler(dial), _clock, _seeded })
    }

    /// The runtime.
    #[must_use]
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The way to its public side.
    #[must_use]
    pub fn dialler(&self) -> Dialler {
        self.dialler.clone()
    }

    /// Stops it as [`Runtime::stop`] does.
    pub async fn stop(self) {
        self.runtime.stop().await;
    }
}

/// Opens connections to a simulated runtime.
#[derive(Clone)]
pub struct Dialler(mpsc::UnboundedSender<DuplexStream>);

impl Dialler {
    /// A new connection to the public side, as TCP would be.
    #[must_use]
    pub fn dial(&self) -> DuplexStream {
        let (ours, theirs) = duplex(PIPE);
        // Should nobody listen, the other end is dropped: the connection is refused.
        let _ = self.0.send(theirs);
        ours
    }
}

/// The public side: connections come by a channel.
struct Pipes(mpsc::UnboundedReceiver<DuplexStream>);

impl Listener for Pipes {
    type Io = DuplexStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (DuplexStream, SocketAddr) {
        match self.0.recv().await {
            Some(pipe) => (pipe, PUBLIC),
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        Ok(PUBLIC)
    }
}

/// The way from SDK clients to the AWS-facing router. Clones share it.
#[derive(Clone, Debug, Default)]
struct Wire(Arc<OnceLock<Router>>);

impl Wire {
    fn connect(&self, router: Router) {
        // Only once, before anything calls.
        let _ = self.0.set(router);
    }
}

impl HttpConnector for Wire {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (answer, answered) = oneshot::channel();
        // A task of its own, as a server is: a call that its client gave up, or died of, takes effect all the same.
        tokio::spawn(carry(self.0.get().cloned().unwrap_or_default(), request, answer));
        HttpConnectorFuture::new(async move {
            answered.await.unwrap_or_else(|_| Err(ConnectorError::io("the server went away".into())))
        })
    }
}

/// The way of the push client, which opens its own connections.
fn through(dialler: Dialler) -> Dial {
    Dial::Through(Arc::new(move || {
        let pipe: Box<dyn Stream> = Box::new(dialler.dial());
        Box::pin(std::future::ready(Ok(pipe)))
    }))
}

/// What [`carry`] does for the SDK's clients: a push that was given up takes effect all the same.
async fn under_way(request: Request, next: Next) -> Response {
    let answered = tokio::spawn(async move {
        travel().await;
        let response = next.run(request).await;
        travel().await;
        response
    });
    answered.await.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

async fn carry(router: Router, request: HttpRequest, answer: oneshot::Sender<Result<HttpResponse, ConnectorError>>) {
    travel().await;
    let answered = match request.try_into_http1x() {
        Ok(request) => round_trip(router, request).await,
        Err(error) => Err(ConnectorError::user(error.into())),
    };
    travel().await;
    // Whoever asked may have gone.
    let _ = answer.send(answered);
}

async fn round_trip(router: Router, request: http::Request<SdkBody>) -> Result<HttpResponse, ConnectorError> {
    let response = match router.oneshot(request.map(Body::new)).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, MAX_BODY).await.map_err(|error| ConnectorError::io(error.into()))?;
    let response = http::Response::from_parts(parts, SdkBody::from(body));
    HttpResponse::try_from(response).map_err(|error| ConnectorError::user(error.into()))
}

/// One way between client and server.
async fn travel() {
    let millis = 1 + u64::from_le_bytes(randomness::random()) % FARTHEST_MS;
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

/// What [`sdk_config`] gives, with our wire and our time of day.
fn simulated_sdk(wire: &Wire) -> aws_config::SdkConfig {
    let connector = SharedHttpConnector::new(wire.clone());
    let http_client = http_client_fn(move |_, _| connector.clone());
    sdk_config(AWS_URL).into_builder().http_client(http_client).time_source(TimeOfDay).region(own_retries()).build()
}

/// The SDK counts retries per service and region, in the process: a region of its own keeps each simulation from those of
/// the others.
fn own_retries() -> Region {
    static STARTED: AtomicU64 = AtomicU64::new(0);
    Region::new(format!("simulated-{}", STARTED.fetch_add(1, Ordering::Relaxed)))
}

#[derive(Debug)]
struct TimeOfDay;

impl TimeSource for TimeOfDay {
    fn now(&self) -> SystemTime {
        time::now().into()
    }
}
