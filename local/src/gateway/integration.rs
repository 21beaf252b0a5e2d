//! Invoking the function behind a route, with API Gateway's patience.
//!
//! The integration timeout ends the waiting, never the function: that runs on to its own timeout, as on AWS, and stays
//! counted as in flight.

use std::{sync::Arc, time::Duration};

use futures::FutureExt;
use handlers::Payload;
use serde::Serialize;
use serde_json::value::to_raw_value;
use tokio::task::JoinHandle;

use super::{Gateway, load::Held, response::ProxyResponse};
use crate::FunctionError;

/// What came of an invocation.
pub(super) enum Outcome {
    Answered(ProxyResponse),
    /// The function failed, or answered with what is no proxy response.
    Failed,
    TimedOut,
}

/// An invocation that has begun.
pub(super) struct Call {
    function: String,
    running: JoinHandle<Result<Payload, FunctionError>>,
    patience: Duration,
}

impl Gateway {
    /// Begins an invocation. `held` keeps it counted until the function is over.
    pub(super) fn invoke(&self, function: &str, event: &impl Serialize, held: &Held) -> Call {
        let functions = Arc::clone(&self.functions);
        let (name, held, payload) = (function.to_owned(), held.clone(), to_raw_value(event));
        let mut invocation = Box::pin(async move {
            let _held = held;
            functions.invoke(&name, payload.map_err(unwritable)?).await
        });
        // Polled once right here: frames reach their functions in the order they came, whatever order the tasks run in.
        let at_once = invocation.as_mut().now_or_never();
        Call {
            function: function.to_owned(),
            running: tokio::spawn(async move {
                match at_once {
                    Some(answer) => answer,
                    None => invocation.await,
                }
            }),
            patience: self.timing.integration_timeout,
        }
    }
}

impl Call {
    /// Waits for what comes of it.
    pub(super) async fn outcome(self) -> Outcome {
        let Call { function, running, patience } = self;
        let answer = match tokio::time::timeout(patience, running).await {
            Ok(Ok(Ok(answer))) => answer,
            Ok(Ok(Err(error))) => {
                tracing::warn!(function, error.error_type, error.error_message, "function failed");
                return Outcome::Failed;
            }
            Ok(Err(panic)) => {
                tracing::error!(function, %panic, "invocation ended");
                return Outcome::Failed;
            }
            Err(_) => {
                tracing::warn!(function, patience_ms = patience.as_millis(), "function did not answer in time");
                return Outcome::TimedOut;
            }
        };
        match serde_json::from_str(answer.get()) {
            Ok(response) => Outcome::Answered(response),
            Err(error) => {
                tracing::warn!(function, %error, "function answered with no proxy response");
                Outcome::Failed
            }
        }
    }
}

fn unwritable(error: serde_json::Error) -> FunctionError {
    FunctionError { error_type: "SerializationException".into(), error_message: format!("writing the event: {error}") }
}
