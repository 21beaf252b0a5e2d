//! Lambda on one machine: functions by name, JSON in and out, invoked synchronously or asynchronously.
//!
//! The gateway and the stream mapping invoke and wait; the bus and the schedule invoke and forget.

use std::{collections::HashMap, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use events::time;
use handlers::{Payload, Service};
use lambda_runtime::{Context, LambdaEvent};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::{Chaos, processes::Processes, randomness};

/// The functions of the deployment, by name.
#[derive(Default)]
pub struct Functions {
    by_name: HashMap<String, Deployed>,
    chaos: Chaos,
}

struct Deployed {
    runs: Runs,
    timeout: Duration,
    /// Reserved concurrency: invocations beyond it are throttled.
    reserved: Option<Semaphore>,
}

/// Where a function runs.
enum Runs {
    InProcess(Service),
    ByProcess(Arc<Processes>),
}

/// What Lambda answers when the function itself failed (HTTP 200 with `X-Amz-Function-Error` on AWS).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FunctionError {
    /// `Sandbox.Timedout`, `Runtime.ExitError`, or what the function reported.
    pub error_type: String,
    /// The sentence that goes with it.
    pub error_message: String,
}

impl Default for FunctionError {
    /// For what a function reports without a name or without a word.
    fn default() -> Self {
        FunctionError { error_type: "Unhandled".into(), error_message: String::new() }
    }
}

impl FunctionError {
    /// The process ended in the middle of an invocation.
    pub(crate) fn exited(request_id: &str, how: &str) -> FunctionError {
        FunctionError {
            error_type: "Runtime.ExitError".into(),
            error_message: format!("RequestId: {request_id} Error: {how}"),
        }
    }

    pub(crate) fn timed_out(request_id: &str, timeout: Duration) -> FunctionError {
        FunctionError {
            error_type: "Sandbox.Timedout".into(),
            error_message: format!(
                "RequestId: {request_id} Error: Task timed out after {:.2} seconds",
                timeout.as_secs_f64()
            ),
        }
    }

    /// What the function said itself, as JSON.
    pub(crate) fn reported(json: &str) -> FunctionError {
        serde_json::from_str(json)
            .unwrap_or_else(|_| FunctionError { error_message: json.to_owned(), ..FunctionError::default() })
    }

    fn throttled() -> FunctionError {
        FunctionError { error_type: THROTTLED.into(), error_message: "Rate Exceeded.".into() }
    }

    /// Whether the function did not run, for there were too many of it. Such an attempt does not count.
    #[must_use]
    pub fn is_throttle(&self) -> bool {
        self.error_type == THROTTLED
    }
}

/// Lambda's 429.
const THROTTLED: &str = "TooManyRequestsException";

impl Functions {
    /// No functions yet; those to come are killed now and then, as `chaos` says.
    #[must_use]
    pub fn with_chaos(chaos: Chaos) -> Functions {
        Functions { by_name: HashMap::new(), chaos }
    }

    /// What has functions killed.
    pub(crate) fn chaos(&self) -> &Chaos {
        &self.chaos
    }

    /// Adds or replaces the function `name`.
    pub fn register(&mut self, name: &str, timeout: Duration, service: Service) {
        self.deploy(name, timeout, Runs::InProcess(service));
    }

    /// Adds or replaces the function `name`, which runs by process.
    pub(crate) fn register_processes(&mut self, name: &str, timeout: Duration, processes: Arc<Processes>) {
        self.deploy(name, timeout, Runs::ByProcess(processes));
    }

    fn deploy(&mut self, name: &str, timeout: Duration, runs: Runs) {
        self.by_name.insert(name.to_owned(), Deployed { runs, timeout, reserved: None });
    }

    /// Lambda's reserved concurrency: invocations of `name` beyond this many at once are throttled.
    pub fn reserve(&mut self, name: &str, concurrency: usize) {
        if let Some(deployed) = self.by_name.get_mut(name) {
            deployed.reserved = Some(Semaphore::new(concurrency));
        }
    }

    /// Ids of the processes that are up, with their function. Empty where functions run in process.
    pub(crate) fn processes(&self) -> Vec<(String, u32)> {
        let of_function = |(name, deployed): (&String, &Deployed)| match &deployed.runs {
            Runs::InProcess(_) => Vec::new(),
            Runs::ByProcess(processes) => processes.up().into_iter().map(|pid| (name.clone(), pid)).collect(),
        };
        self.by_name.iter().flat_map(of_function).collect()
    }

    /// Ends the processes.
    pub(crate) async fn stop(&self) {
        for deployed in self.by_name.values() {
            if let Runs::ByProcess(processes) = &deployed.runs {
                processes.stop().await;
            }
        }
    }

    /// Invokes and waits, as `RequestResponse` does.
    pub async fn invoke(&self, name: &str, payload: Payload) -> Result<Payload, FunctionError> {
        self.invoke_as(name, &randomness::uuid(), payload).await
    }

    /// [`invoke`](Self::invoke) with a given request id: every attempt of an asynchronous invocation carries the same.
    pub(crate) async fn invoke_as(
        &self,
        name: &str,
        request_id: &str,
        payload: Payload,
    ) -> Result<Payload, FunctionError> {
        let Some(Deployed { runs, timeout, reserved }) = self.by_name.get(name) else {
            return Err(FunctionError {
                error_type: "ResourceNotFoundException".into(),
                error_message: format!("Function not found: {name}"),
            });
        };
        let Ok(_turn) = reserved.as_ref().map(Semaphore::try_acquire).transpose() else {
            return Err(FunctionError::throttled());
        };
        if name == "disconnect" && self.chaos.drops_disconnect() {
            return Err(FunctionError::exited(request_id, UNEXPLAINED));
        }
        let lives = self.chaos.kills(name);
        match runs {
            Runs::InProcess(service) => run(service, request_id, payload, *timeout, lives).await,
            Runs::ByProcess(processes) => processes.invoke(request_id, payload, *timeout, lives).await,
        }
    }
}

/// Runs an invocation in process. With `lives`, it is cut off after that time, whatever it has done by then.
async fn run(
    service: &Service,
    request_id: &str,
    payload: Payload,
    timeout: Duration,
    lives: Option<Duration>,
) -> Result<Payload, FunctionError> {
    let mut context = Context::default();
    context.request_id = request_id.to_owned();
    context.deadline = epoch_millis(time::now() + timeout);
    // A task of its own, so that a panic ends the invocation and not its caller.
    let mut task = tokio::spawn(service(LambdaEvent::new(payload, context)));
    if let Some(lives) = lives {
        // Even if it was done by then: its answer is lost with the process.
        drop(tokio::time::timeout(lives, &mut task).await);
        task.abort();
        return Err(FunctionError::exited(request_id, UNEXPLAINED));
    }
    match tokio::time::timeout(timeout, &mut task).await {
        Ok(Ok(Ok(answer))) => Ok(answer),
        Ok(Ok(Err(fault))) => Err(FunctionError { error_type: fault.error_type.into(), error_message: fault.message }),
        Ok(Err(panic)) => Err(FunctionError::exited(request_id, &format!("Lambda panicked: {panic}"))),
        Err(_) => {
            task.abort();
            Err(FunctionError::timed_out(request_id, timeout))
        }
    }
}

/// What Lambda says of a process that ended, and was not asked to.
pub(crate) const UNEXPLAINED: &str = "Runtime exited without providing a reason";

fn epoch_millis(time: DateTime<Utc>) -> u64 {
    u64::try_from(time.timestamp_millis()).unwrap_or_default()
}
