//! Lambda's Runtime API, as `bootstrap` processes see it: what to run next, what came of it.
//!
//! Each process is given an address of its own, which nobody can guess: its [`Environment`]. It runs one invocation at a
//! time; what a process asks out of turn is refused as Lambda refuses it. Used by `processes.rs`, and by tests that run
//! the built `bootstrap`.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, State, rejection::BytesRejection},
    http::{HeaderName, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use events::time;
use serde_json::json;
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
    task::JoinHandle,
};

/// Lambda's limit of a response: 6 MiB and 100 bytes.
const MAX_RESPONSE: usize = 6 * 1024 * 1024 + 100;

/// What a function answered: its response, or the error it reported, as JSON.
pub type Answer = Result<String, String>;

/// The server of all processes. Ends when dropped.
pub struct RuntimeApi {
    address: SocketAddr,
    environments: Environments,
    server: JoinHandle<()>,
}

type Environments = Arc<Mutex<HashMap<String, Arc<watch::Sender<Phase>>>>>;

/// One process's side of the server. A process that comes back when this is dropped is told that it is gone.
pub struct Environment {
    address: String,
    token: String,
    phase: Arc<watch::Sender<Phase>>,
    environments: Environments,
}

/// An invocation to be handed to a process.
pub struct Invocation {
    /// Lambda's request id, a UUID: the same in every attempt of an asynchronous invocation.
    pub request_id: String,
    /// The name of the function.
    pub function: String,
    /// JSON.
    pub payload: String,
    /// How long it may run. The deadline follows from it when the process takes the invocation.
    pub timeout: Duration,
}

/// What a process is doing.
enum Phase {
    /// It has not asked for anything yet.
    Starting,
    /// It has asked for an invocation.
    Waiting(oneshot::Sender<Invocation>),
    Running {
        request_id: String,
        answer: oneshot::Sender<Answer>,
    },
    /// It has answered, and not asked again yet.
    Answered,
    /// It could not start, and said why.
    Failed(String),
}

impl RuntimeApi {
    /// Listens on a free loopback port.
    pub async fn start() -> std::io::Result<RuntimeApi> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let environments = Environments::default();
        let router = Router::new()
            .route("/{environment}/2018-06-01/runtime/invocation/next", get(next))
            .route("/{environment}/2018-06-01/runtime/invocation/{id}/response", post(response))
            .route("/{environment}/2018-06-01/runtime/invocation/{id}/error", post(failure))
            .route("/{environment}/2018-06-01/runtime/init/error", post(init_error))
            // What is a little too large is read before it is refused, so that the process gets to read the refusal.
            .layer(DefaultBodyLimit::max(2 * MAX_RESPONSE))
            .with_state(environments.clone());
        let server = tokio::spawn(async move { drop(axum::serve(listener, router).await) });
        Ok(RuntimeApi { address, environments, server })
    }

    /// A place for one process.
    #[must_use]
    pub fn environment(&self) -> Environment {
        let token = uuid::Uuid::new_v4().simple().to_string();
        let phase = Arc::new(watch::Sender::new(Phase::Starting));
        lock(&self.environments).insert(token.clone(), phase.clone());
        // With the scheme, which Lambda leaves out: the runtime's client takes a path only after one.
        let address = format!("http://{}/{token}", self.address);
        Environment { address, token, phase, environments: self.environments.clone() }
    }
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Environment {
    /// What `AWS_LAMBDA_RUNTIME_API` must say.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Waits until the process asks for an invocation, or reports that it cannot start: the JSON it reported.
    pub async fn ready(&self) -> Result<(), String> {
        let mut phase = self.phase.subscribe();
        let decided = phase.wait_for(|phase| matches!(phase, Phase::Waiting(_) | Phase::Failed(_))).await;
        match decided.as_deref() {
            Ok(Phase::Failed(why)) => Err(why.clone()),
            _ => Ok(()),
        }
    }

    /// Hands the process an invocation, once it is ready, and waits for its answer; `None` if the process has gone.
    ///
    /// An answer that comes after this future is dropped is refused.
    pub async fn invoke(&mut self, invocation: Invocation) -> Option<Answer> {
        if let Err(why) = self.ready().await {
            return Some(Err(why));
        }
        let (answer, answered) = oneshot::channel();
        let running = Phase::Running { request_id: invocation.request_id.clone(), answer };
        match self.phase.send_replace(running) {
            Phase::Waiting(process) => process.send(invocation).ok()?,
            _ => return None,
        }
        answered.await.ok()
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        lock(&self.environments).remove(&self.token);
    }
}

