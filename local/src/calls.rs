//! How many calls of the SDK clients are under way at once.
//!
//! Each takes a connection of its own, which is two open files, and a place in the queue for the tables. Without a bound a crowd that
//! sends at the same moment would take them by the ten thousand; with it the calls wait for each other, which they would in any case.

use std::sync::Arc;

use aws_smithy_runtime_api::{
    client::{
        http::{
            HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
            SharedHttpConnector,
        },
        orchestrator::HttpRequest,
        result::ConnectorError,
        runtime_components::RuntimeComponents,
    },
    shared::IntoShared,
};
use tokio::sync::Semaphore;

use crate::files::Room;

/// An HTTP client of which at most so many calls are under way as there are files for.
pub(crate) fn bounded(client: impl HttpClient + 'static) -> SharedHttpClient {
    Bounded { inner: client.into_shared(), turns: Arc::new(Semaphore::new(Room::make().calls)) }.into_shared()
}

#[derive(Clone, Debug)]
struct Bounded<T> {
    inner: T,
    turns: Arc<Semaphore>,
}

impl HttpClient for Bounded<SharedHttpClient> {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        Bounded { inner, turns: Arc::clone(&self.turns) }.into_shared()
    }
}

impl HttpConnector for Bounded<SharedHttpConnector> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Bounded { inner, turns } = self.clone();
        HttpConnectorFuture::new(async move {
            let _turn = turns.acquire_owned().await.map_err(|closed| ConnectorError::other(closed.into(), None))?;
            inner.call(request).await
        })
    }
}
