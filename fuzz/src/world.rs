//! Where frames and handshakes go: the real gateway, the real functions behind its routes, real tables behind the real SDK.
//!
//! No stream, no bus, no pushes: what a route does ends with its answer. Sockets are pipes in memory. Every call to AWS is
//! noted, so that a target can say what an input must not have caused.

use std::{
    cell::RefCell,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use axum::extract::connect_info::MockConnectInfo;
use events::{
    ConnectionId, RecordedEvent, Timing,
    connection::{self, ConnectionClosed, ConnectionOpened},
    time, to_item,
};
use handlers::{Function, Settings};
use local::{
    Archive, CONNECTIONS, EVENTS, Functions, PARKED,
    gateway::{Gateway, GatewayConfig},
    routes,
};
use projections::{ConnectionsView, connections};
use tempfile::TempDir;
use tokio::{
    io::{DuplexStream, duplex},
    sync::mpsc,
    task::JoinHandle,
};

use crate::wire::Wire;

/// Connections the log tells of: of the first, that it opened; of the second, that it closed, too.
pub const HERE: &str = "JC1dgf9yoAMCK-g=";
pub const GONE: &str = "FYnvDeD_NjMCKlg=";
/// Connections of the view, beside [`HERE`].
pub const OTHERS: [&str; 4] = ["AAAAAAAAAAAAAAA=", "Aaaa-aaa_aaaaaa=", "TXzPWdnOjoECGjA=", "zzzzzzzzzzzzzzz="];

/// The one origin whose pages may connect.
pub const ORIGIN: &str = "http://localhost:3000";
/// Where every client comes from.
pub const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)), 4711);

/// Room for a whole message in each direction.
const PIPE: usize = 256 * 1024;

/// Gateway, functions and tables.
pub struct World {
    pub gateway: Arc<Gateway>,
    pub wire: Wire,
    pub public: Door,
    pub management: Door,
    pub settings: Settings,
    _archive: Archive,
    _folder: TempDir,
}

impl World {
    pub async fn start() -> World {
        let folder = tempfile::tempdir().expect("a folder for the tables");
        let history = history();
        let items = history.iter().map(|event| to_item(event).expect("an item"));
        Archive::load(folder.path(), EVENTS, items.collect::<Vec<_>>()).await.expect("loading");
        let archive = Archive::open(folder.path()).await.expect("opening the tables");
        let wire = Wire::around(archive.sdk());
        let sdk = archive.sdk().to_builder().http_client(wire.client()).build();
        let settings = settings();
        let view =
            ConnectionsView::new(aws_sdk_dynamodb::Client::new(&sdk), CONNECTIONS, settings.timing.view_retention);
        for row in connections::fold(&history).values() {
            view.write(row).await.expect("a row");
        }
        let mut functions = Functions::default();
        for function in Function::ALL {
            functions.register(function.name(), function.timeout(&settings.timing), function.service(&settings, &sdk));
        }
        let config = GatewayConfig {
            stage: "local".into(),
            api_id: "local".into(),
            domain_name: "localhost:3000".into(),
            routes: routes(),
        };
        let gateway = Gateway::new(config, Arc::new(functions), settings.timing.clone());
        let public = Door::open(gateway.public_router().layer(MockConnectInfo(PEER)));
        let management = Door::open(gateway.management_router());
        World { gateway, wire, public, management, settings, _archive: archive, _folder: folder }
    }
}

fn history() -> Vec<RecordedEvent> {
    let at = time::from_millis(1_795_337_746_123).expect("a time");
    let id = |id: &str| -> ConnectionId { id.parse().expect("a connection id") };
    let opened = |connection: &str| {
        let data = ConnectionOpened { source_ip: None, user_agent: None };
        connection::open(&id(connection), data, at, "request")
    };
    let gone = connection::close(&id(GONE), ConnectionClosed { code: None, text: None }, at, "request");
    [HERE, GONE].into_iter().chain(OTHERS).map(opened).chain([gone]).collect()
}

fn settings() -> Settings {
    Settings {
        events_table: EVENTS.into(),
        connections_table: CONNECTIONS.into(),
        parked_table: PARKED.into(),
        bus: "none".into(),
        gateway_url: "http://127.0.0.1:1/local".into(),
        allowed_origins: vec![ORIGIN.into()],
        dial: handlers::Dial::default(),
        timing: Timing::default(),
    }
}

/// A listener in memory.
pub struct Door {
    knock: mpsc::UnboundedSender<DuplexStream>,
    served: JoinHandle<()>,
}

impl Door {
    fn open(router: axum::Router) -> Door {
        let (knock, callers) = mpsc::unbounded_channel();
        let serving = axum::serve(Callers(callers), router);
        Door { knock, served: tokio::spawn(async move { serving.await.expect("serving") }) }
    }

    /// A new connection to it.
    pub fn enter(&self) -> DuplexStream {
        let (ours, theirs) = duplex(PIPE);
        self.knock.send(theirs).expect("the listener is there");
        ours
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.served.abort();
    }
}

struct Callers(mpsc::UnboundedReceiver<DuplexStream>);

impl axum::serve::Listener for Callers {
    type Io = DuplexStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (DuplexStream, SocketAddr) {
        match self.0.recv().await {
            Some(caller) => (caller, PEER),
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(PEER)
    }
}

/// The path of a request's target, which may be a whole address.
pub fn path(target: &str) -> &str {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    match path.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => rest.find('/').map_or("/", |at| &rest[at..]),
        _ => path,
    }
}

/// Runs `play` with what this thread has set up, which is set up anew by `start` when `play` says that it is used up.
pub fn play<S: 'static>(
    stage: &'static std::thread::LocalKey<RefCell<Option<Stage<S>>>>,
    start: impl AsyncFnOnce() -> S,
    play: impl AsyncFnOnce(&mut S) -> Next,
) {
    stage.with_borrow_mut(|stage| {
        // Not put back if it panics: the next input finds a fresh one.
        let Stage { runtime, mut set } = stage.take().unwrap_or_else(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let set = runtime.block_on(start());
            Stage { runtime, set }
        });
        if runtime.block_on(play(&mut set)) == Next::Same {
            *stage = Some(Stage { runtime, set });
        }
    });
}

/// What a target keeps from input to input.
pub struct Stage<S> {
    runtime: tokio::runtime::Runtime,
    set: S,
}

/// Whether the stage serves the next input, too.
#[derive(PartialEq, Eq)]
pub enum Next {
    Same,
    Fresh,
}
