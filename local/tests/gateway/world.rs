//! The harness: a gateway on two real listeners, its recorded events, WebSocket clients, and the management API.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use aws_lambda_events::apigw::ApiGatewayWebsocketProxyRequest;
use aws_sdk_apigatewaymanagement as sdk;
use axum::{Router, extract::Request, middleware::Next};
use events::Timing;
use handlers::Payload;
use lambda_runtime::LambdaEvent;
use local::{
    Functions,
    gateway::{Gateway, GatewayConfig},
};
use serde_json::{Value, value::to_raw_value};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Mutex, mpsc, watch},
};
use tokio_tungstenite::tungstenite::{self, client::IntoClientRequest, handshake::client};

use crate::{
    client::Client,
    toys::{Toy, ok},
};

pub(crate) type Handshake = Result<(Client, client::Response), tungstenite::Error>;

/// Everything a test waits for comes within this, or the test fails.
pub(crate) async fn within<T>(awaited: impl Future<Output = T>) -> T {
    let patience = Duration::from_secs(30);
    tokio::time::timeout(patience, awaited).await.expect("it never came")
}

/// The routes and times of a gateway to be started. `$connect` and `$disconnect` are there and content.
pub(crate) struct Setup {
    routes: Vec<(&'static str, Duration, Toy)>,
    reserved: Vec<(&'static str, usize)>,
    pub(crate) timing: Timing,
}

impl Setup {
    pub(crate) fn new() -> Self {
        let setup = Setup { routes: Vec::new(), reserved: Vec::new(), timing: Timing::default() };
        setup.route("$connect", ok()).route("$disconnect", ok())
    }

    pub(crate) fn route(self, key: &'static str, function: Toy) -> Self {
        self.route_with_timeout(key, Duration::from_secs(60), function)
    }

    pub(crate) fn route_with_timeout(mut self, key: &'static str, timeout: Duration, function: Toy) -> Self {
        self = self.without(key);
        self.routes.push((key, timeout, function));
        self
    }

    pub(crate) fn without(mut self, key: &str) -> Self {
        self.routes.retain(|(taken, ..)| *taken != key);
        self
    }

    /// Reserved concurrency of the route's function.
    pub(crate) fn reserve(mut self, key: &'static str, concurrency: usize) -> Self {
        self.reserved.push((key, concurrency));
        self
    }

    pub(crate) fn timing(mut self, change: impl FnOnce(&mut Timing)) -> Self {
        change(&mut self.timing);
        self
    }

    pub(crate) async fn start(self) -> World {
        let (record, recorded) = mpsc::unbounded_channel();
        let mut functions = Functions::default();
        let mut config = GatewayConfig {
            stage: "local".into(),
            api_id: "webchat".into(),
            domain_name: "localhost".into(),
            routes: [].into(),
        };
        let name_of = |key: &str| format!("function of {key}");
        for (key, timeout, function) in self.routes {
            let name = name_of(key);
            functions.register(&name, timeout, recording(key, function, record.clone()));
            config.routes.insert(key.to_owned(), name);
        }
        for (key, concurrency) in self.reserved {
            functions.reserve(&name_of(key), concurrency);
        }
        let gateway = Gateway::new(config, Arc::new(functions), self.timing);
        let calls = Arc::<AtomicUsize>::default();
        let management = gateway.management_router().layer(axum::middleware::from_fn({
            let calls = Arc::clone(&calls);
            move |request: Request, next: Next| {
                calls.fetch_add(1, Ordering::Relaxed);
                next.run(request)
            }
        }));
        let upgrading = watch::Sender::new(0);
        let public = gateway.public_router().layer(axum::middleware::from_fn({
            let upgrading = upgrading.clone();
            move |request: Request, next: Next| {
                let counted = Counted::new(upgrading.clone());
                async move {
                    let _counted = counted;
                    next.run(request).await
                }
            }
        }));
        World {
            public: serve(public).await,
            management: serve(management).await,
            gateway,
            calls,
            upgrading,
            recorded: Mutex::new((recorded, VecDeque::new())),
        }
    }
}

type Record = (&'static str, Value);

fn recording(key: &'static str, function: Toy, record: mpsc::UnboundedSender<Record>) -> handlers::Service {
    Arc::new(move |invocation: LambdaEvent<Payload>| {
        let json = invocation.payload.get();
        let event: Value = serde_json::from_str(json).unwrap();
        // A handler that cannot read its event never runs.
        serde_json::from_str::<ApiGatewayWebsocketProxyRequest>(json).expect("the event parses");
        let _ = record.send((key, event.clone()));
        let answer = function(event);
        Box::pin(async move { Ok(to_raw_value(&answer.await?).unwrap()) })
    })
}

async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    address
}

/// One more request that the public listener works on. Dropped when it is answered or when its client leaves.
struct Counted(watch::Sender<usize>);

impl Counted {
    fn new(count: watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Counted(count)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

pub(crate) struct World {
    pub(crate) gateway: Arc<Gateway>,
    public: SocketAddr,
    management: SocketAddr,
    calls: Arc<AtomicUsize>,
    upgrading: watch::Sender<usize>,
    recorded: Mutex<(mpsc::UnboundedReceiver<Record>, VecDeque<Record>)>,
}

impl World {
    /// The next event that came to the function of the route `key`.
    pub(crate) async fn event(&self, key: &str) -> Value {
        let mut recorded = self.recorded.lock().await;
        let (arriving, kept) = &mut *recorded;
        if let Some(at) = kept.iter().position(|(kept, _)| *kept == key) {
            return kept.remove(at).unwrap().1;
        }
        loop {
            let (arrived, event) = within(arriving.recv()).await.unwrap();
            if arrived == key {
                return event;
            }
            kept.push_back((arrived, event));
        }
    }

    /// The number of events, not yet taken, that have come to the function of the route `key` when all is quiet.
    pub(crate) async fn events_left(&self, key: &str) -> usize {
        within(self.gateway.idle()).await;
        let mut recorded = self.recorded.lock().await;
        let (arriving, kept) = &mut *recorded;
        while let Ok(record) = arriving.try_recv() {
            kept.push_back(record);
        }
        kept.iter().filter(|(kept, _)| *kept == key).count()
    }

    pub(crate) fn request(&self, path_and_query: &str) -> client::Request {
        format!("ws://{}{path_and_query}", self.public).into_client_request().unwrap()
    }

    pub(crate) async fn handshake(&self, request: client::Request) -> Handshake {
        let (socket, response) = within(tokio_tungstenite::connect_async(request)).await?;
        Ok((Client(socket), response))
    }

    /// The status of an upgrade that is refused, and the body with it.
    pub(crate) async fn refused(&self, request: client::Request) -> (u16, String) {
        match self.handshake(request).await {
            Err(tungstenite::Error::Http(response)) => {
                let (parts, body) = response.into_parts();
                (parts.status.as_u16(), String::from_utf8(body.unwrap_or_default()).unwrap())
            }
            Err(other) => panic!("no HTTP answer: {other}"),
            Ok(_) => panic!("not refused"),
        }
    }

    /// A client that is in.
    pub(crate) async fn client(&self) -> Client {
        let (client, _) = self.handshake(self.request("/local")).await.unwrap();
        // The client may see the 101 a moment before the gateway knows that it is out.
        within(self.gateway.idle()).await;
        client
    }

    /// A client that is in, and its connection id. To be used where `$connect` is a route.
    pub(crate) async fn client_with_id(&self) -> (Client, String) {
        let client = self.client().await;
        let event = self.event("$connect").await;
        (client, connection_id(&event))
    }

    pub(crate) async fn raw_client(&self) -> TcpStream {
        TcpStream::connect(self.public).await.unwrap()
    }

    /// Returns when the public listener has answered every request, or noticed that its client has left.
    pub(crate) async fn nobody_upgrading(&self) {
        let mut upgrading = self.upgrading.subscribe();
        within(upgrading.wait_for(|count| *count == 0)).await.unwrap();
    }

    /// One plain HTTP exchange with the public listener: status, head and body.
    pub(crate) async fn get_public(&self, path: &str) -> (u16, String, String) {
        exchange(self.public, "GET", path, b"").await
    }

    /// One plain HTTP exchange with the management API.
    pub(crate) async fn manage(&self, method: &str, path: &str, body: &[u8]) -> (u16, String, String) {
        exchange(self.management, method, path, body).await
    }

    /// Requests that the management API has had.
    pub(crate) fn management_calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// The SDK as `post` and `manage` use it.
    pub(crate) fn sdk(&self) -> sdk::Client {
        self.sdk_with_attempts(3)
    }

    pub(crate) fn sdk_with_attempts(&self, attempts: u32) -> sdk::Client {
        let config = sdk::Config::builder()
            .behavior_version(sdk::config::BehaviorVersion::v2026_01_12())
            .region(sdk::config::Region::new("us-east-1"))
            .endpoint_url(format!("http://{}/local", self.management))
            .credentials_provider(sdk::config::Credentials::new("local", "local", None, None, "local"))
            .retry_config(sdk::config::retry::RetryConfig::standard().with_max_attempts(attempts))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .build();
        sdk::Client::from_conf(config)
    }

    pub(crate) async fn post(&self, id: &str, text: &str) -> Result<(), sdk::Error> {
        let request = self.sdk().post_to_connection().connection_id(id);
        request.data(sdk::primitives::Blob::new(text)).send().await?;
        Ok(())
    }
}

pub(crate) fn connection_id(event: &Value) -> String {
    event["requestContext"]["connectionId"].as_str().unwrap().to_owned()
}

async fn exchange(address: SocketAddr, method: &str, path: &str, body: &[u8]) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), head.to_lowercase(), body.to_owned())
}
