//! HTTP/1.1 connections to the gateway, kept between requests: at most as many as there ever were requests at once.
//!
//! A kept connection may have died meanwhile, as the gateway closes idle ones and Lambda freezes us. A request that finds
//! its kept connection dead is sent once more on a new one, written or not: a push that arrives twice carries one id.

use std::{
    fmt, io,
    pin::Pin,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode, Uri, uri::Scheme};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::Instant,
};
use tokio_rustls::TlsConnector;

use crate::Roots;

/// Addresses are looked up once for all connections of a burst.
const ADDRESSES_KEPT: Duration = Duration::from_secs(10);
/// Longest answer that is read. The gateway's have some hundred bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// Bytes there and back.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A stream that is being opened.
pub type Dialing = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send>>;

/// How the gateway is reached.
#[derive(Clone)]
pub enum Dial {
    /// TCP to the host of its URL; over TLS, trusting these, if the URL says `https`.
    Network(Roots),
    /// Whatever this opens. For simulations.
    Through(Arc<dyn Fn() -> Dialing + Send + Sync>),
}

impl Default for Dial {
    fn default() -> Self {
        Dial::Network(Roots::default())
    }
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dial::Network(_) => f.write_str("Network"),
            Dial::Through(_) => f.write_str("Through"),
        }
    }
}

type Sender = SendRequest<Full<Bytes>>;

/// The connections to one host.
pub(super) struct Connections {
    dial: Dial,
    host: String,
    port: u16,
    tls: bool,
    tls_config: OnceLock<Result<Arc<ClientConfig>, String>>,
    addresses: tokio::sync::Mutex<Option<(Instant, Vec<std::net::SocketAddr>)>>,
    /// Used last, taken first.
    idle: Mutex<Vec<Sender>>,
}

impl Connections {
    pub(super) fn new(dial: Dial, url: &Uri) -> Connections {
        let tls = url.scheme() == Some(&Scheme::HTTPS);
        Connections {
            dial,
            host: url.host().unwrap_or_default().trim_matches(['[', ']']).to_owned(),
            port: url.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            tls,
            tls_config: OnceLock::new(),
            addresses: tokio::sync::Mutex::default(),
            idle: Mutex::default(),
        }
    }

    /// How many connections wait for a request.
    pub(super) fn idle(&self) -> usize {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Sends what `request` makes and reads the answer. It is asked for another if the first was lost with its connection.
    pub(super) async fn send(
        &self,
        request: impl Fn() -> Result<Request<Full<Bytes>>, http::Error>,
    ) -> Result<(StatusCode, http::HeaderMap, Bytes), String> {
        let make = || request().map_err(|error| format!("no request: {error}"));
        let mut message = make()?;
        if let Some(mut kept) = self.take() {
            // Of a connection that is not ready, `try_send_request` says so and gives the message back.
            let _ = kept.ready().await;
            match kept.try_send_request(message).await {
                Ok(answer) => return self.read(kept, answer).await,
                Err(mut dead) => message = dead.take_message().map_or_else(make, Ok)?,
            }
        }
        let mut fresh = self.connect().await?;
        let answer = fresh.send_request(message).await.map_err(|error| with_causes(&error))?;
        self.read(fresh, answer).await
    }

    /// Reads all of an answer, and keeps its connection if another request may follow.
    async fn read(
        &self,
        sender: Sender,
        answer: http::Response<hyper::body::Incoming>,
    ) -> Result<(StatusCode, http::HeaderMap, Bytes), String> {
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await;
        let body = body.map_err(|error| format!("the answer broke off: {error}"))?.to_bytes();
        if !sender.is_closed() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        }
        Ok((head.status, head.headers, body))
    }

    fn take(&self) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(sender) = idle.pop() {
            if !sender.is_closed() {
                return Some(sender);
            }
        }
        None
    }

    async fn connect(&self) -> Result<Sender, String> {
        let stream = self.open().await.map_err(|error| format!("connecting to {}: {error}", self.host))?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| with_causes(&error))?;
        // Ends with the connection; what went wrong, the request is told.
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn open(&self) -> io::Result<Box<dyn Stream>> {
        let roots = match &self.dial {
            Dial::Network(roots) => roots,
            Dial::Through(open) => return open().await,
        };
        let addresses = self.addresses().await?;
        let stream = TcpStream::connect(&addresses[..]).await?;
        stream.set_nodelay(true)?;
        if !self.tls {
            return Ok(Box::new(stream));
        }
        let config = self.tls_config.get_or_init(|| roots.tls()).clone().map_err(io::Error::other)?;
        let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
        Ok(Box::new(TlsConnector::from(config).connect(name, stream).await?))
    }

    async fn addresses(&self) -> io::Result<Vec<std::net::SocketAddr>> {
        let mut kept = self.addresses.lock().await;
        if let Some((_, addresses)) = kept.as_ref().filter(|(found, _)| found.elapsed() < ADDRESSES_KEPT) {
            return Ok(addresses.clone());
        }
        let addresses: Vec<_> = lookup_host((self.host.as_str(), self.port)).await?.collect();
        *kept = Some((Instant::now(), addresses.clone()));
        Ok(addresses)
    }
}

/// An error as one line: hyper's own text leaves out why.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
