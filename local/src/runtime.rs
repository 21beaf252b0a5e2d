//! The runtime: everything started in order, watched, and stopped in order.
//!
//! Used by `webchat local` and by every test that needs AWS. Nothing of the user's own AWS configuration is read.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use axum::{Router, serve::ListenerExt};
use events::{EventLog, Timing};
use handlers::{Dial, Function, Settings};
use projections::ConnectionsView;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, warn};

use crate::{
    Chaos, Faults, Functions, Holder, Meter, StartError, aws,
    bus::{BUS, EventBridge},
    calls,
    files::Room,
    folder::Folder,
    gateway::{Gateway, GatewayConfig},
    inspect::Inspect,
    observer::Observer,
    page,
    processes::{Launcher, Processes},
    public::Public,
    queue::Queue,
    runtime_api::RuntimeApi,
    store::Store,
    streams::{Progress, StreamMapping},
    tables::{CONNECTIONS, EVENTS, PARKED, Tables},
};

/// The stage's name, the path of the WebSocket URL.
const STAGE: &str = "local";
/// How long a stop waits for what is under way. Whatever is left then is in the data folder.
const GRACE: Duration = Duration::from_secs(10);
/// Processes of a function, if nothing else is said: what a laptop bears for all nine.
const PROCESSES: usize = 8;
/// How often expired rows and old stream records are removed.
const CLEAN_UP: Duration = Duration::from_secs(60);

/// How to run.
#[derive(Clone)]
pub struct Options {
    /// Public address; the AWS-facing one is always loopback.
    pub bind: IpAddr,
    /// Public port; 0 takes a free one.
    pub port: u16,
    /// Web pages that may connect, by their origins, besides the runtime's own.
    pub allowed_origins: Vec<String>,
    /// Connections at once, more are refused with 503; `None` for as many as the limit of open files has room for.
    pub max_connections: Option<usize>,
    /// Where the data is.
    pub data: Data,
    /// How long things take. Functions that run by process keep to the defaults inside, as deployed ones do.
    pub timing: Timing,
    /// Where the functions run.
    pub functions: Mode,
    /// Lambda's reserved concurrency of each function: more invocations at once are throttled. `None`: no limit, but on
    /// the processes: 8 of each function, and what is more waits.
    pub concurrency: Option<usize>,
    /// Faults on the AWS-facing wire, for tests.
    pub faults: Faults,
    /// A share of everything going wrong, for tests and for the curious.
    pub chaos: Chaos,
    /// Counts what crosses that wire, for tests and benches.
    pub meter: Meter,
}

/// Where the data is.
#[derive(Clone, Debug)]
pub enum Data {
    /// Nowhere: it ends with the runtime.
    Memory,
    /// In files of this folder.
    Folder(PathBuf),
}

/// Where the functions run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the runtime's own process, side by side.
    InProcess,
    /// Each invocation in a process of its own, as on Lambda: this `bootstrap`.
    Processes {
        /// The program.
        bootstrap: PathBuf,
    },
}

impl Default for Options {
    /// In memory, on a free loopback port.
    fn default() -> Self {
        Options {
            bind: Ipv4Addr::LOCALHOST.into(),
            port: 0,
            allowed_origins: Vec::new(),
            max_connections: None,
            data: Data::Memory,
            timing: Timing::default(),
            functions: Mode::InProcess,
            concurrency: None,
            faults: Faults::default(),
            chaos: Chaos::default(),
            meter: Meter::default(),
        }
    }
}

/// A running deployment on one machine.
pub struct Runtime {
    public: SocketAddr,
    settings: Settings,
    sdk: SdkConfig,
    functions: Arc<Functions>,
    gateway: Arc<Gateway>,
    tables: Tables,
    queue: Arc<Queue>,
    bus: Arc<EventBridge>,
    store: Arc<Store>,
    progress: watch::Receiver<Progress>,
    /// Ends stream, schedule and clean-up.
    stop: CancellationToken,
    tasks: TaskTracker,
    /// Ends the listeners.
    stop_serving: CancellationToken,
    /// Held to the end: the folder is ours.
    _folder: Option<Folder>,
}

