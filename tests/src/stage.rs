//! Where a scenario plays: a deployed endpoint, or a runtime of its own that must be left with no work undone.

use std::time::Duration;

use events::Timing;
use local::{Faults, Mode, Options, Runtime};
use tokio::time::timeout;

use crate::{Client, PATIENCE};

/// A place to chat.
pub struct Stage {
    url: String,
    runtime: Option<Runtime>,
    /// Faults of the own runtime.
    pub faults: Faults,
}

/// The design's durations, scaled for tests: what waits for a minute on AWS waits for a moment.
#[must_use]
pub fn quick() -> Timing {
    Timing {
        push_backoff: Duration::from_millis(20),
        push_backoff_max: Duration::from_millis(200),
        async_retries: [Duration::from_millis(50), Duration::from_millis(100)],
        batch_retry: Duration::from_millis(20),
        batch_retry_max: Duration::from_millis(200),
        ..Timing::default()
    }
}

impl Stage {
    /// The endpoint of `WEBCHAT_URL`, or a runtime in memory; with `WEBCHAT_BOOTSTRAP`, one whose functions are processes of
    /// that program.
    pub async fn open() -> Stage {
        let bootstrap = std::env::var_os("WEBCHAT_BOOTSTRAP");
        let functions = bootstrap.map_or(Mode::InProcess, |path| Mode::Processes { bootstrap: path.into() });
        match std::env::var("WEBCHAT_URL") {
            Ok(url) => Stage { url, runtime: None, faults: Faults::default() },
            Err(_) => Stage::with(Options { functions, ..Options::default() }).await,
        }
    }

    /// A runtime in memory, whatever the environment says: for tests that look into tables or inject faults.
    pub async fn local(timing: Timing) -> Stage {
        Stage::with(Options { timing, ..Options::default() }).await
    }

    async fn with(options: Options) -> Stage {
        let faults = options.faults.clone();
        let runtime = Runtime::start(options).await.expect("starting a runtime");
        Stage { url: runtime.url(), runtime: Some(runtime), faults }
    }

    /// Where clients connect.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The runtime, of a local stage.
    #[must_use]
    pub fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("a test that looks into tables runs on a local stage")
    }

    /// A new client, welcomed.
    pub async fn client(&self) -> Client {
        Client::welcomed(&self.url).await
    }

    /// Several new clients, welcomed.
    pub async fn clients(&self, count: usize) -> Vec<Client> {
        futures::future::join_all((0..count).map(|_| self.client())).await
    }

    /// Waits until nothing is under way in the runtime.
    pub async fn idle(&self) {
        timeout(PATIENCE, self.runtime().idle()).await.expect("the runtime never came to rest");
    }

    /// Ends the scenario. A runtime must come to rest, with nothing given up and every row as the log says.
    pub async fn finish(mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        timeout(PATIENCE, runtime.idle()).await.expect("the runtime never came to rest");
        assert_eq!(runtime.given_up(), vec![], "invocations or records were given up");
        timeout(PATIENCE, runtime.stop()).await.expect("the runtime never stopped");
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if self.runtime.is_some() && !std::thread::panicking() {
            panic!("a scenario ended without finish(): it may have left work undone");
        }
    }
}
