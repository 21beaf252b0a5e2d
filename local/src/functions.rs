//! Lambda on one machine: functions by name, JSON in and out, invoked synchronously or asynchronously.
//!
//! The gateway and the stream mapping invoke and wait; the bus and the schedule invoke and forget.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, Utc};
use events::time;
use handlers::{Payload, Service};
use lambda_runtime::{Context, LambdaEvent};
use serde::Serialize;

use crate::{Chaos, randomness};

/// The functions of the deployment, by name.
#[derive(Default)]
pub struct Functions {
    by_name: HashMap<String, Deployed>,
    chaos: Chaos,
}

struct Deployed {
    service: Service,
    timeout: Duration,
}

/// What Lambda answers when the function itself failed (HTTP 200 with `X-Amz-Function-Error` on AWS).
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FunctionError {
    /// `Sandbox.Timedout`, `Runtime.ExitError`, or what the function reported.
    pub error_type: String,
    /// The sentence that goes with it.
    pub error_message: String,
}

impl FunctionError {
    /// The process ended in the middle of an invocation.
    fn exited(request_id: &str) -> FunctionError {
        FunctionError {
            error_type: "Runtime.ExitError".into(),
            error_message: format!("RequestId: {request_id} Error: Runtime exited without providing a reason"),
        }
    }
}

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
        self.by_name.insert(name.to_owned(), Deployed { service, timeout });
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
        let Some(Deployed { service, timeout }) = self.by_name.get(name) else {
            return Err(FunctionError {
                error_type: "ResourceNotFoundException".into(),
                error_message: format!("Function not found: {name}"),
            });
        };
        let mut context = Context::default();
        context.request_id = request_id.to_owned();
        context.deadline = epoch_millis(time::now() + *timeout);
        if name == "disconnect" && self.chaos.drops_disconnect() {
            return Err(FunctionError::exited(request_id));
        }
        // A task of its own, so that a panic ends the invocation and not its caller.
        let mut task = tokio::spawn(service(LambdaEvent::new(payload, context)));
        if let Some(lives) = self.chaos.kills(name) {
            // Even if it was done by then: its answer is lost with the process.
            drop(tokio::time::timeout(lives, &mut task).await);
            task.abort();
            return Err(FunctionError::exited(request_id));
        }
        match tokio::time::timeout(*timeout, &mut task).await {
            Ok(Ok(Ok(answer))) => Ok(answer),
            Ok(Ok(Err(fault))) => {
                Err(FunctionError { error_type: fault.error_type.into(), error_message: fault.message })
            }
            Ok(Err(panic)) => Err(FunctionError {
                error_type: "Runtime.ExitError".into(),
                error_message: format!("RequestId: {request_id} Error: Lambda panicked: {panic}"),
            }),
            Err(_) => {
                task.abort();
                Err(FunctionError {
                    error_type: "Sandbox.Timedout".into(),
                    error_message: format!(
                        "RequestId: {request_id} Error: Task timed out after {:.2} seconds",
                        timeout.as_secs_f64()
                    ),
                })
            }
        }
    }
}

fn epoch_millis(time: DateTime<Utc>) -> u64 {
    u64::try_from(time.timestamp_millis()).unwrap_or_default()
}