impl Runtime {
    /// Starts everything; when this returns, clients can connect.
    pub async fn start(options: Options) -> Result<Runtime, StartError> {
        let public = listen(SocketAddr::new(options.bind, options.port)).await?;
        let aws = listen(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0)).await?;
        let (public_address, aws_url) = (address(&public)?, format!("http://{}", address(&aws)?));
        let mut folder = match &options.data {
            Data::Memory => None,
            Data::Folder(path) => Some(Folder::take(path)?),
        };
        let file = |name| folder.as_ref().map(|folder| folder.file(name));
        let store = Arc::new(Store::open(file("runtime.sqlite").as_deref())?);
        let tables = Tables::open(file("tables.sqlite").as_deref())?;
        if let Some(folder) = &mut folder {
            folder.announce(&Holder { pid: std::process::id(), aws: aws_url.clone() })?;
        }
        let sdk = sdk_config(&aws_url);
        let mut settings = settings(&aws_url, public_address, options.timing.clone());
        settings.allowed_origins.extend(options.allowed_origins.iter().cloned());
        let launcher = launcher(&options.functions, &settings, &aws_url).await?;
        let max_connections = options.max_connections.unwrap_or_else(|| Room::make().connections);
        let head_limit = options.timing.head_limit;
        let place = Place { public: public_address, settings, sdk, tables, store, folder, launcher };
        let Assembled { runtime, aws_router, public_router, mapping } = assemble(options, place);
        serve(&runtime.tasks, aws, aws_router, &runtime.stop_serving);
        runtime.begin(mapping)?;
        runtime.tasks.spawn(clean_up(runtime.tables.clone(), runtime.stop.clone()));
        let public = Public { listener: public, router: public_router, max_connections, head_limit };
        runtime.tasks.spawn(public.serve(runtime.tasks.clone(), runtime.stop_serving.clone()));
        Ok(runtime)
    }

    /// Takes up what an earlier process left, and begins to follow the stream, the schedule and the clock. The AWS-facing
    /// side is served by then.
    pub(crate) fn begin(&self, mapping: StreamMapping) -> Result<(), StartError> {
        let resumed = self.queue.resume();
        resumed.map_err(|error| StartError::Tables { what: "reading".into(), why: error.to_string() })?;
        self.tasks.spawn(mapping.run(self.stop.clone()));
        let (bus, timing, stop) = (self.bus.clone(), self.settings.timing.clone(), self.stop.clone());
        self.tasks.spawn(async move { bus.run_schedule(timing, stop).await });
        Ok(())
    }

    /// Where clients connect: `ws://127.0.0.1:<port>/local`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("ws://{}/{STAGE}", self.reachable())
    }

    /// The public address as this machine reaches it: bound to every address, by loopback, too.
    fn reachable(&self) -> SocketAddr {
        let ip = match self.public.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        SocketAddr::new(ip, self.public.port())
    }

    /// Where a browser finds the page: `http://127.0.0.1:<port>/`.
    #[must_use]
    pub fn page(&self) -> String {
        format!("http://{}/", self.reachable())
    }

    /// The public address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.public
    }

    /// The configuration its functions run with.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// An SDK configuration whose DynamoDB and EventBridge are this runtime's.
    #[must_use]
    pub fn sdk(&self) -> &SdkConfig {
        &self.sdk
    }

    /// Its event log.
    #[must_use]
    pub fn log(&self) -> EventLog {
        event_log(&self.sdk)
    }

    /// Its connections view.
    #[must_use]
    pub fn view(&self) -> ConnectionsView {
        connections_view(&self.sdk, &self.settings)
    }

    /// Calls that are owed: pending invocations, waiting or running.
    #[must_use]
    pub fn owed(&self) -> usize {
        self.store.pending().map_or(usize::MAX, |pending| pending.len())
    }

    /// What was given up: the function, and the record AWS would send to its on-failure destination.
    #[must_use]
    pub fn given_up(&self) -> Vec<(String, String)> {
        self.store.given_up().unwrap_or_default()
    }

    /// Ids of the functions' processes, with the function each is for. Empty where functions run in process.
    #[must_use]
    pub fn processes(&self) -> Vec<(String, u32)> {
        self.functions.processes()
    }

    /// Waits until nothing is under way: no request, no unread stream record, no invocation owed.
    pub async fn idle(&self) {
        let mut progress = self.progress.clone();
        loop {
            self.gateway.idle().await;
            self.queue.empty().await;
            // Twice: the first time the end of the stream may have been reached before the last write.
            for _ in 0..2 {
                progress.mark_unchanged();
                self.tables.wake();
                if progress.changed().await.is_err() {
                    return;
                }
            }
            if self.queue.owed() == 0 && self.gateway.in_flight() == 0 {
                return;
            }
        }
    }

    /// Says goodbye to every client (1001), finishes what is under way, and ends.
    pub async fn stop(self) {
        self.gateway.shutdown().await;
        if tokio::time::timeout(GRACE, self.idle()).await.is_err() {
            warn!(owed = self.queue.owed(), "stopped before everything was delivered");
        }
        self.stop.cancel();
        self.queue.stop().await;
        self.stop_serving.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.functions.stop().await;
    }
}

