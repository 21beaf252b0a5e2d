//! The SDK's HTTP client, with a note of every call.

use std::sync::{Arc, Mutex, PoisonError};

use aws_config::SdkConfig;
use aws_smithy_runtime_api::client::{
    http::{
        HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
    },
    orchestrator::HttpRequest,
    runtime_components::RuntimeComponents,
};
use serde_json::Value;

/// A call to AWS.
#[derive(Clone, Debug)]
pub struct Call {
    /// `PutItem`, `Query` and so on.
    pub operation: String,
    /// What was sent.
    pub body: Value,
}

impl Call {
    /// Whether it may change something.
    pub fn writes(&self) -> bool {
        !["Query", "GetItem"].contains(&self.operation.as_str())
    }
}

/// The calls since the last look.
#[derive(Clone, Debug)]
pub struct Wire {
    inner: SharedHttpClient,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Wire {
    pub fn around(sdk: &SdkConfig) -> Wire {
        Wire { inner: sdk.http_client().expect("an HTTP client"), calls: Arc::default() }
    }

    pub fn client(&self) -> SharedHttpClient {
        SharedHttpClient::new(self.clone())
    }

    /// What was called since the last look.
    pub fn take(&self) -> Vec<Call> {
        std::mem::take(&mut self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl HttpClient for Wire {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(Noted { inner, calls: self.calls.clone() })
    }
}

#[derive(Debug)]
struct Noted {
    inner: SharedHttpConnector,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl HttpConnector for Noted {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        let body = serde_json::from_slice(request.body().bytes().unwrap_or_default()).unwrap_or_default();
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(Call { operation, body });
        self.inner.call(request)
    }
}
