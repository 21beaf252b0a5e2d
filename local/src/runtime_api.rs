//! Lambda's Runtime API, as a `bootstrap` process sees it: one function per server, one invocation at a time.
//!
//! Used by tests that run the built `bootstrap`. Answers only what a correct runtime asks.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderName, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::json;
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

/// What a function answered: its response, or the error it reported, as JSON.
pub type Answer = Result<String, String>;

/// A Runtime API server for one function. Ends when dropped.
pub struct RuntimeApi {
    address: SocketAddr,
    calls: mpsc::UnboundedSender<Call>,
    server: JoinHandle<()>,
}

struct Call {
    payload: String,
    timeout: Duration,
    answer: oneshot::Sender<Answer>,
}

#[derive(Clone)]
struct Serving {
    calls: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<Call>>>,
    running: Arc<Mutex<HashMap<String, oneshot::Sender<Answer>>>>,
}

impl RuntimeApi {
    /// Listens on a free loopback port.
    pub async fn start() -> std::io::Result<RuntimeApi> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (calls, queue) = mpsc::unbounded_channel();
        let serving = Serving { calls: Arc::new(tokio::sync::Mutex::new(queue)), running: Arc::default() };
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(failure))
            .route("/2018-06-01/runtime/init/error", post(init_error))
            .with_state(serving);
        let server = tokio::spawn(async move { drop(axum::serve(listener, router).await) });
        Ok(RuntimeApi { address, calls, server })
    }

    /// What `AWS_LAMBDA_RUNTIME_API` must say.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Invokes the function and waits for its answer; `None` if the server or the function went away.
    pub async fn invoke(&self, payload: String, timeout: Duration) -> Option<Answer> {
        let (answer, answered) = oneshot::channel();
        self.calls.send(Call { payload, timeout, answer }).ok()?;
        answered.await.ok()
    }
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Waits as long as it takes for a call: a 204 would be an error to the runtime.
async fn next(State(serving): State<Serving>) -> Response {
    let Some(Call { payload, timeout, answer }) = serving.calls.lock().await.recv().await else {
        return StatusCode::GONE.into_response();
    };
    let id = uuid::Uuid::new_v4().to_string();
    let deadline = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default() + timeout;
    serving.running.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), answer);
    let header = HeaderName::from_static;
    let headers = [
        (header("content-type"), "application/json".to_owned()),
        (header("lambda-runtime-aws-request-id"), id),
        (header("lambda-runtime-deadline-ms"), deadline.as_millis().to_string()),
        (header("lambda-runtime-invoked-function-arn"), "arn:aws:lambda:us-east-1:000000000000:function:f".to_owned()),
        (
            header("lambda-runtime-trace-id"),
            "Root=1-5e1b4151-5ac6c58f0b7d2f7e0b7d2f7e;Parent=53995c3f42cd8ad8;Sampled=0".to_owned(),
        ),
    ];
    (headers, payload).into_response()
}

async fn response(State(serving): State<Serving>, Path(id): Path<String>, body: Bytes) -> Response {
    serving.answer(&id, Ok(String::from_utf8_lossy(&body).into_owned()))
}

async fn failure(State(serving): State<Serving>, Path(id): Path<String>, body: Bytes) -> Response {
    serving.answer(&id, Err(String::from_utf8_lossy(&body).into_owned()))
}

/// The function did not start: whoever waits, or comes next, gets the reason.
async fn init_error(State(serving): State<Serving>, body: Bytes) -> Response {
    if let Some(call) = serving.calls.lock().await.recv().await {
        drop(call.answer.send(Err(String::from_utf8_lossy(&body).into_owned())));
    }
    accepted()
}

impl Serving {
    fn answer(&self, id: &str, answer: Answer) -> Response {
        let waiting = self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        match waiting {
            Some(waiting) => {
                drop(waiting.send(answer));
                accepted()
            }
            None => {
                let body = json!({"errorMessage": "Invalid request ID", "errorType": "InvalidRequestID"});
                (StatusCode::BAD_REQUEST, body.to_string()).into_response()
            }
        }
    }
}

fn accepted() -> Response {
    (StatusCode::ACCEPTED, json!({"status": "OK"}).to_string()).into_response()
}