/// Where a runtime is: what differs between one on sockets and a simulated one.
pub(crate) struct Place {
    pub(crate) public: SocketAddr,
    pub(crate) settings: Settings,
    pub(crate) sdk: SdkConfig,
    pub(crate) tables: Tables,
    pub(crate) store: Arc<Store>,
    pub(crate) folder: Option<Folder>,
    /// What starts processes; none where functions run in process.
    pub(crate) launcher: Option<Arc<Launcher>>,
}

/// A runtime that has not begun, and what is to be served.
pub(crate) struct Assembled {
    pub(crate) runtime: Runtime,
    pub(crate) aws_router: Router,
    pub(crate) public_router: Router,
    pub(crate) mapping: StreamMapping,
}

/// Puts the parts together. Nothing runs yet.
pub(crate) fn assemble(options: Options, place: Place) -> Assembled {
    let Options { timing, concurrency, faults, chaos, meter, .. } = options;
    let Place { public, settings, sdk, tables, store, folder, launcher } = place;
    let functions = Arc::new(deploy(&settings, &sdk, launcher.as_ref(), concurrency, &chaos));
    let gateway = Gateway::new(gateway_config(public), functions.clone(), timing.clone());
    let queue = Queue::new(store.clone(), functions.clone(), &timing, chaos.clone());
    let bus = Arc::new(EventBridge::new(queue.clone()));
    let observer = Observer::default();
    let stop_serving = CancellationToken::new();
    let management = gateway.management_router();
    let aws_router =
        aws::router(tables.clone(), Some(bus.clone()), management, faults, chaos.clone(), observer.clone(), meter);
    let inspect = inspect(&settings, &sdk, store.clone(), observer, stop_serving.clone());
    let public_router = gateway.public_router().merge(page::router(format!("/{STAGE}"))).merge(inspect.router());
    let (progress, watched) = watch::channel(Progress::default());
    let mapping = StreamMapping {
        tables: tables.clone(),
        store: store.clone(),
        functions: functions.clone(),
        timing,
        chaos,
        progress,
    };
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let runtime = Runtime {
        public,
        settings,
        sdk,
        functions,
        gateway,
        tables,
        queue,
        bus,
        store,
        progress: watched,
        stop,
        tasks,
        stop_serving,
        _folder: folder,
    };
    Assembled { runtime, aws_router, public_router, mapping }
}

pub(crate) async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|error| StartError::Listen { address, why: error.to_string() })
}

pub(crate) fn address(listener: &TcpListener) -> Result<SocketAddr, StartError> {
    let unknown = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
    listener.local_addr().map_err(|error| StartError::Listen { address: unknown, why: error.to_string() })
}

pub(crate) fn serve(tasks: &TaskTracker, listener: TcpListener, router: Router, stop: &CancellationToken) {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let stop = stop.clone();
    tasks.spawn(async move {
        let stopped = stop.clone().cancelled_owned();
        // Answers are small and must not wait for others.
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        let serving = axum::serve(listener, service).with_graceful_shutdown(stopped);
        tokio::select! {
            served = serving => if let Err(error) = served { error!(%error, "a listener ended") },
            // Kept-alive connections of SDK clients would hold the server open.
            () = stop.cancelled() => {}
        }
    });
}

