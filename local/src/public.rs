//! The public listener: whoever may connect, however they behave.
//!
//! Three bounds hold here, for `axum::serve` has none of them: how many connections there are, how long a client may take over its
//! request, and how large the head of that may be. What a connection says once it is a WebSocket is the gateway's to bound.

use std::{
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, extract::ConnectInfo};
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

/// The most that the head of a request (line and headers) may come to.
const MAX_HEAD: usize = 32 * 1024;
/// How long a connection may stay one of plain HTTP, kept alive; and then, how long what is under way may take.
const HTTP_LIFE: Duration = Duration::from_secs(120);
const HTTP_GRACE: Duration = Duration::from_secs(35);
/// A connection without traffic is asked for a sign of life after this long, and given up three of these later.
const KEEPALIVE: Duration = Duration::from_secs(60);
const KEEPALIVE_RETRY: Duration = Duration::from_secs(10);
/// Clients that are told at once that there is no room; more are just dropped.
const TOLD_AT_ONCE: usize = 32;
/// How long one that is told may take to hear it.
const TELLING: Duration = Duration::from_secs(1);
/// How long to wait when the system has no connection to give. What is missing (files, memory) comes back when others leave.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// How often a warning that repeats itself is written.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// The listener of the clients.
pub(crate) struct Public {
    pub(crate) listener: TcpListener,
    pub(crate) router: Router,
    /// Connections at once; more are refused with 503.
    pub(crate) max_connections: usize,
    /// How long a client may take to send the head of a request, the first one counted from its connecting.
    pub(crate) head_limit: Duration,
}

impl Public {
    /// Serves until told to stop.
    pub(crate) async fn serve(self, tasks: TaskTracker, stop: CancellationToken) {
        let Public { listener, router, max_connections, head_limit } = self;
        let (room, told) = (Arc::new(Semaphore::new(max_connections)), Arc::new(Semaphore::new(TOLD_AT_ONCE)));
        let mut warned = Warned::default();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stop.cancelled() => return,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) if is_of_one_connection(&error) => continue,
                Err(error) => {
                    warned.now_and_then(|| warn!(%error, "no connection could be accepted; trying on"));
                    sleep(ACCEPT_AGAIN).await;
                    continue;
                }
            };
            match Arc::clone(&room).try_acquire_owned() {
                Ok(permit) => {
                    prepare(&stream);
                    let (router, stop) = (router.clone(), stop.clone());
                    let admitted = Admitted { stream, _permit: permit };
                    tasks.spawn(async move { serve_connection(admitted, peer, router, head_limit, stop).await });
                }
                Err(_) => {
                    warned.now_and_then(|| warn!(max_connections, "no room for a connection; refused with 503"));
                    if let Ok(permit) = Arc::clone(&told).try_acquire_owned() {
                        tokio::spawn(refuse(stream, permit));
                    }
                }
            }
        }
    }
}

/// Serves one connection until it ends or becomes a WebSocket, over whatever carries it.
pub(crate) async fn serve_connection(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    router: Router,
    head_limit: Duration,
    stop: CancellationToken,
) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        router.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_limit)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let stopped = tokio::select! {
        ended = connection.as_mut() => {
            if let Err(error) = ended {
                debug!(%error, %peer, "a connection was not served");
            }
            return;
        }
        () = stop.cancelled() => true,
        () = sleep(HTTP_LIFE) => false,
    };
    connection.as_mut().graceful_shutdown();
    let _ = timeout(if stopped { TELLING } else { HTTP_GRACE }, connection).await;
}

/// A frame is small and must not wait for others; a client whose machine is gone must not be kept.
fn prepare(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE_RETRY);
    let prepared = stream.set_nodelay(true).and_then(|()| socket.set_tcp_keepalive(&keepalive));
    // The same for one that is being written to: then the system sends no such question, and gives up after a quarter of an hour.
    #[cfg(target_os = "linux")]
    let prepared = prepared.and_then(|()| socket.set_tcp_user_timeout(Some(KEEPALIVE + 3 * KEEPALIVE_RETRY)));
    if let Err(error) = prepared {
        debug!(%error, "a connection could not be prepared"); // such as one that has ended already
    }
}

/// Says that there is no room, and hears the client out, so that it is not answered by a reset before it has read that.
async fn refuse(mut stream: TcpStream, _permit: OwnedSemaphorePermit) {
    const ANSWER: &[u8] =
        b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: 33\r\n\
        connection: close\r\n\r\n{\"message\":\"Service Unavailable\"}";
    let telling = async {
        stream.write_all(ANSWER).await?;
        stream.shutdown().await?;
        let mut unread = [0; 1024];
        while stream.read(&mut unread).await? > 0 {}
        io::Result::Ok(())
    };
    let _ = timeout(TELLING, telling).await;
}

/// Errors that say nothing of the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// When a warning was last written.
#[derive(Default)]
struct Warned(Option<tokio::time::Instant>);

impl Warned {
    fn now_and_then(&mut self, warn: impl FnOnce()) {
        if self.0.is_none_or(|last| last.elapsed() >= WARN_EVERY) {
            warn();
            self.0 = Some(tokio::time::Instant::now());
        }
    }
}

/// A connection that counts until it is dropped, which is long after its handshake.
struct Admitted {
    stream: TcpStream,
    _permit: OwnedSemaphorePermit,
}

impl AsyncRead for Admitted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Admitted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
