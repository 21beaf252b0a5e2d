//! What a function is to whoever runs it: JSON in, JSON or a fault out.
//!
//! `bootstrap` hands a [`Service`] to the Lambda runtime, the local runtime invokes it by name; neither sees more.

use std::{pin::Pin, sync::Arc, time::Duration};

use events::time;
use lambda_runtime::{Context, Diagnostic, LambdaEvent};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::{RawValue, to_raw_value};

/// The JSON an invocation carries, exactly as Lambda delivered it.
pub type Payload = Box<RawValue>;

/// The future of one invocation.
pub type Answer = Pin<Box<dyn Future<Output = Result<Payload, Fault>> + Send>>;

/// One function. Cheap to clone; invocations may overlap.
pub type Service = Arc<dyn Fn(LambdaEvent<Payload>) -> Answer + Send + Sync>;

/// A fault of ours: the invocation fails, and whoever invoked decides whether it runs again.
#[derive(Debug, thiserror::Error)]
#[error("{error_type}: {message}")]
pub struct Fault {
    /// A short stable name, the `errorType` of the function error.
    pub error_type: &'static str,
    /// What we were doing and what went wrong, the `errorMessage`.
    pub message: String,
}

impl From<Fault> for Diagnostic {
    fn from(fault: Fault) -> Self {
        Diagnostic { error_type: fault.error_type.to_owned(), error_message: fault.message }
    }
}

impl Fault {
    /// A fault with its name.
    pub fn new(error_type: &'static str, error: impl std::fmt::Display) -> Fault {
        Fault { error_type, message: error.to_string() }
    }
}

/// Makes a [`Service`] of a handler with types: reads the event, writes the answer.
pub(crate) fn service<E, A, F>(handler: impl Fn(E, Context) -> F + Send + Sync + 'static) -> Service
where
    E: DeserializeOwned,
    A: Serialize,
    F: Future<Output = Result<A, Fault>> + Send + 'static,
{
    let handler = Arc::new(handler);
    Arc::new(move |event: LambdaEvent<Payload>| {
        let handler = handler.clone();
        Box::pin(async move {
            let LambdaEvent { payload, context, .. } = event;
            let event = serde_json::from_str(payload.get()).map_err(|error| Fault::new("InvalidEvent", error))?;
            let answer = handler(event, context).await?;
            to_raw_value(&answer).map_err(|error| Fault::new("InvalidAnswer", error))
        })
    })
}

/// Time until the invocation is killed.
pub(crate) fn time_left(context: &Context) -> Duration {
    let now = u64::try_from(time::now().timestamp_millis()).unwrap_or_default();
    Duration::from_millis(context.deadline.saturating_sub(now))
}

/// Milliseconds for the log: as a `u128` they would be logged as a text, which no metric filter compares.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