pub(crate) fn settings(aws_url: &str, public: SocketAddr, timing: Timing) -> Settings {
    let port = public.port();
    Settings {
        events_table: EVENTS.into(),
        connections_table: CONNECTIONS.into(),
        parked_table: PARKED.into(),
        bus: BUS.into(),
        gateway_url: format!("{aws_url}/{STAGE}"),
        // Pages of other sites must not reach into a chat on this machine. Its own is loaded by one of these names.
        allowed_origins: vec![
            format!("http://127.0.0.1:{port}"),
            format!("http://localhost:{port}"),
            format!("http://{public}"),
        ],
        dial: Dial::default(),
        timing,
    }
}

/// Loopback and static keys: nothing of the user's profile, and no TLS to set up.
#[must_use]
pub fn sdk_config(aws_url: &str) -> SdkConfig {
    let credentials = Credentials::new("local", "local", None, None, "webchat local");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .endpoint_url(aws_url)
        .http_client(calls::bounded(aws_smithy_http_client::Builder::new().build_http()))
        .sleep_impl(aws_smithy_async::rt::sleep::SharedAsyncSleep::new(aws_smithy_async::rt::sleep::TokioSleep::new()))
        .build()
}

fn event_log(sdk: &SdkConfig) -> EventLog {
    EventLog::new(aws_sdk_dynamodb::Client::new(sdk), EVENTS)
}

fn connections_view(sdk: &SdkConfig, settings: &Settings) -> ConnectionsView {
    ConnectionsView::new(aws_sdk_dynamodb::Client::new(sdk), CONNECTIONS, settings.timing.view_retention)
}

fn inspect(
    settings: &Settings,
    sdk: &SdkConfig,
    store: Arc<Store>,
    observer: Observer,
    stop: CancellationToken,
) -> Inspect {
    let tables = aws_sdk_dynamodb::Client::new(sdk);
    Inspect::new(event_log(sdk), connections_view(sdk, settings), tables, store, observer, stop)
}

/// What starts processes, if functions are to run that way.
async fn launcher(mode: &Mode, settings: &Settings, aws_url: &str) -> Result<Option<Arc<Launcher>>, StartError> {
    let Mode::Processes { bootstrap } = mode else { return Ok(None) };
    let bootstrap = match bootstrap.canonicalize() {
        Ok(path) if path.is_file() => path,
        _ => return Err(StartError::NoBootstrap { path: bootstrap.clone() }),
    };
    let api = RuntimeApi::start().await.map_err(|error| StartError::Listen {
        address: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0),
        why: error.to_string(),
    })?;
    Ok(Some(Arc::new(Launcher::new(api, bootstrap, settings.clone(), aws_url.to_owned()))))
}

fn deploy(
    settings: &Settings,
    sdk: &SdkConfig,
    launcher: Option<&Arc<Launcher>>,
    concurrency: Option<usize>,
    chaos: &Chaos,
) -> Functions {
    let mut functions = Functions::with_chaos(chaos.clone());
    for function in Function::ALL {
        let (name, timeout) = (function.name(), function.timeout(&settings.timing));
        match launcher {
            None => functions.register(name, timeout, function.service(settings, sdk)),
            Some(launcher) => {
                let most = concurrency.unwrap_or(PROCESSES);
                functions.register_processes(name, timeout, Processes::new(function, launcher.clone(), most));
            }
        }
        if let Some(concurrency) = concurrency {
            functions.reserve(name, concurrency);
        }
    }
    functions
}

/// The routes of the WebSocket API, and the functions behind them.
#[must_use]
pub fn routes() -> HashMap<String, String> {
    let routes = [
        ("$connect", Function::Connect),
        ("$disconnect", Function::Disconnect),
        ("broadcast", Function::Broadcast),
        ("list", Function::List),
        ("chat", Function::Chat),
        ("$default", Function::Fallback),
    ];
    routes.into_iter().map(|(route, function)| (route.to_owned(), function.name().to_owned())).collect()
}

fn gateway_config(public: SocketAddr) -> GatewayConfig {
    GatewayConfig { stage: STAGE.into(), api_id: "local".into(), domain_name: public.to_string(), routes: routes() }
}

async fn clean_up(tables: Tables, stop: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(CLEAN_UP) => {}
        }
        match tables.clean_up().await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => warn!(why, "the tables were not cleaned up"),
            Err(_) => return,
        }
    }
}