/// Waits as long as it takes for an invocation: a 204 would be an error to the runtime.
async fn next(State(environments): State<Environments>, Path(environment): Path<String>) -> Response {
    let (give, given) = oneshot::channel();
    // Not held while waiting: what ends the wait is that the environment is dropped.
    match find(&environments, &environment) {
        Some(phase) if matches!(*phase.borrow(), Phase::Running { .. } | Phase::Failed(_)) => return out_of_turn(),
        Some(phase) => drop(phase.send_replace(Phase::Waiting(give))),
        None => return gone(),
    }
    let Ok(Invocation { request_id, function, payload, timeout }) = given.await else { return gone() };
    let now = time::now();
    let deadline = now.timestamp_millis() + i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX / 2);
    let random = uuid::Uuid::new_v4().simple().to_string();
    let (root, parent) = (&random[..24], &random[8..24]);
    let header = HeaderName::from_static;
    let headers = [
        (header("content-type"), "application/json".to_owned()),
        (header("lambda-runtime-aws-request-id"), request_id),
        (header("lambda-runtime-deadline-ms"), deadline.to_string()),
        (header("lambda-runtime-invoked-function-arn"), function_arn(&function)),
        (header("lambda-runtime-trace-id"), format!("Root=1-{:08x}-{root};Parent={parent};Sampled=0", now.timestamp())),
    ];
    (headers, payload).into_response()
}

async fn response(
    State(environments): State<Environments>,
    Path((environment, id)): Path<(String, String)>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    match body {
        Ok(body) if body.len() <= MAX_RESPONSE => settle(&environments, &environment, &id, Ok(text(&body)), accepted()),
        _ => {
            let message =
                format!("Response payload size exceeded maximum allowed payload size ({MAX_RESPONSE} bytes).");
            let error = json!({"errorType": "Function.ResponseSizeTooLarge", "errorMessage": message});
            let refusal = refusal(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", &message);
            settle(&environments, &environment, &id, Err(error.to_string()), refusal)
        }
    }
}

async fn failure(
    State(environments): State<Environments>,
    Path((environment, id)): Path<(String, String)>,
    body: Bytes,
) -> Response {
    settle(&environments, &environment, &id, Err(text(&body)), accepted())
}

/// The process did not start: whoever waits gets the reason.
async fn init_error(
    State(environments): State<Environments>,
    Path(environment): Path<String>,
    body: Bytes,
) -> Response {
    match find(&environments, &environment) {
        Some(phase) if matches!(*phase.borrow(), Phase::Starting) => {
            phase.send_replace(Phase::Failed(text(&body)));
            accepted()
        }
        Some(_) => out_of_turn(),
        None => gone(),
    }
}

/// Takes the answer if it is to the invocation that is running.
fn settle(environments: &Environments, environment: &str, id: &str, answer: Answer, taken: Response) -> Response {
    let Some(phase) = find(environments, environment) else { return gone() };
    let mut answer = Some(answer);
    phase.send_if_modified(|phase| {
        if !matches!(phase, Phase::Running { request_id, .. } if request_id == id) {
            return false;
        }
        if let Phase::Running { answer: waiting, .. } = std::mem::replace(phase, Phase::Answered) {
            // Nobody waits any more if it ran out of time.
            answer = answer.take().and_then(|answer| waiting.send(answer).err());
        }
        true
    });
    match answer {
        None => taken,
        Some(_) => refusal(StatusCode::BAD_REQUEST, "InvalidRequestID", "Invalid request ID"),
    }
}

/// The ARN of a function of this machine.
pub(crate) fn function_arn(function: &str) -> String {
    format!("arn:aws:lambda:us-east-1:000000000000:function:{function}")
}

fn find(environments: &Environments, environment: &str) -> Option<Arc<watch::Sender<Phase>>> {
    lock(environments).get(environment).cloned()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body).into_owned()
}

fn accepted() -> Response {
    (StatusCode::ACCEPTED, json!({"status": "OK"}).to_string()).into_response()
}

fn out_of_turn() -> Response {
    refusal(StatusCode::FORBIDDEN, "InvalidStateTransition", "Transition is not allowed from the current state")
}

fn gone() -> Response {
    refusal(StatusCode::GONE, "InvalidEnvironment", "this process has been given up")
}

fn refusal(status: StatusCode, error_type: &str, message: &str) -> Response {
    (status, json!({"errorMessage": message, "errorType": error_type}).to_string()).into_response()
}
